"""conformance.html: one file that asks for no other and runs no script, and conformance.svg: its matrices as a picture.

A red cell links to a section of the page that is never folded, so that it can be printed, linked and reached by
keyboard.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from harness.measuring.findings import Finding
from harness.report.libraries import cases, choice, timings, words
from harness.report.libraries.grids import Grid, Libraries, Library, Square
from harness.report.libraries.timings import Timing, Work
from harness.report.rendering import render
from harness.report.tables.table import milliseconds

TITLE = "Which libraries compute RoIAlign right"
OPERATORS_PAGE = "../docs/operators.md"
NO_SNIPPET = "No short program shows it: it needs too much input, or fails only after other calls."
# Sizes of the picture, in its own units: a README shows it somewhat smaller.
_NAME, _COLUMN, _HEAD, _LINE, _GAP = 128, 72, 56, 21, 26
_LETTERS, _NAME_LINES = 12, 3


@dataclass(frozen=True)
class TimeCell:
    """A cell of a table of times: what it says, the spread below it, and its tone."""

    text: str
    spread: str
    tone: str


@dataclass(frozen=True)
class TimeRow:
    """What was timed, the absolute time of the fastest, and each library's cell."""

    work: str
    fastest: str
    cells: tuple[TimeCell, ...]


@dataclass(frozen=True)
class TimeTable:
    """The times of an operator on a device."""

    device: str
    libraries: tuple[Library, ...]
    rows: tuple[TimeRow, ...]


def text(libraries: Libraries, times: Sequence[Timing], problems: Sequence[str]) -> str:
    """results/conformance.html."""
    return _render(
        "page.html.j2",
        title=TITLE,
        sentences=list(map(choice.result, libraries.grids)) or [choice.sentence(())],
        grids=[(grid, choice.choices(grid, times), time_tables(grid, times)) for grid in libraries.grids],
        omissions=[
            (grid, name, rows)
            for grid in libraries.grids
            for name, rows in (
                ("what is not offered, and why", not_offered(grid)),
                ("what was not tried or is undefined, and why", gaps(grid)),
            )
            if rows
        ],
        legend=[word for word in words.LEGEND if word in _words(libraries.grids)],
        libraries=libraries,
        rule=choice.RULE,
        no_snippet=NO_SNIPPET,
        words=words,
        problems=problems,
        operators_page=OPERATORS_PAGE,
    )


def picture(grids: Sequence[Grid]) -> str:
    """results/conformance.svg: readable at the width of a README, by day and in the dark."""
    tops: list[int] = []
    height = 10
    for grid in grids:
        tops.append(height)
        height += _GAP + _HEAD + _LINE * len(grid.rows) + 12
    width = _NAME + _COLUMN * max((len(grid.libraries) for grid in grids), default=1) + 10
    return _render(
        "picture.svg.j2",
        grids=list(zip(grids, tops, strict=True)),
        sentence=choice.sentence(grids),
        width=width,
        height=height,
        words=words,
        sizes={"name": _NAME, "column": _COLUMN, "head": _HEAD, "line": _LINE, "gap": _GAP},
        lines=lines_of,
    )


def lines_of(library: Library) -> list[str]:
    """A library's name, in lines as wide as a column of the picture, and its version below."""
    return [*textwrap.wrap(library.name, _LETTERS, max_lines=_NAME_LINES, placeholder="…"), library.version[:_LETTERS]]


def time_tables(grid: Grid, times: Sequence[Timing]) -> list[TimeTable]:
    """An operator's tables of times, one for each device, with the columns of its matrix that are in it."""
    backends = {each.backend: each for each in reversed(grid.libraries)}
    rows = timings.by_work((each for each in times if each.operator == grid.operator), backends)
    tables = []
    for device, of in groupby(sorted(rows, key=lambda work: work.device), key=lambda work: work.device):
        works = list(of)
        there = {backend for work in works for backend in rows[work]}
        columns = [each for backend, each in reversed(backends.items()) if backend in there]
        tables.append(TimeTable(device, tuple(columns), tuple(_time_row(work, rows[work], columns) for work in works)))
    return tables


def _time_row(work: Work, of: dict[str, Timing], columns: Sequence[Library]) -> TimeRow:
    best = timings.fastest(of.values())
    name = f"{work.workload}, {words.BY_DIRECTION.get(work.direction, work.direction)}"
    fastest = "" if best is None else f"{milliseconds(best.ms / 1e3)} ms"
    return TimeRow(name, fastest, tuple(_time_cell(of.get(each.backend), best) for each in columns))


def _time_cell(timing: Timing | None, best: Timing | None) -> TimeCell:
    if timing is None:
        return TimeCell(words.NOT_TRIED, "", "none")
    if best is None or not timing.is_right:
        word = timings.WORDS[timing.status]
        # A result that the gate refused is no finding: no second formulation confirmed it.
        return TimeCell(word, "", "none" if word in (words.NOT_OFFERED, words.NOT_TRIED) else "soft")
    ratio = timings.ratio(timing, best)
    return TimeCell(
        _factor(ratio.ratio), f"{_factor(ratio.low)} to {_factor(ratio.high)}", "best" if timing is best else ""
    )


def _factor(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def number(value: float | None, digits: int = 10) -> str:
    """A value as it is printed beside another one: float32's digits and one more, or as many as a bound needs."""
    return "no value" if value is None else f"{value:.{digits}g}"


def place(finding: Finding) -> str:
    """Where the wrong value is: "the crops at [0, 0, 1, 2]"."""
    of = {"grad_image": "the gradient of the image", "grad_boxes": "the gradient of the boxes"}
    return of.get(finding.direction, "the result") + (f" at {list(finding.index)}" if finding.index else "")


def others(square: Square) -> str:
    """The other checks that fail in the same way, "" if there are none."""
    names = dict.fromkeys(f"{each.property} ({words.BY_DIRECTION[each.direction]})" for each in square.findings[1:])
    return ", ".join(names)


def anchor_of(heading: str) -> str:
    """The place of a heading in a page of Markdown: "Sample positions" is at "sample-positions"."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def not_offered(grid: Grid) -> list[tuple[str, str, str]]:
    """(library, row, why) of what a library's documentation leaves out."""
    return _reasons(grid, (words.NOT_OFFERED,))


def gaps(grid: Grid) -> list[tuple[str, str, str]]:
    """(library, row, why) of what was not put to a library, or ended its process on input that it leaves undefined."""
    return _reasons(grid, (words.NOT_TRIED, words.IN_PART, words.UNDEFINED, words.UNDEFINED_HANG))


def _reasons(grid: Grid, of: Sequence[str]) -> list[tuple[str, str, str]]:
    squares = [square for library in grid.libraries for square in grid.of(library)]
    return [
        (square.library.name, square.row, "; ".join(square.reasons))
        for square in squares
        if square.word in of and square.reasons
    ]


def _words(grids: Sequence[Grid]) -> set[str]:
    return {square.word for grid in grids for _, squares in grid.rows for square in squares}


def _render(template: str, **values: Any) -> str:
    filters: dict[str, Callable[..., Any]] = {
        "number": number,
        "place": place,
        "others": others,
        "anchor": anchor_of,
        "in_words": cases.in_words,
    }
    return render(Path(__file__).with_name(template), filters, **values) + "\n"
