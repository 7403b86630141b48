"""results/README.md: the report's tables as Markdown, for a page of a repository and for a CI summary."""

from __future__ import annotations

from typing import Any

from harness.report.proofs.matrices import Part
from harness.report.tables.table import Table

QUESTIONS = (
    ("Is it right?", "correctness"),
    ("How fast is it?", "speed"),
    ("Measured on what, and when?", "machines"),
    ("What is doubtful?", "doubts"),
    ("How do devices compare?", "devices"),
    ("How did it change?", "history"),
)


def text(page: dict[str, Any]) -> str:
    """results/README.md."""
    lines = [f"# {page['title']}", ""]
    lines += ["Made by `python -m harness report` from the files below; edit none of them. It makes report.html too,"]
    lines += ["which has the pictures and is not in the repository.", ""]
    lines += ["## In short", ""]
    for question, name in QUESTIONS:
        conclusion = page["conclusions"][name]
        lines += [f"**{question}** {conclusion.sentence}", ""]
        lines += [*(f"- {fact.figure} {fact.text}" for fact in conclusion.facts), ""] if conclusion.facts else []
    if page["devices"]:
        lines += ["## How to read the figures", ""]
        lines += [line for paragraph in page["introduction"] for line in (paragraph, "")]
    lines += ["## Devices side by side", ""] if page["across"] else []
    for table in page["across"]:
        lines += table_of(table)
    for part in page["devices"]:
        lines += [f"## {part['device']}", "", part["machine"], ""]
        if part["warnings"]:
            lines += ["**What makes these figures doubtful**", "", *(f"- {each}" for each in part["warnings"]), ""]
        tables = list(part["means"])
        for family in part["families"]:
            tables += [*family["times"], *family["other_times"], *family["series"]]
        if not part["families"]:
            lines += ["This run is a partial one: throughput.csv has its rows.", ""]
        tables += [part["failures"]] if part["failures"] else []
        for table in tables:
            lines += table_of(table)
    lines += [line for proof in page["proofs"] for line in _part(proof)]
    if page["sources"]:
        lines += ["## Workloads", "", *table_of(page["sources"])]
    if page["problems"]:
        lines += ["## Files that were left out", "", *(f"- {problem}" for problem in page["problems"]), ""]
    return "\n".join(lines)


def _part(part: Part) -> list[str]:
    lines = [f"## {part.heading}", "", *(line for each in part.paragraphs for line in (each, ""))]
    for table in (*part.warnings, *(matrix.table for matrix in part.matrices), *part.tables, *part.folded):
        lines += table_of(table)
    return lines


def table_of(table: Table) -> list[str]:
    """One table's lines, its caption above it."""
    rows = [table.header, tuple("---" for _ in table.header), *table.rows]
    cells = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return [f"**{table.caption}**", "", *cells, ""]
