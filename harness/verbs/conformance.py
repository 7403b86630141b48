"""conformance: every backend and every property, as a matrix."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.verbs import app, bars, console, known, stop, stop_at, tell

if TYPE_CHECKING:
    from harness.conformance.cells import Cell
    from harness.conformance.tables import Done, Job


@app.command(epilog="Example: python -m harness conformance --backend mypkg.mymodule:my_roi_align --fail-on fail")
def conformance(
    backend: Annotated[
        list[str] | None, typer.Option(help="The backend to ask: a name, or module:function; may be repeated.")
    ] = None,
    operator: Annotated[str, typer.Option(help="crop_and_resize or roi_align; by default both.")] = "",
    property_names: Annotated[
        list[str] | None, typer.Option("--property", help="The properties to ask for; by default all of them.")
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="Cases of a property, fewer of those that are dear.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed draws the same cases.")] = 0,
    fail_on: Annotated[str, typer.Option(help='"fail": exit 1 if anything that is declared fails or crashes.')] = "",
    table: Annotated[Path | None, typer.Option(help="The CSV to merge the rows into.")] = None,
) -> None:
    """Ask every backend for every property, and write which holds, which fails and how to results/conformance.csv."""
    from harness.conformance import tables as rows
    from harness.conformance.cells import BAD, OURS, is_bad
    from harness.operators import OPERATORS
    from harness.repository import RESULTS

    path = table or RESULTS / "conformance.csv"
    if fail_on not in ("", "fail"):
        stop(f'--fail-on {fail_on}: it can be "fail", which exits with 1 if anything that is declared does not hold.')
    operators = [known("operator", operator, OPERATORS)] if operator else list(OPERATORS)
    with stop_at(ValueError):
        old = rows.read(path)
        jobs = rows.jobs(backend or rows.everybody(), operators, property_names or (), examples, seed)
    with stop_at(ValueError), bars("row") as progress:
        tasks: dict[Job, Any] = {}
        every = progress.add_task("backends", total=len(jobs), row="")

        def show(job: Job, count: int, done: Cell | None) -> None:
            if done is None:
                tasks[job] = progress.add_task(f"{job.backend}, {' or '.join(job.operators)}", total=count, row="")
            else:
                progress.update(tasks[job], advance=1, row=f"{done.property}, {done.direction}: {done.status}")

        def end(done: Done) -> None:
            # Its bar gives its place to the next one's: many backends are more than a terminal has lines.
            progress.remove_task(tasks.pop(done.job))
            progress.advance(every)
            counts = Counter(each.status for each in done.cells)
            tell(f"{done.job.backend}: {', '.join(f'{count} {status}' for status, count in counts.items())}")

        ended = rows.run(jobs, show, end)
    rows.write(path, rows.merged(old, ended))
    cells = [each for one in ended for each in one.cells]
    for name in operators:
        _show([each for each in cells if each.operator == name], name)
    for each in (each for each in cells if each.status in (*BAD, OURS)):
        tell(f"{each.backend}, {each.property}, {each.direction}: {each.status}: {each.reason}")
        tell(f"  {each.counterexample}")
    for one in ended:
        if one.problem:
            tell(one.problem)
    tell(f"conformance {path.resolve()}")
    if any(one.stopped for one in ended):
        tell("Interrupted: what was done by then is written, and the other rows of the table are as they were.")
        raise typer.Exit(130)
    if fail_on and any(map(is_bad, cells)):
        raise typer.Exit(1)


def _show(cells: list[Cell], operator: str) -> None:
    """One row for each property and direction, one column for each backend, and a word where they meet."""
    from rich.table import Table

    for name, reason in dict.fromkeys((each.backend, each.reason) for each in cells if each.status == "missing"):
        tell(f"{name}, {operator}: missing: {reason}")
    cells = [each for each in cells if each.status != "missing"]
    backends = list(dict.fromkeys(each.backend for each in cells))
    if not backends:
        return
    shown = Table(title=operator, title_justify="left")
    shown.add_column("property, direction", min_width=30)
    for name in backends:
        shown.add_column(name, overflow="fold")
    by_place = {(each.property, each.direction, each.backend): each for each in cells}
    styles = {
        "fail": "bold red",
        "judge": "bold magenta",
        "crash": "bold red",
        "hang": "bold red",
        "ambiguous": "yellow",
        "pass": "green",
    }
    for property_, direction in dict.fromkeys((each.property, each.direction) for each in cells):
        words = [by_place.get((property_, direction, name)) for name in backends]
        marks = ["" if each is None else f"[{styles.get(each.status, 'dim')}]{each.status}[/]" for each in words]
        shown.add_row(f"{property_}, {direction}", *marks)
    console.print(shown)
