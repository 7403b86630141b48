"""gpu and sanitize: what needs a machine of a kind of its own, or a compiler."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.verbs import app, console, interruptible, stop_at, tell


@app.command(epilog="Example: python -m harness gpu build test")
def gpu(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STEP]...",
            help="build, smoke, test, test-deterministic, test-meta, sanitize, bench, archive; or all.",
        ),
    ] = None,
) -> None:
    """Do all that needs a GPU, step by step, and pack logs, JUnit files and results into one archive."""
    from harness.machines.gpu import main

    with interruptible("the step's processes were stopped."):
        code = main(names or (), tell)
    if code:
        raise typer.Exit(code)


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
