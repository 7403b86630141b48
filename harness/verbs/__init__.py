"""The verbs of `python -m harness`, a module for each room that has some, and what they share: output and exit codes.

Each verb imports what it needs when it is called, so that --help answers at once. People read standard output; with
--json a program does, and everything else goes to standard error.
"""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

app = typer.Typer(add_completion=False, help="Measure, report and judge implementations of RoIAlign.")
console = Console()
# What `python -m harness` prints without a verb.
FIRST = """\
First         make bench QUICK=1   judges and times this machine in two minutes; see build/quick-results/report.html
Your kernel   pytest suites/ --backend mypkg.mymodule:function   says whether it is right, with a case to repeat
Its speed     python -m harness bench --quick --backend mypkg.mymodule:function   times it beside the others
Your change   python -m harness compare main .   says of each row SAME, FAST, SLOW or UNCLEAR
All verbs     python -m harness --help   lists them; VERB --help has an example and the exit codes"""

Name = TypeVar("Name", bound=str)


@app.callback(invoke_without_command=True)
def _first(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        stop(FIRST)


def epilog(examples: str, codes: Mapping[int, str]) -> str:
    """The end of a verb's help: lines to copy, and what each exit code means; 2 is the same for every verb."""
    every = {**codes, 2: "an option cannot be used, or something needed is missing; the message says which"}
    # The help breaks a line only where the text has two line ends.
    return "\n\n".join([examples, *(f"Exit code {code}: {every[code]}." for code in sorted(every))])


def _apart(context: typer.Context, value: bool) -> bool:
    """Leaves standard output to the JSON for as long as the verb runs."""
    console.stderr = value
    context.call_on_close(lambda: setattr(console, "stderr", False))
    return value


Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print the result as JSON on standard output, and everything else on standard error.",
        callback=_apart,
    ),
]


def publish(result: Mapping[str, object]) -> None:
    """Print a result as JSON; a number that JSON does not have, NaN or an infinity, is null."""
    typer.echo(json.dumps(_plain(result), indent=1, allow_nan=False))


def _plain(value: Any) -> Any:
    """The result in JSON's types."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def tell(sentence: object) -> None:
    """Print as it is: no markup, no colours, no line broken."""
    console.print(str(sentence), markup=False, highlight=False, soft_wrap=True)


def stop(sentence: object) -> NoReturn:
    """Print the message and exit with the code of a usage error."""
    tell(sentence)
    raise typer.Exit(2)


@contextmanager
def stop_at(*errors: type[Exception]) -> Iterator[None]:
    """Each of these errors ends the verb with its message."""
    try:
        yield
    except errors as error:
        stop(error)


@contextmanager
def interruptible(sentence: str) -> Iterator[None]:
    """An interrupt ends the verb with a sentence that names what was stopped and what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        tell(f"Interrupted: {sentence}")
        raise typer.Exit(130) from None


@contextmanager
def repeated_interrupts() -> Iterator[Callable[[], None]]:
    """Yields a function that raises KeyboardInterrupt if an interrupt came, because it may have been lost.

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


def one_of(kind: str, name: str, names: Iterable[Name]) -> Name:
    """The name if it is one of these; otherwise the verb ends."""
    for each in names:
        if each == name:
            return each
    stop(f"There is no {kind} {name!r}; there are {', '.join(names)}.")


def bars(field: str = "") -> Progress:
    """Progress bars; `field` names the text that each task has behind its bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    # A spinner of plain characters: some consoles have no others.
    columns = (SpinnerColumn("line"), TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
    text = [TextColumn(f"{{task.fields[{field}]}}")] if field else []
    return Progress(*columns, TimeElapsedColumn(), *text, console=console)


def show(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> None:
    """Print a table, its first columns words and the others numbers."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for place, name in enumerate(header):
        table.add_column(name, justify="left" if place < words else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
