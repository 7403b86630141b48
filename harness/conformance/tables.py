"""The cells of many backends, each run in a process of its own, and the table that they are merged into.

A row names its device, so that a GPU machine's rows stand beside a CPU's: what was not run this time stays as it is.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from importlib.metadata import entry_points
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, get_args

from harness import backends, faults, properties, repository
from harness.backends import BACKENDS, ENTRY_POINTS, OTHER_RULE
from harness.conformance.cells import DEADLY, EXAMPLES, Cell, CellStatus, cell, without_backend
from harness.judging.isolation import isolated
from harness.operators.arrays import DIRECTIONS
from harness.operators.sheet import OperatorName
from harness.operators.verdict import Crashed, Hung, without_result
from harness.properties import Question
from harness.repository import MissingLibrary

CSV_COLUMNS = [each.name for each in fields(Cell)]
# The CUDA kernels on the CPU take a hundred times as long as any other: they run if they are asked for.
_SLOW = "cuda_on_host"


@dataclass(frozen=True)
class Job:
    """One backend and what is asked of it. operators: those that its rows are of; somebody else's has one of them.
    property_names: the properties, () for all of them."""

    backend: str
    operators: tuple[OperatorName, ...]
    property_names: tuple[str, ...] = ()
    examples: int = EXAMPLES
    seed: int = 0
    limit_s: float | None = None


@dataclass(frozen=True)
class Done:
    """The cells of a job; problem: why they are not all of them, or ""; stopped: whether it is an interrupt."""

    job: Job
    cells: tuple[Cell, ...]
    problem: str = ""
    stopped: bool = False


def everybody() -> list[str]:
    """The names of all backends that are asked by default: this project's, its peers', and entry points."""
    names = dict.fromkeys(name for table in BACKENDS.values() for name in table if not name.startswith(_SLOW))
    return [*names, *sorted(point.name for point in entry_points(group=ENTRY_POINTS))]


def jobs(
    names: Sequence[str], operators: Sequence[OperatorName], property_names: Sequence[str], examples: int, seed: int
) -> list[Job]:
    """A job for each backend and operator; ValueError for a name that no backend, or no property, has."""
    known = dict.fromkeys(property_.name for property_, _ in properties.questions(*operators))
    for unknown in (name for name in property_names if name not in known):
        raise ValueError(f"There is no property {unknown!r} of {' or '.join(operators)}; there are {', '.join(known)}.")
    all_jobs = []
    for name in names:
        if backends.is_foreign(name):
            all_jobs.append(Job(name, tuple(operators), tuple(property_names), examples, seed))
            continue
        of = backends.operators_of(name)
        if not of:
            faults.load(name)  # says which there are
        all_jobs += [Job(name, (each,), tuple(property_names), examples, seed) for each in of if each in operators]
    # What computes another rule is timed beside crop_and_resize, and never judged.
    return [job for job in all_jobs if job.backend not in OTHER_RULE.get(job.operators[0], ())]


def cells(job: Job) -> Iterator[Cell]:
    """The cells of a job, one after another; ValueError if the backend cannot be used at all."""
    try:
        backend = isolated(job.backend, job.operators[0], job.limit_s, faults.load)
    except (MissingLibrary, Crashed, Hung) as error:
        status, reason, declared = _unloaded(error)
        for property_, direction in _questions(job, job.operators):
            yield without_backend(job.backend, property_, direction, status, reason, declared)
        return
    if not backend.same_rule:
        raise ValueError(f"{backend.title} computes another rule than the oracle; it can be timed, not judged.")
    if backend.sheet.operator not in job.operators:
        raise ValueError(f"{job.backend} is a {backend.sheet.operator}, not a {' or '.join(job.operators)}.")
    for property_, direction in _questions(job, (backend.sheet.operator,)):
        yield cell(backend, property_, direction, job.examples, job.seed)


def _unloaded(error: MissingLibrary | Crashed | Hung) -> tuple[CellStatus, str, bool]:
    """The status of a backend that could not be loaded, the reason, and whether it is held against it."""
    if isinstance(error, MissingLibrary):
        return "missing", str(error), False
    return DEADLY[without_result(error).status], f"Loading it: {error}", True


def _questions(job: Job, operators: Sequence[OperatorName]) -> list[Question]:
    asked = properties.questions(*operators)
    return [each for each in asked if not job.property_names or each[0].name in job.property_names]


def run(
    chosen: Sequence[Job],
    tell: Callable[[Job, int, Cell | None], None],
    ended: Callable[[Done], None] = lambda done: None,
    side_by_side: int = 2,
) -> list[Done]:
    """All jobs, so many at once, each in a process of its own; ValueError if a backend cannot be used at all.

    tell   called from threads with a job, how many cells it will have, and the one that is done, at first None.
    ended  called from threads with a job that is done.

    KeyboardInterrupt ends the processes: what they had done by then is returned, each job with its problem.
    """
    running: list[Any] = []
    stopped = threading.Event()
    # Threads wait for the processes that work: the oracle is Python, and one interpreter would do one thing at a time.
    with ThreadPoolExecutor(side_by_side) as pool:
        jobs = [pool.submit(_run, job, tell, ended, running, stopped) for job in chosen]
        try:
            return [each.result() for each in jobs]
        except BaseException as error:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                process.terminate()
            if not isinstance(error, KeyboardInterrupt):
                raise
    return [
        Done(job, (), f"{job.backend} was not asked.", True) if each.cancelled() else each.result()
        for job, each in zip(chosen, jobs, strict=True)
    ]


def _run(
    job: Job,
    tell: Callable[[Job, int, Cell | None], None],
    ended: Callable[[Done], None],
    running: list[Any],
    stopped: threading.Event,
) -> Done:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, job))
    process.start()
    running.append(process)
    if stopped.is_set():
        process.terminate()
    theirs.close()
    done: list[Cell] = []
    count = len(_questions(job, job.operators[:1]))
    tell(job, count, None)
    problem: str | None = None
    try:
        while (message := ours.recv()) is not None:
            if isinstance(message, str):
                raise ValueError(message)
            done.append(message)
            tell(job, count, message)
    except EOFError:
        process.join()
        how = "was stopped" if stopped.is_set() else f"ended with code {process.exitcode}"
        problem = f"The process that asked {job.backend} {how} after {len(done)} cells."
    process.join()
    running.remove(process)
    finished = Done(job, tuple(done), problem or "", stopped.is_set() and bool(problem))
    ended(finished)
    return finished


def _send(connection: Connection, job: Job) -> None:
    """The process of a job: its cells, then None; or a sentence."""
    # A terminal interrupts this process too, and it is for the one that began it to end it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for each in cells(job):
            connection.send(each)
    except ValueError as unusable:
        connection.send(str(unusable))
    connection.send(None)


def read(path: Path) -> list[Cell]:
    """The cells of a table, [] if there is none; ValueError if it is of other columns."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        if reader.fieldnames != CSV_COLUMNS:
            raise ValueError(
                f"{path} has the columns {reader.fieldnames}, not {CSV_COLUMNS}; remove it to make it anew."
            )
        return [_cell(line) for line in reader]


