"""The page that shows which libraries compute RoIAlign right: conformance.html, its picture, and the reports that could
be sent.

It is for those who choose a library, where report.html is for those who write one: each library in a few words, what is
wrong with it shown without this project, and how fast it is.

    words.py      rows, words and colours; which property belongs to which row
    grids.py      results/conformance.csv, by library and row
    timings.py    results/conformance-times.csv
    cases.py      a case's line in words
    choice.py     what to choose, and the result in one sentence
    page.py       conformance.html and conformance.svg
    markdown.py   a report for each library and fault, for its maintainers
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness import repository
from harness.measuring import findings
from harness.measuring.findings import Finding
from harness.report.libraries import choice, grids, page, timings
from harness.report.libraries.grids import Grid, Libraries
from harness.report.libraries.timings import Timing
from harness.repository import FINDINGS

CELLS, TIMES = "conformance.csv", "conformance-times.csv"
PAGE, PICTURE = "conformance.html", "conformance.svg"


@dataclass(frozen=True)
class Conformance:
    """The page and its picture as they were written, their matrices, and what was left out and why.

    sentence  the result of all matrices.
    """

    html: Path
    picture: Path
    grids: tuple[Grid, ...]
    sentence: str
    problems: tuple[str, ...]


def write(folder: Path) -> Conformance | None:
    """Makes the page of the tables in a folder and its picture; None if there is no table of cells.

    A table that cannot be read is left out and named; without its cells the page says only that.
    """
    if not (folder / CELLS).exists():
        return None
    tables, problems = read_tables(folder)
    times: tuple[Timing, ...] = ()
    try:
        times = timings.read_timings(folder / TIMES)
    except (OSError, ValueError) as error:
        problems.append(f"{TIMES} was left out: {error}.")
    result = Conformance(folder / PAGE, folder / PICTURE, tables.grids, choice.sentence(tables.grids), tuple(problems))
    repository.replace(result.html, page.text(tables, times, problems))
    repository.replace(result.picture, page.picture(tables.grids))
    return result


def read_tables(folder: Path) -> tuple[Libraries, list[str]]:
    """What a folder's tables say of libraries, and what was left out, in sentences."""
    problems: list[str] = []
    confirmed: tuple[Finding, ...] = ()
    try:
        confirmed = findings.read(folder / FINDINGS)
    except (OSError, ValueError) as error:
        problems.append(f"{FINDINGS} was left out: {error}.")
    try:
        tables = grids.libraries(folder / CELLS, confirmed)
    except (OSError, ValueError) as error:
        return Libraries((), (), 0), [*problems, f"{CELLS} was left out: {error}."]
    if tables.stray:
        problems.append(
            f"{FINDINGS}: {tables.stray} of {len(confirmed)} findings were left out: no failed cell of {CELLS} is "
            "theirs, or their second value does not confirm them; make both files again."
        )
    return tables, problems


def readme(result: Conformance) -> list[str]:
    """The lines of the project's README: the result, and the picture that leads to the page."""
    return [result.sentence, "", f"[![{result.sentence}](results/{PICTURE})](results/{PAGE})"]
