"""peers: what the libraries of the matrix need, installed."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.verbs import app, interruptible, known, tell


@app.command(epilog="Example: python -m harness peers paddle tvm")
def peers(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="beside: all that live beside torch; paddle, tvm, mindspore, mmcv, tfjs: one each; or all of them.",
        ),
    ] = None,
) -> None:
    """Install the libraries of the matrix that nothing else needs; exit 1 if one of them could not be."""
    from harness.backends.peers import installing

    environments = installing.all_environments()
    chosen = [environments[known("environment", name, environments)] for name in names or environments]
    with interruptible("what is half made is made anew the next time."):
        done = [installing.make(each, tell) for each in chosen]
    if not all(done):
        raise typer.Exit(1)
