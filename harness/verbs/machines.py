"""gpu and sanitize: the verbs that need a GPU or a compiler."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.verbs import app, console, epilog, interruptible, stop_at, tell


@app.command(
    epilog=epilog(
        "Example: python -m harness gpu build test",
        {
            0: "every step passed or was skipped with a reason",
            1: "a step failed, or the machine lacks something that a step needs",
            130: "interrupted",
        },
    )
)
def gpu(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STEP]...",
            help="build, smoke, test, test-deterministic, test-meta, sanitize, bench, archive; or all.",
        ),
    ] = None,
) -> None:
    """Run every step that needs a GPU, and pack logs, JUnit files and results into one archive."""
    from harness.machines.gpu import main

    with interruptible("the step's processes were stopped."):
        code = main(names or (), tell)
    if code:
        raise typer.Exit(code)


@app.command(
    epilog=epilog(
        "Example: python -m harness sanitize --cases 1000 --seed 1",
        {0: "nothing was found", 1: "a sanitizer found something", 130: "interrupted"},
    )
)
def sanitize(
    cases: Annotated[int, typer.Option(help="How many cases of each operator.", min=2)] = 300,
    seed: Annotated[int, typer.Option(help="The same seed draws the same cases.")] = 0,
) -> None:
    """Run the kernels under the sanitizers of their device; needs a C++ compiler."""
    from harness.kernels import compiling
    from harness.measuring.devices import cuda
    from harness.repository import MissingLibrary
    from harness.sanitizing import sanitizers

    with stop_at(MissingLibrary):
        compiling.compiler()
    bad = False
    with interruptible("the running sanitizer was stopped."), console.status("") as status:
        for outcome in sanitizers.outcomes(cases, seed, status.update):
            tell(outcome)
            bad |= outcome.status == "found"
    no_gpu = cuda.why_not()
    if no_gpu is None:
        gpu(["sanitize"])
    else:
        tell(f"compute-sanitizer skipped: {no_gpu}")
    if bad:
        raise typer.Exit(1)
