"""The command line: `python -m harness bench | report | judge | golden | gpu | sanitize`.

Each verb imports what it needs when it is called, so that --help answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from harness.case import Direction
    from harness.report import Report
    from harness.report.tables import Table

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Measure, report and judge implementations of RoIAlign."
)
console = Console()


@app.command(epilog="Example: python -m harness bench --quick")
def bench(
    device: Annotated[str, typer.Option(help="What to measure: cpu or cuda.")] = "cpu",
    quick: Annotated[
        bool, typer.Option("--quick", help="Few workloads, under two minutes; not for the record.")
    ] = False,
) -> None:
    """Measure all columns on all workloads, each result judged first, and make the tables and the report."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from harness import devices, machine, measure

    try:
        missing = devices.load(device).why_not()
    except ValueError as unknown:
        _stop(str(unknown))
    if missing is not None:
        _stop(missing)
    console.print(f"[bold]{device}[/], on {machine.cpu_model()}, {machine.threads()} threads")
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[row]}"),
        console=console,
    ) as progress:
        tasks = {
            process.name: progress.add_task(process.name, total=None, start=False, row="")
            for process in measure.PROCESSES[device]
        }

        def tell(name: str, event: dict[str, object]) -> None:
            if "total" in event:
                progress.start_task(tasks[name])
                progress.update(tasks[name], total=float(str(event["total"])))
            progress.update(tasks[name], advance=float("done" in event), row=str(event.get("begins", "")))

        try:
            outcomes = measure.run(device, quick, tell)
        except KeyboardInterrupt:
            progress.stop()
            console.print("Interrupted: the measuring process was stopped and its partial files were removed.")
            raise typer.Exit(130) from None
    failed = [outcome for outcome in outcomes if outcome.code != 0 or outcome.file is None]
    for outcome in failed:
        console.print(f"[bold red]The run of {outcome.process.name} did not pass.[/] Its last lines:")
        console.print(outcome.tail, markup=False, highlight=False)
    if any(outcome.file is not None for outcome in outcomes):
        _finish(_write(measure.results_folder(quick)))
    if failed:
        raise typer.Exit(1)


@app.command(epilog="Example: python -m harness report results")
def report(
    folder: Annotated[Path, typer.Argument(help="The folder that holds the JSON files.")] = Path("results"),
) -> None:
    """Remake throughput.csv, README.md and report.html from the stored JSON alone."""
    _finish(_write(folder))


@app.command(
    epilog="Example: python -m harness judge --backend tensorflow --direction forward "
    '"Case(shape=(1, 1, 4, 5), boxes=((0.1, 0.2, 0.7, 0.9),), box_indices=(0,), crop_size=(2, 3))"'
)
def judge(
    case: Annotated[str, typer.Argument(help="The line that a failure printed: Case(...).")],
    backend: Annotated[str, typer.Option(help="Whose result to judge.")] = "roi_align",
    direction: Annotated[str, typer.Option(help="forward, grad_image or grad_boxes.")] = "forward",
) -> None:
    """Run one case on one backend and judge its result against the oracle; exit 1 if it does not pass."""
    from harness import judge as judging
    from harness.backends import MissingLibrary, load
    from harness.case import DIRECTIONS, Case

    wanted = next((each for each in DIRECTIONS if each == direction), None)
    if wanted is None:
        _stop(f"There is no direction {direction!r}; there are {', '.join(DIRECTIONS)}.")
    if case.startswith("RoiCase("):
        _judge_pooling(case, backend, wanted)
        return
    try:
        inputs = Case.parse(case).inputs()
        chosen = load(backend)
    except (ValueError, MissingLibrary) as error:
        _stop(str(error))
    if not chosen.same_rule:
        _stop(f"{chosen.title} computes another rule than the oracle; it can be timed, not judged.")
    refusal = chosen.refuses(inputs, wanted)
    if refusal is not None:
        _stop(refusal)
    verdict = judging.judge(inputs, wanted, judging.run(chosen, inputs, wanted), order_a=wanted in chosen.order_a)
    console.print(f"{chosen.title}, {direction}: {verdict}", markup=False, highlight=False, soft_wrap=True)
    if not verdict.passed:
        raise typer.Exit(1)


def _judge_pooling(line: str, name: str, direction: Direction) -> None:
    """The same for a case of roi_align."""
    from harness import roi_judge as judging
    from harness.backends import MissingLibrary
    from harness.roi_backends import load
    from harness.roi_case import RoiCase

    try:
        inputs, chosen = RoiCase.parse(line).inputs(), load(name)
    except (ValueError, MissingLibrary) as error:
        _stop(str(error))
    refusal = chosen.refuses(inputs, direction)
    if refusal is not None:
        _stop(refusal)
    got = judging.run(chosen, inputs, direction)
    verdict = judging.judge(inputs, direction, got, pinned=direction in chosen.pinned)
    console.print(f"{chosen.title}, {direction}: {verdict}", markup=False, highlight=False, soft_wrap=True)
    if not verdict.passed:
        raise typer.Exit(1)


