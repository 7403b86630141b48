"""The matrix of results/conformance.csv: every property and direction by every backend, and what each failure is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from harness.measuring import results
from harness.report.proofs.matrices import Matrix, MatrixCell, Part, read
from harness.report.tables.table import Table

CSV_COLUMNS = [
    "operator", "property", "direction", "backend", "device", "status", "declared", "cases", "ambiguous", "fraction",
    "counterexample", "reason", "title", "versions", "driver",
]  # fmt: skip
DIRECTIONS = {"forward": "forward", "grad_image": "image gradient", "grad_boxes": "box gradient"}
INTRODUCTION = (
    "Each cell is one property, asked of one implementation in a process of its own over cases that Hypothesis draws "
    "within what it declares. pass: it held in every case. ambiguous: it held, but some value only because another "
    "order of rounding may take another branch at a jump of the rule. fail, crash, hang: it did not, and the smallest "
    "case that was found is below. undeclared: the implementation does not claim it. not asked: every drawn case "
    "was refused. judge: the judge itself failed, which is held against nobody. A crash on bad input that is not "
    "declared is shown as it was seen, crash (undeclared): it is undefined behaviour, another build may answer, and "
    "nothing is held against anybody.",
    'A line of the table shows its failure again: python -m harness judge --backend NAME --property "PROPERTY" '
    '--direction DIRECTION "CASE".',
)
_TONES = {"pass": "good", "ambiguous": "soft", "fail": "bad", "crash": "bad", "hang": "bad", "judge": "soft"}
_FAILED = ("fail", "crash", "hang", "judge")
_REFERENCE = "reference"


def section(path: Path) -> Part:
    """What the report shows of the table; ValueError if it is none."""
    lines = read(path, CSV_COLUMNS)
    present = lines[lines.status != "missing"]
    # What is missing on one machine is no news where another one had it.
    missing = lines[(lines.status == "missing") & ~lines.backend.isin(set(present.backend))]
    operators = list(dict.fromkeys(present.operator))
    return Part(
        "conformance",
        "Which properties hold",
        INTRODUCTION,
        _totals(present),
        matrices=tuple(_matrix(present[present.operator == operator], operator) for operator in operators),
        tables=tuple(
            each
            for each in (_failures(present), _refusals(present), _versions(present), _missing(missing))
            if each is not None
        ),
    )


def _totals(lines: pd.DataFrame) -> dict[str, int]:
    """Checks that were asked of this project's kernels and of the reference, and how many of them did not hold.

    Nothing is planted in the reference, which is the rule step by step: a check that fails there is a false alarm.
    """
    checks = lines[(lines.declared == "yes") & (lines.status != "not asked")]
    own, reference = checks[checks.backend.isin(results.OURS)], checks[checks.backend == _REFERENCE]
    return {
        "checks": len(own),
        "failed": int(own.status.isin(_FAILED).sum()),
        "alarms asked": len(reference),
        "false alarms": int(reference.status.isin(_FAILED).sum()),
    }


def _matrix(lines: pd.DataFrame, operator: str) -> Matrix:
    pairs = list(dict.fromkeys(zip(lines.backend, lines.device, strict=True)))
    titles = dict(zip(zip(lines.backend, lines.device, strict=True), lines.title, strict=True))
    cells = {
        (line.property, line.direction, line.backend, line.device): _cell(line)
        for line in lines.itertuples(index=False)
    }
    # In the order of the backend that has most rows: a run of one property alone says nothing of the order.
    longest = max((lines[(lines.backend == name) & (lines.device == device)] for name, device in pairs), key=len)
    order = pd.concat([longest, lines])
    rows = tuple(
        (
            f"{name}, {DIRECTIONS.get(direction, direction)}",
            tuple(cells.get((name, direction, *pair), MatrixCell("", "none")) for pair in pairs),
        )
        for name, direction in dict.fromkeys(zip(order.property, order.direction, strict=True))
    )
    columns = tuple((titles[pair], ", ".join(pair)) for pair in pairs)
    declared = lines[lines.declared == "yes"].status.value_counts(sort=False)
    counts = ", ".join(f"{count} {status}" for status, count in declared.items())
    caption = (
        f"{operator}: {len(rows)} properties and directions by {len(pairs)} implementations, on "
        f"{lines.cases.astype(int).sum():,} cases; of the {declared.sum()} cells that are declared {counts}"
    )
    return Matrix(caption, "property, direction", columns, rows)


def _cell(line: Any) -> MatrixCell:
    beside = " (undeclared)" if line.status in _FAILED and line.declared == "no" else ""
    return MatrixCell(line.status + beside, "soft" if beside else _TONES.get(line.status, "none"))


def _failures(lines: pd.DataFrame) -> Table | None:
    failures = lines[lines.status.isin(_FAILED)]
    rows = tuple(
        (
            line.backend, line.operator, f"{line.property}, {line.direction}", _cell(line).word, line.reason,
            line.counterexample,
        )
        for line in failures.itertuples(index=False)
    )  # fmt: skip
    header = ("backend", "operator", "property, direction", "status", "why", "the smallest case found")
    return Table("What does not hold, and what ended a process", header, rows) if rows else None


def _refusals(lines: pd.DataFrame) -> Table | None:
    """What was drawn and not asked: known deviations that an implementation's own file excuses are here."""
    reasons = lines[lines.status.isin(["pass", "ambiguous", "not asked"]) & (lines.reason != "")]
    rows = []
    for (name, operator, why), of in reasons.groupby(
        ["backend", "operator", reasons.reason.str.replace(r"^\d+ drawn cases.*?: ", "", regex=True)], sort=False
    ):
        first = of.iloc[0]
        cells = f"{len(of)}, such as {first.property}, {first.direction}"
        rows.append((str(name), str(operator), str(why), cells))
    header = ("backend", "operator", "not asked because", "cells in which it happened")
    return Table("What was drawn and not asked", header, tuple(rows)) if rows else None


def _versions(lines: pd.DataFrame) -> Table:
    once = lines.drop_duplicates(["backend", "title", "device", "versions", "driver"])
    rows = tuple(
        (line.backend, line.title, line.device, line.versions, line.driver or "none")
        for line in once.itertuples(index=False)
    )
    return Table(
        "Versions of the implementations", ("backend", "implementation", "device", "libraries", "driver"), rows
    )


def _missing(lines: pd.DataFrame) -> Table | None:
    once = lines.drop_duplicates(["operator", "backend"])
    rows = tuple((line.backend, line.operator, line.reason) for line in once.itertuples(index=False))
    return Table("Implementations that could not be tested", ("backend", "operator", "why"), rows) if rows else None
