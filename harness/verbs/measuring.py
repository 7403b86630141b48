"""bench, report and merge: measure, and make tables and reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.verbs import app, bars, console, epilog, show, stop, stop_at, tell

if TYPE_CHECKING:
    from harness.measuring.record import Header
    from harness.report import Report


@app.command(
    epilog=epilog(
        "Examples: python -m harness bench --quick\n\n"
        "python -m harness bench --processes 10 --workload fpn_p2_test\n\n"
        "python -m harness bench --backend mypkg.mymodule:my_roi_align, for a function of yours beside this "
        "project's.\n\n"
        "docs/measuring.md explains the method.",
        {
            0: "every process passed, and the report is written",
            1: "a process failed; the rows of the others are in the report",
            130: "interrupted, and the finished rows are stored",
        },
    )
)
def bench(
    device: Annotated[
        str | None, typer.Option(help="What to measure: cpu or cuda; by default cpu, or what --backend runs on.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few workloads, under two minutes; not for the record.")
    ] = False,
    processes: Annotated[
        int, typer.Option(min=1, help="Fresh processes for each row; a run of 10 can be compared with another.")
    ] = 1,
    workload: Annotated[list[str] | None, typer.Option(help="Only these workloads; by default all of them.")] = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(help="A function of yours to time beside the others: module:function; may be repeated."),
    ] = None,
) -> None:
    """Measure all columns on all workloads, judge each result first, and make the tables and the report."""
    from harness.measuring import devices, foreign, record
    from harness.measuring.columns import columns_of
    from harness.measuring.devices import cpu
    from harness.measuring.run import processes_of, run
    from harness.operators.verdict import Crash, Hang
    from harness.repository import MissingLibrary, results_folder

    functions = tuple(dict.fromkeys(backend or ()))
    with stop_at(ValueError, MissingLibrary, Crash, Hang):
        device = device or next((foreign.apart(each).sheet.device.partition(":")[0] for each in functions), "cpu")
        missing = devices.load(device).why_not()
        sorts = processes_of(device, workload or (), functions)
        foreign.beside(columns_of(device, "default"), functions, device)
    for function in functions:
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

        exits = run(device, quick, processes, workload or (), follow, functions)
    failures = [each for each in exits if not each.interrupted and (each.code != 0 or each.file is None)]
    for each in failures:
        console.print(f"[bold red]A process of {each.process.name} did not pass.[/] Its last lines:")
        tell(each.tail)
    files = [each.file for each in exits if each.file is not None]
    if files:
        # A run with somebody else's function has a report of its own, beside its files.
        _finish(_write(files[0].parent if functions else results_folder(quick)), record.read(files[0]).header)
    if exits[-1].interrupted:
        remainder = f"the rows that were finished are in {files[0].parent}" if files else "no row was finished"
        tell(f"Interrupted: {remainder}.")
        raise typer.Exit(130)
    if failures:
        raise typer.Exit(1)


@app.command(
    epilog=epilog(
        "Example: python -m harness report results --baseline cpu-amd-epyc-2t",
        {0: "the report is written", 1: "the report is written, and a file was left out of it"},
    )
)
def report(
    folder: Annotated[Path, typer.Argument(help="The folder that holds the JSON files.")] = Path("results"),
    baseline: Annotated[
        str | None,
        typer.Option(
            help="The device to which the others are compared, by the name of its folder; the first by default."
        ),
    ] = None,
) -> None:
    """Make the tables, pictures, report.html and conformance.html again, from the stored files alone."""
    report = _write(folder, baseline)
    _finish(report)
    if report.problems:
        raise typer.Exit(1)


@app.command(
    epilog=epilog(
        'Example: python -m harness merge build/archives --expect "h100 h200"',
        {0: "every runner is in the report", 1: "a runner left nothing, a broken archive or a failed step"},
    )
)
def merge(
    archives: Annotated[
        Path, typer.Argument(help="The folder that has a folder gpu-RUNNER-RUN with an archive for each runner.")
    ],
    expect: Annotated[
        str, typer.Option(help="The runners that should have left an archive, separated by blanks.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(help="A folder of results to add to, instead of build/merged, which is emptied first."),
    ] = None,
) -> None:
    """Unpack several runners' archives into one folder and make its report.

    A runner that left nothing, a broken archive or a failed step is named; the report still shows the others.
    """
    import shutil

    from harness.machines import merging

    if output is None:
        shutil.rmtree(merging.FOLDER, ignore_errors=True)
    folder = merging.FOLDER if output is None else output
    merged = merging.merge(archives, tuple(expect.split()), folder)
    for line in (*merged.runs, *merged.problems):
        tell(line)
    report = _write(folder)
    _finish(report)
    if merged.problems or report.problems:
        raise typer.Exit(1)


def _write(folder: Path, baseline: str | None = None) -> Report:
    from harness.report import write, write_readme
    from harness.report.tables import across
    from harness.repository import RESULTS, ROOT

    with stop_at(FileNotFoundError, across.UnknownDevice):
        report = write(folder, baseline)
        if folder.resolve() == RESULTS:
            write_readme(report, ROOT / "README.md")
    return report


def _finish(report: Report, run: Header | None = None) -> None:
    """Print a finished run's result in words, then the tables and the places of the files.

    A partial run is printed, while the report's files go on to show the full one.
    """
    from harness.measuring import headline, results
    from harness.report import summary

    newest = report.newest(run)
    for sentence in headline.sentences(newest, run.device) if run else ():
        tell(sentence)
    for table in summary(newest, report.baseline):
        show(table.caption, table.header, table.rows)
    for problem in (*report.doubts(newest), *report.problems):
        tell(problem)
    shown = results.newest(report.table)
    if run is not None and run.run not in set(shown[shown.device == run.device].run):
        (other,) = set(shown[shown.device == run.device].run)
        tell(f"The report shows the run {other} of {run.device}, which is more complete than this one.")
    files = {"table": report.csv, "summary": report.markdown, "report": report.html, "picture": report.picture}
    if report.libraries is not None:
        files |= {"libraries": report.libraries.html, "matrices": report.libraries.picture}
    for name, path in files.items():
        tell(f"{name:10}{path.resolve()}")
