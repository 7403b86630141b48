"""gpu and sanitize: what needs a machine of a kind of its own, or a compiler."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.verbs import app, console, stop, tell


@app.command(epilog="Example: python -m harness gpu build test")
def gpu(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[STEP]...", help="build, test, sanitize, bench, archive; or all.")
    ] = None,
) -> None:
    """Do all that needs a GPU, step by step, and pack logs, JUnit files and results into one archive."""
    import shutil

    from harness.machines import gpu as orchestra
    from harness.measuring.devices import cuda as cuda_device

    parts = orchestra.FOLDER / "parts"
    known = {step.name: step for step in orchestra.steps(parts / "logs")}
    unknown = [name for name in names or () if name not in (*known, "archive")]
    if unknown:
        stop(f"There is no step {unknown[0]!r}; there are {', '.join(known)} and archive.")
    missing = cuda_device.why_not()
    if missing is not None:
        stop(missing)
    if not names:
        shutil.rmtree(parts, ignore_errors=True)
    chosen = tuple(step for name, step in known.items() if not names or name in names)

    try:
        outcomes = orchestra.run(chosen, parts, tell)
        if not names or "archive" in names:
            packed = orchestra.archive(parts, orchestra.FOLDER)
            console.print(f"archive   {packed}", markup=False, highlight=False, soft_wrap=True)
    except KeyboardInterrupt:
        console.print("Interrupted: the step's processes were stopped.")
        raise typer.Exit(130) from None
    except FileNotFoundError as error:
        stop(str(error))
    if any(outcome.bad for outcome in outcomes):
        raise typer.Exit(1)


@app.command(epilog="Example: python -m harness sanitize --cases 1000 --seed 1")
def sanitize(
    cases: Annotated[int, typer.Option(help="How many cases of each operator.", min=2)] = 300,
    seed: Annotated[int, typer.Option(help="What they are drawn with: the same seed, the same cases.")] = 0,
) -> None:
    """Run the kernels under the sanitizers of their device; exit 1 if anything is found, 2 without a compiler."""
    from harness.kernels import compiling
    from harness.measuring.devices import cuda as cuda_device
    from harness.repository import MissingLibrary
    from harness.sanitizing import sanitizers

    try:
        compiling.compiler()
    except MissingLibrary as missing:
        stop(str(missing))
    found = False
    with console.status("") as status:
        for outcome in sanitizers.outcomes(cases, seed, status.update):
            tell(outcome)
            found |= outcome.status == "found"
    no_gpu = cuda_device.why_not()
    if no_gpu is None:
        gpu(["sanitize"])
    else:
        tell(f"compute-sanitizer skipped: {no_gpu}")
    if found:
        raise typer.Exit(1)
