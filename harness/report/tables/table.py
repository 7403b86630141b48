"""A table as words, and how its columns and cells are written: the same for Markdown, HTML and the terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import geometric_mean

import numpy as np
import pandas as pd

from harness.measuring import results
from harness.report.tags import Tags

_ORDER = [*results.OURS, *results.OTHERS]


@dataclass(frozen=True)
class Table:
    """A caption, a header, and rows of cells, the first of which is the row's own header.

    tags         what the whole table is about, see tags.py.
    column_tags  the same of each cell of the header, row_tags of each row; () if there are none.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    tags: Tags = field(default_factory=dict)
    column_tags: tuple[Tags, ...] = ()
    row_tags: tuple[Tags, ...] = ()


def columns(table: pd.DataFrame) -> dict[str, Tags]:
    """The names of these rows' columns with their tags: this project's, which have a layout, and then the others."""
    each = table.drop_duplicates("column")[["backend", "layout", "column", "own"]].itertuples(index=False)
    ordered = sorted(each, key=lambda one: (_rank(one.backend), one.backend, one.layout != "contiguous"))
    return {str(one.column): {"layout": str(one.layout)} if one.own else {} for one in ordered}


def _rank(backend: str) -> int:
    return _ORDER.index(backend) if backend in _ORDER else 0


def milliseconds(seconds: float) -> str:
    """Three digits of a time in milliseconds, never with an exponent."""
    value = float(f"{seconds * 1e3:.3g}")
    return f"{value:,.0f}" if value >= 100 else f"{value:g}"


def megabytes(count: float | None) -> str:
    """Bytes in 10^6, or a dash where they could not be told."""
    return "-" if count is None or not np.isfinite(count) else f"{count / 1e6:.1f}"


def geomean(lines: pd.DataFrame, of: str = "ratio_to_peer") -> float:
    """The geometric mean of a column, NaN if it has no values."""
    values = lines[of].dropna()
    return geometric_mean(values.astype(float)) if len(values) else float("nan")
