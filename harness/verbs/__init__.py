"""The verbs of `python -m harness`, a module for each room that has some, and what they share: how one ends and shows.

Each verb imports what it needs when it is called, so that --help answers at once.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, TypeVar

import typer
from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Measure, report and judge implementations of RoIAlign."
)
console = Console()

Name = TypeVar("Name", bound=str)


def tell(sentence: object) -> None:
    """Print as it is: no markup, no colours, no line broken."""
    console.print(str(sentence), markup=False, highlight=False, soft_wrap=True)


def stop(sentence: object) -> NoReturn:
    """Say what cannot be done and leave with a usage error's exit code."""
    tell(sentence)
    raise typer.Exit(2)


@contextmanager
def stop_at(*errors: type[Exception]) -> Iterator[None]:
    """Each of these errors ends the verb with what it says."""
    try:
        yield
    except errors as error:
        stop(error)


@contextmanager
def interruptible(sentence: str) -> Iterator[None]:
    """An interrupt ends the verb with a sentence: what was stopped, and what is kept of the work."""
    try:
        yield
    except KeyboardInterrupt:
        tell(f"Interrupted: {sentence}")
        raise typer.Exit(130) from None


@contextmanager
def repeated_interrupts() -> Iterator[Callable[[], None]]:
    """Gives a function that raises KeyboardInterrupt if an interrupt came, which may have been lost.

    Python ignores what is raised within a callback of its garbage collector, and Hypothesis has one: a Ctrl-C would do
    nothing there.
    """
    interrupts: list[int] = []

    def interrupt(number: int, frame: object) -> NoReturn:
        interrupts.append(number)
        raise KeyboardInterrupt

    def repeat() -> None:
        if interrupts:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield repeat
    finally:
        signal.signal(signal.SIGINT, before)


def known(kind: str, name: str, names: Iterable[Name]) -> Name:
    """The one of these names, or the end of the verb."""
    for each in names:
        if each == name:
            return each
    stop(f"There is no {kind} {name!r}; there are {', '.join(names)}.")


def bars(field: str = "") -> Progress:
    """Progress bars; `field` is what each task says behind its bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    # A spinner of plain characters: there are consoles without others.
    columns = (SpinnerColumn("line"), TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
    says = [TextColumn(f"{{task.fields[{field}]}}")] if field else []
    return Progress(*columns, TimeElapsedColumn(), *says, console=console)


def show(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> None:
    """Print a table, its first columns words and the others numbers."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for place, name in enumerate(header):
        table.add_column(name, justify="left" if place < words else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
