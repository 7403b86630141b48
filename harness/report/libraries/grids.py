"""The matrices of the page: the cells of results/conformance.csv and its findings, by library and in the page's words.

A square of a matrix sums up many cells, and says the worst of them. It is red only for a finding: a failure that the
second formulation does not confirm proves nothing, and a crash on input that a library leaves undefined is no fault.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.measuring.findings import Finding, is_confirmed
from harness.report.libraries import cases, words
from harness.report.proofs.conformance import CSV_COLUMNS
from harness.report.proofs.matrices import read

# What nobody installs: this project's own formulation, and a second way to run a library that is there already. Those
# on a GPU, on CUDA's stand-in, planted faults and functions of somebody's are recognised by their names.
NOT_LIBRARIES = ("reference", "grid_sample_compiled")
OURS = "roi_align"
_FAILED = {"fail": words.WRONG, "crash": words.CRASHES, "hang": words.HANGS}
_UNDEFINED = {"crash": words.UNDEFINED, "hang": words.UNDEFINED_HANG}
_WORDS = {
    "pass": words.RIGHT,
    "ambiguous": words.RIGHT,
    "undeclared": words.NOT_OFFERED,
    "missing": words.NOT_TRIED,
    "not asked": words.NOT_TRIED,
    "judge": words.NOT_TRIED,
}
_ORDER = list(words.WORDS)


def is_library(backend: str) -> bool:
    """Whether a backend is a library that people use, on a CPU."""
    return backend not in NOT_LIBRARIES and "cuda" not in backend and ":" not in backend


@dataclass(frozen=True)
class Library:
    """A column: a backend on a device. name and version: its title's two parts; versions: of all libraries there."""

    backend: str
    device: str
    title: str
    versions: str

    @property
    def name(self) -> str:
        """The title before its version."""
        return self._parts[0]

    @property
    def version(self) -> str:
        """The version in the title, "" if it has none."""
        return self._parts[1]

    @property
    def _parts(self) -> tuple[str, str]:
        title = self.title.removesuffix(" (CPU)")
        match = re.fullmatch(r"(.+?)[, ]+(v?\d+\.\d\S*)(.*)", title)
        return (match[1] + match[3], match[2]) if match else (title, "")


@dataclass(frozen=True)
class Square:
    """One library's answer in one row: its word, and the findings behind it, the worst and smallest first.

    anchor       the place of the findings in the page.
    reasons      why a part was not offered or not tried, each once.
    unconfirmed  how many failed checks the second formulation did not confirm.
    """

    operator: str
    library: Library
    row: str
    word: str
    findings: tuple[Finding, ...]
    reasons: tuple[str, ...]
    unconfirmed: int

    @property
    def tone(self) -> str:
        """The name of its colours."""
        return words.TONE_OF[self.word]

    @property
    def is_red(self) -> bool:
        """Whether it shows a fault of the library."""
        return self.word in words.RED

    @property
    def remark(self) -> str:
        """The remark on a red cell that only a gradient fails, unless its row is a gradient's."""
        of_gradient = all(finding.direction != "forward" for finding in self.findings)
        return "in a gradient" if self.is_red and of_gradient and self.row not in words.BY_DIRECTION.values() else ""

    @property
    def anchor(self) -> str:
        """The id of its findings' section."""
        name = f"{self.operator}-{self.library.backend}-{self.library.device}-{self.row}"
        return re.sub(r"[^\w-]+", "-", name)


@dataclass(frozen=True)
class Grid:
    """An operator's matrix: this project, then the other libraries, best first; each row's squares in this order."""

    operator: str
    libraries: tuple[Library, ...]
    rows: tuple[tuple[str, tuple[Square, ...]], ...]

    def of(self, library: Library) -> tuple[Square, ...]:
        """A library's column."""
        place = self.libraries.index(library)
        return tuple(squares[place] for _, squares in self.rows)

    @property
    def unconfirmed(self) -> int:
        """The number of failed checks that are not confirmed."""
        return sum(square.unconfirmed for _, squares in self.rows for square in squares)

    @property
    def red(self) -> tuple[Square, ...]:
        """The squares that have findings to show, by library."""
        return tuple(square for each in self.libraries for square in self.of(each) if square.is_red)


@dataclass(frozen=True)
class Libraries:
    """All that the table says of libraries: a grid for each operator, and (library, operator, why) of those not here.

    stray  how many findings belong to no failed cell, or do not say what they have to; they are not shown.
    """

    grids: tuple[Grid, ...]
    absent: tuple[tuple[str, str, str], ...]
    stray: int