@app.command(epilog="Example: python -m harness golden")
def golden(
    path: Annotated[Path | None, typer.Argument(help="The file to write; by default the suite's own.")] = None,
    operator: Annotated[str, typer.Option(help="crop_and_resize, by TensorFlow; or roi_align, by torchvision.")] = (
        "crop_and_resize"
    ),
) -> None:
    """Remake the golden vectors: a peer's results for a few hundred cases, for machines that do not have it."""
    from harness import golden as vectors
    from harness import roi_golden
    from harness.backends import MissingLibrary

    if operator == "roi_align":
        try:
            pooled = roi_golden.make()
        except MissingLibrary as missing:
            _stop(str(missing))
        roi_golden.write(pooled, path or roi_golden.PATH)
        console.print(f"torchvision {pooled.torchvision}, {len(pooled.vectors):,} cases", highlight=False)
        return
    target = path or vectors.PATH
    try:
        made = vectors.make()
    except MissingLibrary as missing:
        _stop(str(missing))
    vectors.write(made, target)
    console.print(f"{made}, {target.stat().st_size:,} bytes: {target}", markup=False, highlight=False, soft_wrap=True)


@app.command(epilog="Example: python -m harness gpu build test")
def gpu(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[STEP]...", help="build, test, sanitize, bench, archive; or all.")
    ] = None,
) -> None:
    """Do all that needs a GPU, step by step, and pack logs, JUnit files and results into one archive."""
    import shutil

    from harness import cuda_device
    from harness import gpu as orchestra

    parts = orchestra.FOLDER / "parts"
    known = {step.name: step for step in orchestra.steps(parts / "logs")}
    unknown = [name for name in names or () if name not in (*known, "archive")]
    if unknown:
        _stop(f"There is no step {unknown[0]!r}; there are {', '.join(known)} and archive.")
    missing = cuda_device.why_not()
    if missing is not None:
        _stop(missing)
    if not names:
        shutil.rmtree(parts, ignore_errors=True)
    chosen = tuple(step for name, step in known.items() if not names or name in names)

    def tell(outcome: orchestra.Outcome) -> None:
        console.print(str(outcome), markup=False, highlight=False, soft_wrap=True)

    try:
        outcomes = orchestra.run(chosen, parts, tell)
        if not names or "archive" in names:
            packed = orchestra.archive(parts, orchestra.FOLDER)
            console.print(f"archive   {packed}", markup=False, highlight=False, soft_wrap=True)
    except KeyboardInterrupt:
        console.print("Interrupted: the step's processes were stopped.")
        raise typer.Exit(130) from None
    except FileNotFoundError as error:
        _stop(str(error))
    if any(outcome.bad for outcome in outcomes):
        raise typer.Exit(1)


@app.command(epilog="Example: python -m harness sanitize --cases 1000 --seed 1")
def sanitize(
    cases: Annotated[int, typer.Option(help="How many cases of each operator.", min=2)] = 300,
    seed: Annotated[int, typer.Option(help="What they are drawn with: the same seed, the same cases.")] = 0,
) -> None:
    """Run the kernels under the sanitizers of their device; exit 1 if anything is found, 2 without a compiler."""
    from harness import compiling, cuda_device, sanitizers
    from harness.backends import MissingLibrary

    try:
        compiling.compiler()
    except MissingLibrary as missing:
        _stop(str(missing))
    found = False
    with console.status("") as status:
        for outcome in sanitizers.outcomes(cases, seed, status.update):
            console.print(str(outcome), markup=False, highlight=False, soft_wrap=True)
            found |= outcome.status == "found"
    no_gpu = cuda_device.why_not()
    if no_gpu is None:
        gpu(["sanitize"])
    else:
        console.print(f"compute-sanitizer skipped: {no_gpu}", markup=False, highlight=False, soft_wrap=True)
    if found:
        raise typer.Exit(1)


def _stop(sentence: str) -> NoReturn:
    """Say what cannot be done and leave with a usage error's exit code."""
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(2)


def _write(folder: Path) -> Report:
    from harness.measure import FULL_RESULTS, REPOSITORY
    from harness.report import write, write_readme

    try:
        made = write(folder)
        if folder.resolve() == FULL_RESULTS:
            write_readme(made, REPOSITORY / "README.md")
        return made
    except FileNotFoundError as error:
        console.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(2) from None


def _finish(made: Report) -> None:
    """Print the tables and where the files lie."""
    from harness.report import summary

    for table in summary(made.table):
        console.print(_rich(table))
    for problem in made.problems:
        console.print(problem, markup=False, soft_wrap=True)
    for name, path in (("table", made.csv), ("summary", made.markdown), ("report", made.html)):
        console.print(f"{name:8}{path.resolve()}", markup=False, highlight=False, soft_wrap=True)


def _rich(table: Table) -> object:
    from rich.table import Table as RichTable

    shown = RichTable(title=table.caption, title_justify="left")
    for place, name in enumerate(table.header):
        shown.add_column(name, justify="right" if place else "left")
    for row in table.rows:
        shown.add_row(*row)
    return shown


if __name__ == "__main__":
    app()
