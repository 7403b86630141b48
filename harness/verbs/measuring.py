"""bench, report and merge: figures and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.verbs import app, bars, console, show, stop, stop_at, tell

if TYPE_CHECKING:
    from harness.report import Report


@app.command(
    epilog="Examples: python -m harness bench --quick; python -m harness bench --processes 10 --workload fpn_p2_test; "
    "python -m harness bench --backend mypkg.mymodule:my_roi_align, for a function of yours beside this project's. "
    "docs/measuring.md says how it is measured."
)
def bench(
    device: Annotated[
        str | None, typer.Option(help="What to measure: cpu or cuda; by default cpu, or what --backend runs on.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few workloads, under two minutes; not for the record.")
    ] = False,
    processes: Annotated[
        int, typer.Option(min=1, help="Fresh processes that each row is measured in; 10 can be compared with others.")
    ] = 1,
    workload: Annotated[list[str] | None, typer.Option(help="Only these workloads; by default all of them.")] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help="A function of yours to time beside the others: module:function; may be repeated."),
    ] = None,
) -> None:
    """Measure all columns on all workloads, each result judged first, and make the tables and the report."""
    from harness.measuring import devices, foreign
    from harness.measuring.columns import columns_of
    from harness.measuring.devices import cpu
    from harness.measuring.run import processes_of, run
    from harness.operators.verdict import Crashed, Hung
    from harness.repository import MissingLibrary, results_folder

    theirs = tuple(dict.fromkeys(backend or ()))
    with stop_at(ValueError, MissingLibrary, Crashed, Hung):
        device = device or next((foreign.apart(each).sheet.device.partition(":")[0] for each in theirs), "cpu")
        missing = devices.load(device).why_not()
        sorts = processes_of(device, workload or (), theirs)
        foreign.beside(columns_of(device, "default"), theirs, device)
    for function in theirs:
        foreign.apart(function).restart()  # an idle process would hold its part of a GPU while others are timed
    if missing is not None:
        stop(missing)
    console.print(f"[bold]{device}[/], on {cpu.cpu_model()}, {cpu.threads()} threads")
    with bars("row") as progress:
        tasks = {process.name: progress.add_task(process.name, total=None, start=False, row="") for process in sorts}

        def follow(name: str, event: dict[str, object]) -> None:
            if "total" in event:
                progress.start_task(tasks[name])
                # As many in each of its turns.
                progress.update(tasks[name], total=processes * float(str(event["total"])))
            progress.update(tasks[name], advance=float("done" in event), row=str(event.get("begins", "")))

        exits = run(device, quick, processes, workload or (), follow, theirs)
    failed = [each for each in exits if not each.interrupted and (each.code != 0 or each.file is None)]
    for each in failed:
        console.print(f"[bold red]A process of {each.process.name} did not pass.[/] Its last lines:")
        tell(each.tail)
    files = [each.file for each in exits if each.file is not None]
    if files:
        # A run with somebody else's function has a report of its own, beside its files.
        _finish(_write(files[0].parent if theirs else results_folder(quick)))
    if exits[-1].interrupted:
        kept = f"the rows that were finished are in {files[0].parent}" if files else "no row was finished"
        tell(f"Interrupted: {kept}.")
        raise typer.Exit(130)
    if failed:
        raise typer.Exit(1)


@app.command(epilog="Example: python -m harness report results --baseline cpu-amd-epyc-2t")
def report(
    folder: Annotated[Path, typer.Argument(help="The folder that holds the JSON files.")] = Path("results"),
    baseline: Annotated[
        str | None,
        typer.Option(
            help="The device that the others' ratios are to, by the name of its folder; the first by default."
        ),
    ] = None,
) -> None:
    """Remake the tables, report.html and conformance.html from what is stored alone; exit 1 if a file was left out."""
    written = _write(folder, baseline)
    _finish(written)
    if written.problems:
        raise typer.Exit(1)


@app.command(epilog='Example: python -m harness merge build/archives --expect "h100 h200"')
def merge(
    archives: Annotated[
        Path, typer.Argument(help="The folder that holds a folder gpu-RUNNER-RUN with its archive for each runner.")
    ],
    expect: Annotated[
        str, typer.Option(help="The runners that should have left an archive, with blanks between them.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(help="A folder of results to add to, instead of build/merged, which is begun anew each time."),
    ] = None,
) -> None:
    """Unpack several runners' archives into one folder and make its report.

    A runner that left nothing, something broken or a failed step is named; the report of the others is made all the
    same, and the exit code is 1, or 2 if there is nothing to report.
    """
    import shutil

    from harness.machines import merging

    if output is None:
        shutil.rmtree(merging.FOLDER, ignore_errors=True)
    folder = merging.FOLDER if output is None else output
    merged = merging.merge(archives, tuple(expect.split()), folder)
    for line in (*merged.runs, *merged.problems):
        tell(line)
    written = _write(folder)
    _finish(written)
    if merged.problems or written.problems:
        raise typer.Exit(1)


def _write(folder: Path, baseline: str | None = None) -> Report:
    from harness.report import write, write_readme
    from harness.report.tables import across
    from harness.repository import RESULTS, ROOT

    with stop_at(FileNotFoundError, across.UnknownDevice):
        written = write(folder, baseline)
        if folder.resolve() == RESULTS:
            write_readme(written, ROOT / "README.md")
    return written


def _finish(written: Report) -> None:
    """Print the tables and where the files lie."""
    from harness.report import summary

    for table in summary(written):
        show(table.caption, table.header, table.rows)
    for problem in (*written.doubts, *written.problems):
        tell(problem)
    files = {"table": written.csv, "summary": written.markdown, "report": written.html}
    if written.libraries is not None:
        files |= {"page": written.libraries.html, "picture": written.libraries.picture}
    for name, path in files.items():
        tell(f"{name:8}{path.resolve()}")