def _cell(line: dict[str, Any]) -> Cell:
    numbers = {
        "declared": line["declared"] == "yes",
        "cases": int(line["cases"]),
        "ambiguous": int(line["ambiguous"]),
        "fraction": float(line["fraction"]) if line["fraction"] else None,
    }
    return Cell(**{**line, **numbers})


def merged(old: Iterable[Cell], done: Sequence[Done]) -> list[Cell]:
    """The old cells with the new ones in their place, in the order of the tables.

    An old one goes where its backend was asked for its property again, on the same device or because there was none
    before; and where no property has its name any more. Of a job that was not finished only what it had done counts as
    asked.
    """
    new = [each for one in done for each in one.cells]
    cut = {(each.operator, each.backend) for one in done if one.problem for each in one.cells}
    again = {(each.operator, each.backend, each.property, each.direction) for each in new}
    names = {(each.operator, each.name) for each in properties.all_properties()}
    asked = {(each.operator, each.backend): one.job.property_names for one in done for each in one.cells}
    places = {(each.operator, each.backend, each.device) for each in new}

    def goes(each: Cell) -> bool:
        if (each.operator, each.property) not in names:
            return True
        asked_for = asked.get((each.operator, each.backend))
        if asked_for is None or (asked_for and each.property not in asked_for):
            return False
        done_again = (each.operator, each.backend, each.property, each.direction) in again
        if (each.operator, each.backend) in cut and not done_again:
            return False
        return each.status == "missing" or (each.operator, each.backend, each.device) in places

    return sorted([*(each for each in old if not goes(each)), *new], key=_order)


def _order(each: Cell) -> tuple[Any, ...]:
    """operators, then backends, devices, properties and directions as this project lists them; what is not listed last,
    by name."""

    def place(value: str, among: Sequence[str]) -> int:
        return among.index(value) if value in among else len(among)

    listed = [property_.name for property_, _ in properties.questions(each.operator)]
    return (
        place(each.operator, get_args(OperatorName)), place(each.backend, list(BACKENDS[each.operator])), each.backend,
        each.device, place(each.property, listed), place(each.direction, DIRECTIONS),
    )  # fmt: skip


def write(path: Path, table: Iterable[Cell]) -> None:
    """The table as a file: written whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for each in table:
        fraction = "" if each.fraction is None else f"{each.fraction:.3g}"
        writer.writerow({**asdict(each), "declared": "yes" if each.declared else "no", "fraction": fraction})
    repository.replace(path, text.getvalue())