def libraries(path: Path, findings: Iterable[Finding]) -> Libraries:
    """The matrices of a table and its findings; ValueError in a sentence if it is not of this form."""
    table = read(path, CSV_COLUMNS)
    table = table[table.backend.map(is_library)]
    of_cell: dict[tuple[str, ...], list[Finding]] = defaultdict(list)
    findings = tuple(findings)
    for finding in findings:
        if is_confirmed(finding):
            of_cell[_key(finding)].append(finding)
    there = table[table.status != "missing"]
    places = set(zip(there.operator, there.backend, strict=True))
    absent = {
        (line.title, line.operator): line.reason
        for line in table[table.status == "missing"].itertuples(index=False)
        if (line.operator, line.backend) not in places
    }
    failures = {_key(line) for line in there[there.declared == "yes"].itertuples(index=False) if line.status in _FAILED}
    count = sum(len(of_cell[key]) for key in failures)
    grids = tuple(
        _grid(operator, there[there.operator == operator], of_cell)
        for operator in words.OPERATORS
        if (there.operator == operator).any()
    )
    return Libraries(grids, tuple((*key, why) for key, why in absent.items()), len(findings) - count)


def _key(of: Any) -> tuple[str, ...]:
    """What ties a finding to its cell; both have these names."""
    return of.operator, of.backend, of.device, of.property, of.direction, of.status


def _grid(operator: str, table: pd.DataFrame, findings: dict[tuple[str, ...], list[Finding]]) -> Grid:
    columns: dict[Library, dict[str, list[Any]]] = {}
    for line in table.itertuples(index=False):
        library = Library(str(line.backend), str(line.device), str(line.title), str(line.versions))
        rows = columns.setdefault(library, defaultdict(list))
        alone = any(finding.alone for finding in findings.get(_key(line), ()))
        rows[words.row_of(str(line.property), str(line.direction), alone)].append(line)
    rows_there = [row for row in words.ROWS if any(row in rows for rows in columns.values())]
    squares = {
        library: tuple(_square(operator, library, row, rows.get(row, []), findings) for row in rows_there)
        for library, rows in columns.items()
    }
    ordered = sorted(columns, key=lambda library: _rank(library, squares[library]))
    grid = ((row, tuple(squares[each][at] for each in ordered)) for at, row in enumerate(rows_there))
    return Grid(operator, tuple(ordered), tuple(grid))


def _square(
    operator: str, library: Library, row: str, cells: list[Any], findings: dict[tuple[str, ...], list[Finding]]
) -> Square:
    faults = [finding for cell in cells for finding in findings.get(_key(cell), ()) if _is_fault(cell)]
    ordered = sorted(faults, key=lambda finding: (_ORDER.index(_FAILED[finding.status]), cases.size(finding.case)))
    unconfirmed = sum(_is_fault(cell) and not findings.get(_key(cell)) for cell in cells)
    counts = Counter(_word(cell, bool(findings.get(_key(cell)))) for cell in cells)
    if counts[words.RIGHT] and counts[words.NOT_TRIED]:
        counts[words.IN_PART] += 1
    # A library that was never asked about it, on a table made in parts, was not tried.
    word = min(filter(counts.get, counts), key=_ORDER.index, default=words.NOT_TRIED)
    silent_words = (words.NOT_OFFERED, words.NOT_TRIED, words.UNDEFINED, words.UNDEFINED_HANG)
    reasons = dict.fromkeys(cell.reason for cell in cells if cell.reason and _word(cell, False) in silent_words)
    return Square(operator, library, row, word, tuple(ordered), tuple(reasons), unconfirmed)


def _is_fault(cell: Any) -> bool:
    return cell.status in _FAILED and cell.declared == "yes"


def _word(cell: Any, confirmed: bool) -> str:
    """The word of one cell of the table."""
    if _is_fault(cell):
        return _FAILED[cell.status] if confirmed else words.UNCONFIRMED
    word = _UNDEFINED.get(cell.status) or _WORDS.get(cell.status)
    if word is None:
        raise ValueError(f"it has the status {cell.status!r}, which the page has no word for")
    return word


def _rank(library: Library, squares: tuple[Square, ...]) -> tuple[Any, ...]:
    """This project first, then those with the fewest red squares, then those with the most right ones."""
    counts = Counter(square.word for square in squares)
    red = sum(counts[word] for word in words.RED)
    return library.backend != OURS, red, counts[words.UNCONFIRMED], -counts[words.RIGHT], library.title
