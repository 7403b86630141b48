"""compare: whether a revision, a stored run or a device is slower or faster than another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.verbs import app, bars, console, interruptible, show, stop, stop_at, tell

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.comparison.revisions import Revision
    from harness.comparison.side_by_side import Round
    from harness.comparison.stored import Run
    from harness.comparison.verdicts import Decision


@app.command(
    epilog="Examples: python -m harness compare main . --fail-on slow, for two revisions: anything that git takes for "
    "a commit, or . for the files as they are. "
    "python -m harness compare results/cpu-amd-epyc-2t/20261124T022340Z-full cpu-amd-epyc-2t, for a stored run against "
    "its device's newest one. python -m harness compare cuda-nvidia-h100 cuda-nvidia-h200, for two devices. "
    "docs/comparing.md says what the verdicts mean."
)
def compare(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The revision, stored run or device to compare with.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The one in question, of the same kind.")],
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Fresh processes a side, for revisions; each counts once. 10 if not given."),
    ] = None,
    workload: Annotated[
        list[str] | None,
        typer.Option(help="Only these workloads; by default all of stored runs, and of revisions the quick ones."),
    ] = None,
    fail_on: Annotated[
        str, typer.Option(help="slow: exit 1 if a row of this project is SLOW, for revisions confirmed by a rerun.")
    ] = "",
) -> None:
    """Say of each row of two revisions, stored runs or devices SAME, FAST, SLOW or UNCLEAR.

    Two revisions are built and timed side by side here. Stored runs are read: what they measured is compared.
    """
    from harness import repository
    from harness.comparison import stored
    from harness.comparison.verdicts import PROCESSES

    if fail_on not in ("", "slow"):
        stop(f"--fail-on is {fail_on!r}; it takes slow, and nothing else.")
    with stop_at(stored.UnusableRun):
        one, other = (stored.find(name, repository.RESULTS) for name in (base, new))
    if one is None and other is None:
        worse = _revisions(base, new, processes or PROCESSES, workload or [])
    elif one is None or other is None:
        revision, run = (base, new) if one is None else (new, base)
        stop(
            f"{run} is a stored run, and {revision} is not: there are no results of that name, so it is taken for a "
            "revision, which has no times before it is built and timed here. Compare two revisions, or two stored runs "
            "or devices; `python -m harness bench` makes a run of the files as they are."
        )
    elif processes is not None:
        stop(
            "--processes is for revisions; stored runs have as many as `python -m harness bench --processes` gave them."
        )
    else:
        worse = _stored(one, other, workload or [])
    if fail_on and worse:
        raise typer.Exit(1)


def _revisions(base: str, new: str, processes: int, workloads: Sequence[str]) -> bool:
    """Builds, times and tells; whether a row of the new revision is SLOW or no longer right."""
    from harness.comparison import revisions, rows, side_by_side
    from harness.repository import MissingLibrary

    with stop_at(ValueError):
        chosen = list(rows.rows(workloads or rows.USUAL))
    with (
        stop_at(MissingLibrary, revisions.UnusableRevision, side_by_side.FailedProcess),
        interruptible("the process that was at work was stopped, and nothing was stored."),
    ):
        sides = [revisions.find(name) for name in (base, new)]
        with console.status("") as status:
            for side in sides:
                status.update(f"building {side}")
                revisions.build(side)
        first, rerun, decisions = _measured(sides, chosen, processes)
    rounds = [first] if rerun is None else [first, rerun]
    path = side_by_side.store(sides[0], sides[1], rounds, decisions)
    _show(decisions, f"{sides[1]} against {sides[0]}, {processes} processes a side")
    _tell_doubts(decisions, first.problems(), first.other_bits())
    for warning in dict.fromkeys(warning for each in rounds for warning in each.warnings()):
        tell(f"warning   {warning}")
    tell(f"samples   {path}")
    if not decisions:
        stop("No row has times of both revisions, so nothing can be said.")
    # A row that is no longer right has no time to be slow with.
    return any(each.verdict == "SLOW" for each in decisions) or any(which == "new" for _, which in first.problems())


def _stored(base: Run, new: Run, workloads: Sequence[str]) -> bool:
    """Reads and tells; whether a row of this project is SLOW in the new run, or no longer right."""
    from harness.comparison import pairing

    if (base.device, base.run) == (new.device, new.run):
        stop(f"Both are {new}; a run is compared with another one.")
    with stop_at(ValueError):
        pairs = pairing.pair(base, new, workloads)
    changes = pairing.changes(base, new)
    if changes:
        tell(f"changed   {', '.join(changes)}")
    decisions = pairing.decide(pairs)
    _show(decisions, f"{new} against {base}")
    _tell_doubts(decisions, pairs.untimed, pairs.other_bits)
    if pairs.other_inputs:
        tell(f"inputs    {_named(pairs.other_inputs)}: not the same on both sides, so there is no verdict.")
    for side, lacking in pairs.lacking.items():
        if lacking:
            tell(f"lacking   {side}: {_named(lacking)}: only the other side has it, so there is no verdict.")
    for problem in dict.fromkeys((*base.problems, *new.problems)):
        tell(f"left out  {problem}")
    for warning in pairing.warnings(base, new, pairs):
        tell(f"warning   {warning}")
    for run in (base, new):
        tell(f"samples   {run.folder.resolve()}")
    if not decisions:
        stop("No row has times of both runs on the same inputs, so nothing can be said.")
    return bool(pairs.worse) or any(each.verdict == "SLOW" and each.row in pairs.own for each in decisions)


def _tell_doubts(
    decisions: Sequence[Decision], problems: Mapping[tuple[str, str], str], other_bits: Sequence[str]
) -> None:
    """Why a row is not SAME, why it has no time, and whose bits are others; rows of one reason in one line."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for each in decisions:
        if each.verdict != "SAME":
            reasons.setdefault((each.verdict, each.reason), []).append(each.row)
    for (row, which), problem in problems.items():
        reasons.setdefault(("no time", f"{which}: {problem}"), []).append(row)
    for (word, reason), rows in reasons.items():
        tell(f"{word:9} {f'all {len(rows)} rows' if 1 < len(rows) == len(decisions) else _named(rows)}: {reason}")
    if other_bits:
        tell(f"bits      {_named(other_bits)}: both results are right, but they are not the same to the bit.")


