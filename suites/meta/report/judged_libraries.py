"""Made-up tables of judged libraries, as files of a folder, and how tests look at the page that is made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd

from harness.measuring import findings
from harness.report import libraries
from harness.report.libraries import grids, timings
from harness.report.libraries.grids import Grid, Square
from harness.report.proofs.conformance import CSV_COLUMNS

OURS = ("roi_align", "roi_align 0.1.0 (CPU)")
FAST, SLOW = ("fast", "Fast 1.0"), ("slow", "Slow & <steady> 2.0")
INSIDE, OUTSIDE = "boxes inside", "boxes outside"
LINE = "RoiCase(shape=(1, 1, 4, 5), boxes=((0, -3.5, 0.0, nan, inf),), output_size=(2, 2), sampling_ratio=2)"
SMALLER = "RoiCase(shape=(1, 1, 1, 1), boxes=((0, 0.0, 0.0, 1.0, 1.0),), output_size=(1, 1))"
CELL = {
    "operator": "roi_align", "property": INSIDE, "direction": "forward", "backend": "fast", "device": "cpu-test",
    "status": "pass", "declared": "yes", "cases": "100", "ambiguous": "0", "fraction": "0.5", "counterexample": "",
    "reason": "", "title": "Fast 1.0", "versions": "fast 1.0, numpy 2.4", "driver": "",
}  # fmt: skip
FINDING = {
    "operator": "roi_align", "backend": "fast", "title": "Fast 1.0", "versions": "fast 1.0, numpy 2.4",
    "device": "cpu-test", "property": OUTSIDE, "direction": "forward", "status": "fail", "case": LINE,
    "index": [0, 0, 1, 1], "value": 3.5, "expected": 1.25, "bound": 1e-6, "second": 1.25, "reason": "It is 3.5 <b>.",
    "rule": "Sample positions", "why": "A sample outside adds 0.", "snippet": "import fast\nprint(fast.pool())",
    "language": "python", "output": "3.5", "alone": False, "replay": "python -m harness judge --backend fast",
}  # fmt: skip
TIMING = {
    "operator": "roi_align", "workload": "c4", "direction": "forward", "backend": "fast", "title": "Fast 1.0",
    "device": "cpu-test", "status": "ok", "reason": "", "ms": "2", "ms_low": "1.9", "ms_high": "2.4", "blocks": "7",
}  # fmt: skip
Changes = Mapping[str, Any]


def cell_of(library: tuple[str, str], **changes: Any) -> dict[str, Any]:
    """Changes that are of a library."""
    return {"backend": library[0], "title": library[1], **changes}


def offered(library: tuple[str, str], **statuses: str) -> list[dict[str, Any]]:
    """A library's cells of boxes inside, one for each direction; by default only the forward is offered."""
    return [
        cell_of(
            library,
            direction=direction,
            status=statuses.get(direction, "undeclared"),
            declared="yes" if direction in statuses else "no",
        )
        for direction in ("forward", "grad_image", "grad_boxes")
    ]


def cells(folder: Path, *changes: Changes) -> None:
    pd.DataFrame([{**CELL, **each} for each in changes], columns=CSV_COLUMNS).to_csv(
        folder / libraries.CELLS, index=False
    )


def confirmed(folder: Path, *changes: Changes) -> None:
    entries = [{**FINDING, **each} for each in changes]
    (folder / libraries.FINDINGS).write_text(json.dumps({"findings": entries}), encoding="utf-8")


def times(folder: Path, *changes: Changes) -> None:
    pd.DataFrame([{**TIMING, **each} for each in changes], columns=timings.CSV_COLUMNS).to_csv(
        folder / libraries.TIMES, index=False
    )


def failure(**changes: Any) -> dict[str, Any]:
    """A failed cell of boxes outside, which FINDING confirms."""
    return {"property": OUTSIDE, "status": "fail", "counterexample": LINE, "reason": "It is 3.5.", **changes}


def grid_of(folder: Path, operator: str = "roi_align") -> Grid:
    """An operator's matrix of a folder's tables."""
    tables = grids.libraries(folder / libraries.CELLS, findings.read(folder / libraries.FINDINGS))
    return next(grid for grid in tables.grids if grid.operator == operator)


def square_of(folder: Path, row: str, backend: str = "fast") -> Square:
    squares = dict(grid_of(folder).rows)[row]
    return next(square for square in squares if square.library.backend == backend)


class Page(HTMLParser):
    """What a page's elements are: their ids, what is linked, and the cells of tables with their classes.

    problems  what is not well formed: an element that is not closed where it should be, or an id that comes twice.
    """

    VOID = ("meta", "link", "br", "hr", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.problems: list[str] = []
        self.squares: list[tuple[str, str]] = []
        self.scopeless = 0
        self._open: list[str] = []
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> is not closed" for tag in self._open]
        self.problems += [f"{name} is there twice" for name in {each for each in self.ids if self.ids.count(each) > 1}]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        of = dict(attributes)
        if tag not in self.VOID:
            self._open.append(tag)
        self.ids += [of["id"] or ""] if "id" in of else []
        self.links += [of["href"] or ""] if "href" in of else []
        self.scopeless += tag == "th" and "scope" not in of
        if tag == "td":
            self.squares.append((of.get("class") or "", ""))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if "td" in self._open and self.squares:
            tone, word = self.squares[-1]
            self.squares[-1] = tone, (word + data).strip()
