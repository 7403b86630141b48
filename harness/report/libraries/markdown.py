"""A report for each library and fault, as Markdown that its maintainers could be sent; nothing here sends anything.

One fault fails several checks: the smallest case is the report, and the other checks are listed below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from harness import repository
from harness.measuring.findings import Finding
from harness.report.libraries import cases, words
from harness.report.libraries.grids import Grid, Square
from harness.report.libraries.page import NO_SNIPPET, number, others, place

_HAPPENS = {words.WRONG: "gives a wrong result", words.CRASHES: "ends its process", words.HANGS: "does not end"}


def write(folder: Path, grids: Iterable[Grid]) -> list[Path]:
    """Writes LIBRARY-OPERATOR-ROW.md for each red square, and returns where they are."""
    paths = []
    for grid in grids:
        for square in grid.red:
            path = folder / name_of(square)
            repository.replace(path, text(square, grid))
            paths.append(path)
    return paths


def same_rule(square: Square, grid: Grid) -> list[str]:
    """The other rows in which the library breaks the same rule: perhaps one fault, reported more than once."""
    rule = square.findings[0].rule, square.findings[0].why
    squares = [each for each in grid.of(square.library) if each.is_red and each != square]
    return [each.row for each in squares if (each.findings[0].rule, each.findings[0].why) == rule]


def name_of(square: Square) -> str:
    """A report's file name: the library, the operator, and the row of the page as one word."""
    words_of = (square.library.backend, square.operator, square.row.replace(" ", "_"))
    return "-".join(re.sub(r"\W+", "_", each) for each in words_of) + ".md"


def text(square: Square, grid: Grid) -> str:
    """The report of a red square."""
    finding = square.findings[0]
    operator = words.OPERATORS[square.operator]
    where = ", ".join(filter(None, (square.row, square.remark)))
    lines = [
        f"# {finding.title}: {operator} {_HAPPENS[square.word]} ({where})",
        "",
        f"**Versions:** {finding.versions}, on {finding.device}",
        "",
        "## To reproduce",
        "",
        *_snippet(finding),
        "",
        "## Actual and expected result",
        "",
        *_values(finding),
        f"* Verdict: {finding.reason}",
        f"* Rule: {finding.why} (docs/operators.md, “{finding.rule}”)",
        "",
        "## The smallest case",
        "",
        *(f"* {name}: {value}" for name, value in cases.in_words(finding.case)),
        "",
        "## How it was confirmed",
        "",
        _confirmed(finding),
        "",
        "The suite reproduces it with",
        "",
        *_fenced(finding.replay, "sh"),
        "",
        f"Checked by: {finding.property} ({words.BY_DIRECTION[finding.direction]}).",
    ]
    if also := others(square):
        lines += ["", f"The same row fails in: {also}."]
    if rows := same_rule(square, grid):
        lines += ["", f"The same rule is broken in other rows, which have reports of their own: {', '.join(rows)}."]
    return "\n".join([*lines, ""])


def _snippet(finding: Finding) -> list[str]:
    if not finding.snippet:
        return [NO_SNIPPET]
    lines = ["", "It prints, or ends with:", "", *_fenced(finding.output, "text")]
    return [*_fenced(finding.snippet, finding.language), *lines]


def _values(finding: Finding) -> list[str]:
    if finding.value is None or finding.status != "fail":
        return []
    return [
        f"* Got: {place(finding)} is `{number(finding.value)}`",
        f"* Expected: `{number(finding.expected)}`, within {number(finding.bound, 3)}",
    ]


def _confirmed(finding: Finding) -> str:
    if finding.status != "fail":
        return "The call was made in a process of its own, in the library's own environment, and ended as shown above."
    if finding.value is None:
        return (
            "The call was made in a process of its own, in the library's own environment; it gave no result to compare."
        )
    return (
        "Two formulations that share no code agree: an oracle, sample by sample with a bound for what rounding can "
        f"change, gives {number(finding.expected)} within {number(finding.bound, 3)}; a second one in float64 gives "
        f"{number(finding.second)}. The library's value is further than the bound from both."
    )


def _fenced(block: str, language: str) -> list[str]:
    """A block of code; the fence is longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`+", block)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", *block.rstrip("\n").split("\n"), fence]
