"""conformance: every backend and every property, as a matrix."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.verbs import Json, app, bars, console, epilog, one_of, publish, stop, stop_at, tell

if TYPE_CHECKING:
    from harness.conformance.cells import Cell
    from harness.conformance.jobs import Answer, Job, JobResult


@app.command(
    epilog=epilog(
        "Example: python -m harness conformance --backend mypkg.mymodule:my_roi_align --fail-on fail",
        {
            0: "every cell is filled",
            1: "with --fail-on fail, a declared property fails, or a backend named by --backend cannot be loaded; or a "
            "process ended before its cells were filled",
            130: "interrupted; --resume continues",
        },
    )
)
def conformance(
    backend: Annotated[
        list[str] | None, typer.Option(help="The backend to check: a name, or module:function; may be repeated.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Check every library that people use; `make peers` installs them.")
    ] = False,
    operator: Annotated[str, typer.Option(help="crop_and_resize or roi_align; by default both.")] = "",
    property_names: Annotated[
        list[str] | None, typer.Option("--property", help="The properties to check; by default all of them.")
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="Cases of each property; fewer where a case takes long.")] = 100,
    seed: Annotated[int, typer.Option(help="The same seed draws the same cases.")] = 0,
    limit: Annotated[
        float | None, typer.Option(help="Seconds that a call on a small case may take; by default what the sheet says.")
    ] = None,
    fail_on: Annotated[
        str,
        typer.Option(
            help='"fail": exit 1 if anything that is declared fails or crashes, or a named backend is missing.'
        ),
    ] = "",
    table: Annotated[
        Path | None, typer.Option(help="The CSV to merge the rows into; findings.json is beside it.")
    ] = None,
    cluster: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="The scheduler of a dask.distributed cluster whose workers run the checks."
        ),
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run that was stopped.")] = False,
    as_json: Json = False,
) -> None:
    """Check every property on every backend, and write the matrix to results/conformance.csv.

    A failure that a second formulation confirms is written to findings.json beside it.
    """
    from harness.conformance import jobs, journal, tables
    from harness.conformance.cells import BAD, OURS, is_bad
    from harness.conformance.findings import merge
    from harness.judging.cluster import UnusableCluster
    from harness.measuring import findings
    from harness.operators import OPERATORS
    from harness.repository import FINDINGS, RESULTS

    path = table or RESULTS / "conformance.csv"
    if fail_on not in ("", "fail"):
        stop(f'--fail-on {fail_on}: it can be "fail", which exits with 1 if anything that is declared does not hold.')
    if every and backend:
        stop("--all checks every library, --backend those that it names: give one of the two.")
    operators = [one_of("operator", operator, OPERATORS)] if operator else list(OPERATORS)
    names = backend or (jobs.all_libraries() if every else jobs.default_backends())
    of, notes = journal.key(examples, seed), journal.path_of(path)
    with stop_at(ValueError):
        old, old_findings = tables.read(path), findings.read(path.with_name(FINDINGS))
        before = journal.read(notes, of) if resume else []
        selection = jobs.jobs(names, operators, property_names or (), examples, seed, limit)
    journal.begin(notes, of, before)
    with stop_at(ValueError, UnusableCluster), bars("row") as progress:
        tasks: dict[Job, Any] = {}
        remaining = jobs.without(selection, before)
        total = progress.add_task("backends", total=len(remaining), row="")

        def show(job: Job, count: int, answer: Answer | None) -> None:
            if answer is None:
                tasks[job] = progress.add_task(f"{job.backend}, {' or '.join(job.operators)}", total=count, row="")
                return
            journal.add(notes, answer)
            cell = answer.cell
            progress.update(tasks[job], advance=1, row=f"{cell.property}, {cell.direction}: {cell.status}")

        def end(result: JobResult) -> None:
            # Each bar makes room for the next: a terminal has fewer lines than there are backends.
            progress.remove_task(tasks.pop(result.job))
            progress.advance(total)
            counts = Counter(each.status for each in result.cells)
            tell(f"{result.job.backend}: {', '.join(f'{count} {status}' for status, count in counts.items())}")

        results = [*_run(remaining, show, end, cluster), *jobs.earlier_results(selection, before)]
    cells = [each for one in results for each in one.cells]
    tables.write(path, tables.merge(old, results))
    new = [each for one in results for each in one.findings]
    findings.write(path.with_name(FINDINGS), merge(old_findings, cells, new))
    for name in operators:
        _show([each for each in cells if each.operator == name], name)
    for each in (each for each in cells if each.status in (*BAD, OURS)):
        tell(f"{each.backend}, {each.property}, {each.direction}: {each.status}: {each.reason}")
        tell(f"  {each.counterexample}")
    for one in results:
        if one.problem:
            tell(one.problem)
    tell(f"conformance {path.resolve()}")
    if as_json:
        problems = [one.problem for one in results if one.problem]
        publish({"cells": cells, "findings": new, "problems": problems, "table": path.resolve()})
    if any(one.stopped for one in results):
        tell(
            "Interrupted: the finished cells are written, and the other rows of the table are as they were. "
            "--resume continues."
        )
        raise typer.Exit(130)
    if any(one.problem for one in results):
        tell("Some cells are missing, because their processes ended. --resume runs them again.")
        raise typer.Exit(1)
    notes.unlink()
    if fail_on and any(
        is_bad(each) or (each.status == "missing" and each.backend in (backend or ())) for each in cells
    ):
        raise typer.Exit(1)


@app.command(
    epilog=epilog(
        "Example: python -m harness speed --backend torchvision --backend openvino --operator roi_align",
        {0: "the times are written; a library without one has the reason"},
    )
)
def speed(
    backend: Annotated[
        list[str] | None, typer.Option(help="The backend to time, may be repeated; by default every library.")
    ] = None,
    operator: Annotated[str, typer.Option(help="crop_and_resize or roi_align; by default both.")] = "",
    table: Annotated[Path | None, typer.Option(help="The CSV to write.")] = None,
    as_json: Json = False,
) -> None:
    """Time libraries beside each other, each in a process of its own: results/conformance-times.csv."""
    from harness import backends
    from harness.conformance import jobs
    from harness.conformance import speed as timing
    from harness.operators import OPERATORS
    from harness.repository import RESULTS

    operators = [one_of("operator", operator, OPERATORS)] if operator else list(OPERATORS)
    names = backend or jobs.all_libraries()
    path = table or RESULTS / "conformance-times.csv"
    rows = []
    for of in operators:
        timeable = [each.backend for each in jobs.jobs(names, [of], (), 1, 0) if each.backend not in _NO_TIME]
        rows += timing.times([name for name in timeable if of in backends.operators_of(name)], [of], tell)
    timing.write(path, rows)
    for each in rows:
        time = f"{each.ms:,.3f} ms ({each.ms_low:,.3f} to {each.ms_high:,.3f})" if each.ms else each.status
        tell(f"{each.operator}, {each.workload}, {each.direction}: {each.backend}: {time}")
    tell(f"times {path.resolve()}")
    if as_json:
        publish({"times": rows, "table": path.resolve()})


# NumPy, value by value: no library, and minutes for each call.
_NO_TIME = ("reference",)


def _run(remaining: list[Job], show: Any, end: Any, cluster: str) -> list[JobResult]:
    """The jobs on this machine, or on the workers of a cluster."""
    from harness.conformance import cluster as workers
    from harness.conformance import processes
    from harness.judging.cluster import connect

    if not remaining:
        return []
    if not cluster:
        return processes.run(remaining, show, end)
    with connect(cluster) as client:
        return workers.run(client, remaining, show, end)


def _show(cells: list[Cell], operator: str) -> None:
    """One row for each property and direction, one column for each backend, and a status in each cell."""
    from rich.table import Table

    for name, reason in dict.fromkeys((each.backend, each.reason) for each in cells if each.status == "missing"):
        tell(f"{name}, {operator}: missing: {reason}")
    cells = [each for each in cells if each.status != "missing"]
    backends = list(dict.fromkeys(each.backend for each in cells))
    if not backends:
        return
    table = Table(title=operator, title_justify="left")
    table.add_column("property, direction", min_width=30)
    for name in backends:
        table.add_column(name, overflow="fold")
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
        table.add_row(f"{property_}, {direction}", *marks)
    console.print(table)
