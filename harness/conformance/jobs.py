"""The jobs of the matrix: one for each backend and operator, with the cells and findings that it produces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points

from harness import backends, faults, properties
from harness.backends import BACKENDS, ENTRY_POINTS, OTHER_RULE, PEERS
from harness.conformance.cells import DEADLY, EXAMPLES, Cell, CellStatus, cell, without_backend
from harness.conformance.findings import finding
from harness.judging.isolation import isolated
from harness.measuring.findings import Finding
from harness.operators.arrays import Direction
from harness.operators.sheet import OperatorName
from harness.operators.verdict import Crash, Hang, without_result
from harness.properties import Question
from harness.repository import MissingLibrary

# The CUDA kernels on the CPU take a hundred times as long as any other backend, so they run only by name.
_SLOW = ("cuda_on_host", "cuda_ptx")
# The same code as another backend, compiled for a minute per case: runs only by name.
_COMPILED_BACKENDS = ("grid_sample_compiled", "grid_sample_cuda_compiled")


@dataclass(frozen=True)
class Job:
    """One backend and the questions for it.

    operators       the candidates for its operator; a function outside this project implements one of them.
    property_names  the properties, () for all.
    limit_s         seconds that a call on a small case may take, None for the sheet's limit.
    skip            the properties and directions answered before an interrupt.
    """

    backend: str
    operators: tuple[OperatorName, ...]
    property_names: tuple[str, ...] = ()
    examples: int = EXAMPLES
    seed: int = 0
    limit_s: float | None = None
    skip: frozenset[tuple[str, Direction]] = frozenset()


@dataclass(frozen=True)
class Answer:
    """A cell, with its finding if it failed and the failure is confirmed."""

    cell: Cell
    finding: Finding | None = None


@dataclass(frozen=True)
class JobResult:
    """The cells and findings of a job; problem: why cells are missing, or ""; stopped: whether an interrupt is the
    reason."""

    job: Job
    cells: tuple[Cell, ...]
    problem: str = ""
    stopped: bool = False
    findings: tuple[Finding, ...] = ()


def result_of(job: Job, replies: Sequence[Answer], problem: str = "", stopped: bool = False) -> JobResult:
    """The result of a job from its answers."""
    findings = tuple(each.finding for each in replies if each.finding is not None)
    return JobResult(job, tuple(each.cell for each in replies), problem, stopped, findings)


def default_backends() -> list[str]:
    """The names of the default backends: this project's, its peers', and entry points."""
    names = dict.fromkeys(name for table in BACKENDS.values() for name in table)
    usual = [name for name in names if not name.startswith(_SLOW) and name not in _COMPILED_BACKENDS]
    return [*usual, *sorted(point.name for point in entry_points(group=ENTRY_POINTS))]


def all_libraries() -> list[str]:
    """The names of the default backends and of all peer libraries."""
    return [*default_backends(), *dict.fromkeys(name for table in PEERS.values() for name in table)]


def without(requests: Sequence[Job], replies: Sequence[Answer]) -> list[Job]:
    """The jobs without the questions already answered; fully answered jobs are dropped."""
    rest = []
    for job in requests:
        keys = frozenset((each.cell.property, each.cell.direction) for each in replies if _is_of(each, job))
        if shorter := [each for each in questions_of(job) if (each[0].name, each[1]) not in keys]:
            rest.append(replace(job, skip=keys) if len(shorter) < len(questions_of(job)) else job)
    return rest


def earlier_results(requests: Sequence[Job], replies: Sequence[Answer]) -> list[JobResult]:
    """The results of these jobs from earlier answers."""
    of = {job: [each for each in replies if _is_of(each, job)] for job in requests}
    return [result_of(job, each) for job, each in of.items() if each]


def _is_of(answer: Answer, job: Job) -> bool:
    return answer.cell.backend == job.backend and answer.cell.operator in job.operators


def jobs(
    names: Sequence[str],
    operators: Sequence[OperatorName],
    property_names: Sequence[str],
    examples: int,
    seed: int,
    limit_s: float | None = None,
) -> list[Job]:
    """A job for each backend and operator; ValueError for a name that no backend, or no property, has.

    limit_s: as Job has it.
    """
    property_by_name = dict.fromkeys(property_.name for property_, _ in properties.questions(*operators))
    for unknown in (name for name in property_names if name not in property_by_name):
        raise ValueError(
            f"There is no property {unknown!r} of {' or '.join(operators)}; there are {', '.join(property_by_name)}."
        )
    all_jobs = []
    for name in names:
        if backends.is_foreign(name):
            all_jobs.append(Job(name, tuple(operators), tuple(property_names), examples, seed, limit_s))
            continue
        of = backends.operators_of(name)
        if not of:
            faults.load(name)  # raises with the existing names
        all_jobs += [
            Job(name, (each,), tuple(property_names), examples, seed, limit_s) for each in of if each in operators
        ]
    # Backends of another rule are timed beside crop_and_resize, but never judged.
    return [job for job in all_jobs if job.backend not in OTHER_RULE.get(job.operators[0], ())]


def answers(job: Job) -> Iterator[Answer]:
    """The answers of a job, one after another; ValueError if the backend is unusable."""
    try:
        backend = isolated(job.backend, job.operators[0], job.limit_s, faults.load)
    except (MissingLibrary, Crash, Hang) as error:
        status, reason, declared = _load_failure(error)
        for property_, direction in questions_of(job):
            yield Answer(without_backend(job.backend, property_, direction, status, reason, declared))
        return
    if not backend.same_rule:
        raise ValueError(f"{backend.title} computes another rule than the oracle; it can be timed, not judged.")
    if backend.sheet.operator not in job.operators:
        raise ValueError(f"{job.backend} is a {backend.sheet.operator}, not a {' or '.join(job.operators)}.")
    for property_, direction in questions_of(job, (backend.sheet.operator,)):
        answer = cell(backend, property_, direction, job.examples, job.seed)
        yield Answer(answer, finding(backend, answer))


def _load_failure(error: MissingLibrary | Crash | Hang) -> tuple[CellStatus, str, bool]:
    """The status of a backend that could not be loaded, the reason, and whether it counts against the backend."""
    if isinstance(error, MissingLibrary):
        return "missing", str(error), False
    return DEADLY[without_result(error).status], f"Loading it: {error}", True


def questions_of(job: Job, operators: Sequence[OperatorName] = ()) -> list[Question]:
    """The questions of a job, restricted to these operators if given."""
    return [
        (property_, direction)
        for property_, direction in properties.questions(*(operators or job.operators))
        if (not job.property_names or property_.name in job.property_names)
        and (property_.name, direction) not in job.skip
    ]
