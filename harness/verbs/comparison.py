"""compare: whether a revision, a function, a stored run or a device is slower or faster than another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from harness.verbs import Json, app, bars, console, epilog, interruptible, publish, show, stop, stop_at, tell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.comparison.side_by_side import Round, Side
    from harness.comparison.stored import Run
    from harness.comparison.verdicts import Decision


@dataclass(frozen=True)
class _Comparison:
    """The comparison of two sides; worse: whether a row of the new one is SLOW or no longer right."""

    decisions: Sequence[Decision]
    problems: Mapping[tuple[str, str], str]
    other_bits: Sequence[str]
    worse: bool


@app.command(
    epilog=epilog(
        "Examples: python -m harness compare main . --fail-on slow, for two revisions: anything that git takes for a "
        "commit, or . for the files as they are.\n\n"
        "python -m harness compare mypkg.mymodule:old mypkg.mymodule:new, for two functions of yours.\n\n"
        "python -m harness compare results/cpu-amd-epyc-2t/20261124T022340Z-full cpu-amd-epyc-2t, for a stored run "
        "against its device's newest one.\n\n"
        "python -m harness compare cuda-nvidia-h100 cuda-nvidia-h200, for two devices.\n\n"
        "docs/comparing.md explains the verdicts and the JSON.",
        {
            0: "the rows were compared",
            1: "with --fail-on slow, a row is SLOW or no longer right",
            130: "interrupted, and nothing was stored",
        },
    )
)
def compare(
    base: Annotated[
        str, typer.Argument(metavar="BASE", help="The revision, function, stored run or device to compare.")
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The one to judge against it, of the same kind.")],
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Fresh processes a side; each counts once. Not for stored runs. 10 if not given."),
    ] = None,
    workload: Annotated[
        list[str] | None,
        typer.Option(help="Only these workloads; by default all for stored runs, and otherwise the quick ones."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            help="Only these settings of the operators, such as maximum, of revisions and functions; by default the "
            "first of each operator."
        ),
    ] = None,
    fail_on: Annotated[
        str,
        typer.Option(help="slow: exit 1 if a row of this project, or of the function, is SLOW, also in a rerun."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Compare two revisions, functions, stored runs or devices row by row: SAME, FAST, SLOW or UNCLEAR.

    Two revisions are built and timed side by side here, two functions likewise. Stored runs are read, not measured
    again.
    """
    from harness import repository
    from harness.backends import is_foreign
    from harness.comparison import stored
    from harness.comparison.verdicts import PROCESSES

    if fail_on not in ("", "slow"):
        stop(f"--fail-on is {fail_on!r}; it takes slow, and nothing else.")
    with stop_at(stored.UnusableRun):
        one, other = (stored.find(name, repository.RESULTS) for name in (base, new))
    functions = [name for name, run in ((base, one), (new, other)) if run is None and is_foreign(name)]
    if len(functions) == 1:
        stop(f"{functions[0]} is a function, and the other side is not; compare a function with a function.")
    if one is None and other is None:
        comparison = _side_by_side(base, new, bool(functions), processes or PROCESSES, workload or [], setting or [])
    elif one is None or other is None:
        revision, run = (base, new) if one is None else (new, base)
        stop(
            f"{run} is a stored run, and {revision} is not: there are no results of that name, so it is taken for a "
            "revision, which has no times before it is built and timed here. Compare two revisions, or two stored runs "
            "or devices; `python -m harness bench` makes a run of the files as they are."
        )
    elif processes is not None:
        stop(
            "--processes is for revisions and functions; stored runs have as many as `python -m harness bench "
            "--processes` gave them."
        )
    elif setting:
        stop("--setting is for revisions and functions; of stored runs, all settings are compared.")
    else:
        comparison = _compare_stored(one, other, workload or [])
    if as_json:
        problems = [
            {"row": row, "side": side, "problem": problem} for (row, side), problem in comparison.problems.items()
        ]
        publish(
            {
                "base": base,
                "new": new,
                "rows": comparison.decisions,
                "problems": problems,
                "other_bits": comparison.other_bits,
                "worse": comparison.worse,
            }
        )
    if fail_on and comparison.worse:
        raise typer.Exit(1)


def _side_by_side(
    base: str, new: str, functions: bool, processes: int, workloads: Sequence[str], settings: Sequence[str]
) -> _Comparison:
    """Builds and times both sides, and prints the verdicts."""
    from harness.comparison import revisions, rows, side_by_side
    from harness.operators.verdict import Crash, Hang
    from harness.repository import MissingLibrary

    with (
        stop_at(ValueError, MissingLibrary, Crash, Hang, revisions.UnusableRevision, side_by_side.FailedProcess),
        interruptible("the running process was stopped, and nothing was stored."),
    ):
        names = (base, new)
        of_sides = [list(rows.rows(workloads or rows.USUAL, name if functions else "", settings)) for name in names]
        shared = [row for row in of_sides[0] if row in of_sides[1]]
        if not shared:
            stop(f"{base} and {new} have no row in common: their sheets declare nothing that both do.")
        sides = [side_by_side.Side(name, name, {"name": name}) for name in names] if functions else _build(names)
        first, rerun, decisions = _measure(sides, shared, processes)
    rounds = [first] if rerun is None else [first, rerun]
    path = side_by_side.store(sides, rounds, decisions)
    _show(decisions, f"{sides[1].title} against {sides[0].title}, {processes} processes a side")
    for side, own in zip(side_by_side.SIDES, of_sides, strict=True):
        others = [row for row in own if row not in shared]
        if others:
            tell(f"lacking   {_list_of(others)}: only the {side} side declares it, so there is no verdict.")
    _tell_doubts(decisions, first.problems(), first.other_bits())
    for warning in dict.fromkeys(warning for each in rounds for warning in each.warnings()):
        tell(f"warning   {warning}")
    tell(f"samples   {path}")
    if not decisions:
        stop("No row has times of both sides, so there is nothing to compare.")
    # A row that is no longer right has no time, so it is never SLOW.
    worse = any(each.lost() for each in rounds) or any(each.verdict == "SLOW" for each in decisions)
    return _Comparison(decisions, first.problems(), first.other_bits(), worse)


