"""The fuzz campaigns of results/campaigns: how many cases each implementation was asked, and what was found."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from harness.measuring.results import OURS
from harness.report.proofs.conformance import DIRECTIONS
from harness.report.proofs.matrices import Part, read
from harness.report.tables.table import Table

CSV_COLUMNS = [
    "run", "device", "backend", "title", "operator", "direction", "dtype", "cases", "finds", "largest_fraction",
    "seed", "seconds", "workers", "versions",
]  # fmt: skip
INTRODUCTION = (
    "A campaign draws random cases for as long as it is given and judges every output against the oracle. The largest "
    "fraction is the largest part of an error bound that any output has used: above 100 % would be a find."
)


def section(paths: list[Path]) -> Part:
    """What the report shows of the campaigns; ValueError if a file is none."""
    lines = pd.concat([read(path, CSV_COLUMNS) for path in paths], ignore_index=True)
    for name in ("cases", "finds", "largest_fraction", "seconds"):
        lines[name] = pd.to_numeric(lines[name])
    own = lines[lines.backend.isin(OURS)]  # another implementation's finds are no fault of this project
    totals = {"cases": int(own.cases.sum()), "finds": int(own.finds.sum())}
    return Part("campaigns", "Fuzz campaigns", (INTRODUCTION,), totals, tables=(_counts(lines), _fractions(lines)))


def _counts(lines: pd.DataFrame) -> Table:
    rows = []
    for (title, operator, device), of in lines.groupby(["title", "operator", "device"], sort=False):
        finds = int(of.finds.sum())
        rows.append(
            (
                str(title), str(operator), str(device), f"{int(of.cases.sum()):,}", f"{finds:,}" if finds else "none",
                ", ".join(dict.fromkeys(of.run)), ", ".join(dict.fromkeys(of.seed)),
                ", ".join(dict.fromkeys(of.workers)), ", ".join(dict.fromkeys(of.versions)),
            )
        )  # fmt: skip
    header = ("implementation", "operator", "device", "cases", "finds", "runs", "seeds", "workers", "versions")
    return Table("Campaigns: cases and finds", header, tuple(rows))


def _fractions(lines: pd.DataFrame) -> Table:
    directions = [name for name in DIRECTIONS if (lines.direction == name).any()]
    rows = []
    for (title, operator, dtype), of in lines.groupby(["title", "operator", "dtype"], sort=False):
        largest = of.groupby("direction").largest_fraction.max()
        cells = (_part(largest.get(name, float("nan"))) for name in directions)
        rows.append((f"{title}, {operator}", str(dtype), *cells))
    header = ("implementation", "images", *(DIRECTIONS[name] for name in directions))
    return Table("Campaigns: the largest fraction of a bound that was used", header, tuple(rows))


def _part(fraction: float) -> str:
    return "" if pd.isna(fraction) else f"{fraction:.1%}"
