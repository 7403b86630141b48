"""findings: what is wrong with other libraries, as reports that their maintainers could be sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.verbs import app, stop, tell

DEFAULT = Path("build/findings")


@app.command(epilog="Example: python -m harness findings --folder build/findings")
def findings(
    results: Annotated[Path, typer.Argument(help="The folder that holds conformance.csv and findings.json.")] = Path(
        "results"
    ),
    folder: Annotated[
        Path, typer.Option(help="Where to write the reports; the default folder is begun anew each time.")
    ] = DEFAULT,
) -> None:
    """Write a Markdown report for each library and fault that a second formulation confirms. Nothing is sent.

    The exit code is 1 if a file, or a finding of it, was left out.
    """
    import shutil

    from harness.report import libraries
    from harness.report.libraries import CELLS, markdown

    if not (results / CELLS).exists():
        stop(f"There is no {CELLS} in {results}; `python -m harness conformance` makes it.")
    tables, problems = libraries.judged(results)
    if folder == DEFAULT:
        shutil.rmtree(folder, ignore_errors=True)
    paths = markdown.write(folder, tables.grids)
    for path in paths:
        tell(path)
    for problem in problems:
        tell(problem)
    unconfirmed = sum(grid.unconfirmed for grid in tables.grids)
    if unconfirmed:
        tell(f"Failed checks that are not confirmed, and of which nothing is written: {unconfirmed}.")
    where = f"{len(paths)} reports are in {folder.resolve()}" if paths else "There is nothing to report"
    tell(f"{where}. Nothing was sent.")
    if problems:
        raise typer.Exit(1)