def _build(names: Sequence[str]) -> list[Side]:
    """The sides of two revisions, whose packages are built; UnusableRevision for one that cannot be checked out."""
    from harness.comparison import revisions, side_by_side

    both = [revisions.find(name) for name in names]
    with console.status("") as status:
        for each in both:
            status.update(f"building {each}")
            revisions.build(each)
    return [
        side_by_side.Side(str(each), each.path, {"name": each.name, "commit": each.commit, "package": each.folder.name})
        for each in both
    ]


def _compare_stored(base: Run, new: Run, workloads: Sequence[str]) -> _Comparison:
    """Reads both runs and prints the verdicts; worse is about this project's rows alone."""
    from harness.comparison import pairing

    if (base.device, base.run) == (new.device, new.run):
        stop(f"Both are {new}; compare two different runs.")
    with stop_at(ValueError):
        pairs = pairing.pair(base, new, workloads)
    changes = pairing.changes(base, new)
    if changes:
        tell(f"changed   {', '.join(changes)}")
    decisions = pairing.decide(pairs)
    _show(decisions, f"{new} against {base}")
    _tell_doubts(decisions, pairs.untimed, pairs.other_bits)
    if pairs.other_inputs:
        tell(f"inputs    {_list_of(pairs.other_inputs)}: not the same on both sides, so there is no verdict.")
    for side, lacking in pairs.lacking.items():
        if lacking:
            tell(f"lacking   {side}: {_list_of(lacking)}: only the other side has it, so there is no verdict.")
    for problem in dict.fromkeys((*base.problems, *new.problems)):
        tell(f"left out  {problem}")
    for warning in pairing.warnings(base, new, pairs):
        tell(f"warning   {warning}")
    for run in (base, new):
        tell(f"samples   {run.folder.resolve()}")
    if not decisions:
        stop("No row has times of both runs on the same inputs, so there is nothing to compare.")
    worse = bool(pairs.worse) or any(each.verdict == "SLOW" and each.row in pairs.own for each in decisions)
    return _Comparison(decisions, pairs.untimed, pairs.other_bits, worse)


def _tell_doubts(
    decisions: Sequence[Decision], problems: Mapping[tuple[str, str], str], other_bits: Sequence[str]
) -> None:
    """Print why rows are not SAME, why they have no time, and which differ in bits; a line for each reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for each in decisions:
        if each.verdict != "SAME":
            reasons.setdefault((each.verdict, each.reason), []).append(each.row)
    for (row, which), problem in problems.items():
        reasons.setdefault(("no time", f"{which}: {problem}"), []).append(row)
    for (word, reason), rows in reasons.items():
        tell(f"{word:9} {f'all {len(rows)} rows' if 1 < len(rows) == len(decisions) else _list_of(rows)}: {reason}")
    if other_bits:
        tell(f"bits      {_list_of(other_bits)}: both results are right, but their bits differ.")


def _list_of(rows: Sequence[str]) -> str:
    return rows[0] if len(rows) == 1 else f"{len(rows)} rows ({'; '.join(rows)})"


def _measure(
    sides: Sequence[Side], shared: Sequence[str], processes: int
) -> tuple[Round, Round | None, list[Decision]]:
    """The round, its rerun if there was one, and the decisions, under a progress bar."""
    from harness.comparison import side_by_side

    at = {side: of.at for side, of in zip(side_by_side.SIDES, sides, strict=True)}
    with bars() as progress:

        def measure(what: str, rows: Sequence[str]) -> Round:
            task = progress.add_task(f"{what}, {len(rows)} rows", total=2 * processes)
            return side_by_side.measure(at, rows, processes, lambda side: progress.advance(task))

        def again(slow: Sequence[str]) -> Round:
            return measure("what is slow, again", [row for row in shared if row in slow])

        first = measure("processes", shared)
        decisions, rerun = side_by_side.decide(first, again)
    return first, rerun, decisions


def _show(decisions: Sequence[Decision], title: str) -> None:
    import math

    rows = []
    for each in decisions:
        limits = "-" if math.isnan(each.interval[0]) else f"{each.interval[0]:.3f} to {each.interval[1]:.3f}"
        rows.append((each.row, each.verdict, f"{each.ratio:.3f}", limits))
    show(title, ("row", "verdict", "ratio", "95 % interval"), rows, words=2)
