"""peers: install the libraries of the matrix."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.verbs import Json, app, epilog, interruptible, one_of, publish, tell


@app.command(
    epilog=epilog(
        "Example: python -m harness peers paddle tvm",
        {0: "all of them are installed", 1: "one of them could not be installed", 130: "interrupted"},
    )
)
def peers(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="beside: all in torch's environment; paddle, tvm, mindspore, mmcv, tfjs: one each; or all of them.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Install the libraries of the matrix that nothing else needs."""
    from harness.backends.peers import installing

    environments = installing.all_environments()
    selection = [environments[one_of("environment", name, environments)] for name in names or environments]
    with interruptible("an unfinished environment is made again the next time."):
        successes = [installing.make(each, tell) for each in selection]
    if as_json:
        publish({"environments": {each.name: is_here for each, is_here in zip(selection, successes, strict=True)}})
    if not all(successes):
        raise typer.Exit(1)
