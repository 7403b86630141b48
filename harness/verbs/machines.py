"""gpu and sanitize: what needs a machine of a kind of its own, or a compiler."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.verbs import app, console, interruptible, stop, stop_at, tell


@app.command(epilog="Example: python -m harness gpu build test")
def gpu(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[STEP]...", help="build, test, sanitize, bench, archive; or all.")
    ] = None,
) -> None:
    """Do all that needs a GPU, step by step, and pack logs, JUnit files and results into one archive."""
    import shutil

    from harness.machines.gpu import FOLDER, archive, run, steps
    from harness.measuring.devices import cuda

    parts = FOLDER / "parts"
    by_name = {step.name: step for step in steps(parts / "logs")}
    unknown = [name for name in names or () if name not in (*by_name, "archive")]
    if unknown:
        stop(f"There is no step {unknown[0]!r}; there are {', '.join(by_name)} and archive.")
    missing = cuda.why_not()
    if missing is not None:
        stop(missing)
    if not names:
        shutil.rmtree(parts, ignore_errors=True)
    chosen = tuple(step for name, step in by_name.items() if not names or name in names)
    with interruptible("the step's processes were stopped."), stop_at(FileNotFoundError):
        outcomes = run(chosen, parts, tell)
        if not names or "archive" in names:
            tell(f"archive   {archive(parts, FOLDER)}")
    if any(outcome.bad for outcome in outcomes):
        raise typer.Exit(1)


@app.command(epilog="Example: python -m harness sanitize --cases 1000 --seed 1")
def sanitize(
    cases: Annotated[int, typer.Option(help="How many cases of each operator.", min=2)] = 300,
    seed: Annotated[int, typer.Option(help="What they are drawn with: the same seed, the same cases.")] = 0,
) -> None:
    """Run the kernels under the sanitizers of their device; exit 1 if anything is found, 2 without a compiler."""
    from harness.kernels import compiling
    from harness.measuring.devices import cuda
    from harness.repository import MissingLibrary
    from harness.sanitizing import sanitizers

    with stop_at(MissingLibrary):
        compiling.compiler()
    found = False
    with console.status("") as status:
        for outcome in sanitizers.outcomes(cases, seed, status.update):
            tell(outcome)
            found |= outcome.status == "found"
    no_gpu = cuda.why_not()
    if no_gpu is None:
        gpu(["sanitize"])
    else:
        tell(f"compute-sanitizer skipped: {no_gpu}")
    if found:
        raise typer.Exit(1)
