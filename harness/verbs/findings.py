"""findings: the faults of other libraries, as reports that could be sent to their maintainers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.verbs import Json, app, epilog, publish, stop, tell

DEFAULT = Path("build/findings")


@app.command(
    epilog=epilog(
        "Example: python -m harness findings --folder build/findings",
        {0: "the reports are written", 1: "a file, or a finding in it, was left out"},
    )
)
def findings(
    results: Annotated[Path, typer.Argument(help="The folder that holds conformance.csv and findings.json.")] = Path(
        "results"
    ),
    folder: Annotated[
        Path, typer.Option(help="Where to write the reports; the default folder is emptied first.")
    ] = DEFAULT,
    as_json: Json = False,
) -> None:
    """Write a Markdown report for each library and fault that a second formulation confirms. Nothing is sent."""
    import shutil

    from harness.report import libraries
    from harness.report.libraries import CELLS, markdown

    if not (results / CELLS).exists():
        stop(f"There is no {CELLS} in {results}; `python -m harness conformance` makes it.")
    tables, problems = libraries.read_tables(results)
    if folder == DEFAULT:
        shutil.rmtree(folder, ignore_errors=True)
    paths = markdown.write(folder, tables.grids)
    for path in paths:
        tell(path)
    for problem in problems:
        tell(problem)
    unconfirmed = sum(grid.unconfirmed for grid in tables.grids)
    if unconfirmed:
        tell(f"Failed checks that are not confirmed, and have no report: {unconfirmed}.")
    where = f"{len(paths)} reports are in {folder.resolve()}" if paths else "There is nothing to report"
    tell(f"{where}. Nothing was sent.")
    if as_json:
        reports = [path.resolve() for path in paths]
        publish({"reports": reports, "problems": problems, "unconfirmed": unconfirmed})
    if problems:
        raise typer.Exit(1)