def _named(rows: Sequence[str]) -> str:
    return rows[0] if len(rows) == 1 else f"{len(rows)} rows ({'; '.join(rows)})"


def _measured(
    sides: Sequence[Revision], chosen: Sequence[str], processes: int
) -> tuple[Round, Round | None, list[Decision]]:
    """The round, its rerun if there was one, and what they say, under a progress bar."""
    from harness.comparison import side_by_side

    paths = {side: of.path for side, of in zip(side_by_side.SIDES, sides, strict=True)}
    with bars() as progress:

        def measure(what: str, rows: Sequence[str]) -> Round:
            task = progress.add_task(f"{what}, {len(rows)} rows", total=2 * processes)
            return side_by_side.measure(paths, rows, processes, lambda side: progress.advance(task))

        def again(slow: Sequence[str]) -> Round:
            return measure("what is slow, again", [row for row in chosen if row in slow])

        first = measure("processes", chosen)
        decisions, rerun = side_by_side.decide(first, again)
    return first, rerun, decisions


def _show(decisions: Sequence[Decision], title: str) -> None:
    import math

    rows = []
    for each in decisions:
        limits = "-" if math.isnan(each.interval[0]) else f"{each.interval[0]:.3f} to {each.interval[1]:.3f}"
        rows.append((each.row, each.verdict, f"{each.ratio:.3f}", limits))
    show(title, ("row", "verdict", "ratio", "95 % interval"), rows, words=2)
