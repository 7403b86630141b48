"""The verbs of `python -m harness`, a module for each kind of work; what they share stands here.

Each verb imports what it needs when it is called, so that --help answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from harness.operators.arrays import Direction

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Measure, report and judge implementations of RoIAlign."
)
console = Console()


def stop(sentence: str) -> NoReturn:
    """Say what cannot be done and leave with a usage error's exit code."""
    tell(sentence)
    raise typer.Exit(2)


def tell(sentence: object) -> None:
    """Print as it is: no markup, no colours, no line broken."""
    console.print(str(sentence), markup=False, highlight=False, soft_wrap=True)


def direction_of(name: str) -> Direction:
    """The direction of that name, or the end of the verb in a sentence."""
    from harness.operators.arrays import DIRECTIONS

    wanted = next((each for each in DIRECTIONS if each == name), None)
    if wanted is None:
        stop(f"There is no direction {name!r}; there are {', '.join(DIRECTIONS)}.")
    return wanted
