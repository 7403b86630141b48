"""compare: whether a revision of the package is slower or faster than another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.verbs import app, console, stop, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from harness.comparison.revisions import Revision
    from harness.comparison.rows import Row
    from harness.comparison.side_by_side import Round
    from harness.comparison.verdicts import Decision


@app.command(
    epilog="Example: python -m harness compare main . --fail-on slow. A revision is anything that git takes for a "
    "commit, or . for the files as they are; docs/comparing.md says what the verdicts mean."
)
def compare(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The revision to compare with.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The revision in question.")],
    processes: Annotated[int, typer.Option(min=1, help="Fresh processes a side; each counts once.")] = 10,
    workload: Annotated[
        list[str] | None, typer.Option(help="Only these workloads; by default the quick ones with random boxes.")
    ] = None,
    fail_on: Annotated[str, typer.Option(help="slow: exit 1 if a row is SLOW, confirmed by a rerun.")] = "",
) -> None:
    """Build two revisions, time both side by side here, and say of each row SAME, FAST, SLOW or AMBIGUOUS."""
    from harness.backends import MissingLibrary
    from harness.comparison import revisions, rows, side_by_side

    if fail_on not in ("", "slow"):
        stop(f"--fail-on is {fail_on!r}; it takes slow, and nothing else.")
    try:
        chosen = rows.rows(workload or rows.USUAL)
    except ValueError as unknown:
        stop(str(unknown))
    try:
        sides = [revisions.find(name) for name in (base, new)]
        with console.status("") as status:
            for side in sides:
                status.update(f"building {side}")
                revisions.build(side)
        first, rerun, decisions = _measured(sides, chosen, processes)
    except (MissingLibrary, revisions.UnusableRevision, side_by_side.FailedProcess) as error:
        stop(str(error))
    except KeyboardInterrupt:
        tell("Interrupted: the process that was at work was stopped, and nothing was stored.")
        raise typer.Exit(130) from None
    rounds = [first] if rerun is None else [first, rerun]
    path = side_by_side.store(sides[0], sides[1], rounds, decisions)
    console.print(_table(decisions, f"{sides[1]} against {sides[0]}, {processes} processes a side"))
    for each in decisions:
        if each.verdict != "SAME":
            tell(f"{each.verdict:9} {each.row}: {each.reason}")
    for (row, which), problem in first.problems().items():
        tell(f"no time   {row}: {which}: {problem}")
    for row in first.other_bits():
        tell(f"bits      {row}: both results are right, but they are not the same to the bit.")
    for warning in dict.fromkeys(warning for each in rounds for warning in each.warnings()):
        tell(f"warning   {warning}")
    tell(f"samples   {path}")
    if not decisions:
        stop("No row has times of both revisions, so nothing can be said.")
    # A row that is no longer right has no time to be slow with.
    worse = any(each.verdict == "SLOW" for each in decisions) or any(which == "new" for _, which in first.problems())
    if fail_on and worse:
        raise typer.Exit(1)


def _measured(
    sides: Sequence[Revision], chosen: Sequence[Row], processes: int
) -> tuple[Round, Round | None, list[Decision]]:
    """The round, its rerun if there was one, and what they say, under a progress bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from harness.comparison import side_by_side

    paths = {side: of.path for side, of in zip(side_by_side.SIDES, sides, strict=True)}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:

        def measure(what: str, rows: Sequence[Row]) -> Round:
            task = progress.add_task(f"{what}, {len(rows)} rows", total=2 * processes)
            return side_by_side.measure(paths, rows, processes, lambda side: progress.advance(task))

        def again(slow: Sequence[str]) -> Round:
            return measure("what is slow, again", [row for row in chosen if str(row) in slow])

        first = measure("processes", chosen)
        decisions, rerun = side_by_side.decide(first, again)
    return first, rerun, decisions


def _table(decisions: Sequence[Decision], title: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for place, name in enumerate(("row", "verdict", "ratio", "95 % interval")):
        table.add_column(name, justify="right" if place > 1 else "left", no_wrap=place > 0)
    for each in decisions:
        limits = f"{each.interval[0]:.3f} to {each.interval[1]:.3f}"
        table.add_row(each.row, each.verdict, f"{each.ratio:.3f}", limits)
    return table
