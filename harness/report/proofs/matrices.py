"""What was proved, as parts of the report: matrices whose cells are coloured and worded; colour alone says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from harness.report.tables.table import Table


@dataclass(frozen=True)
class MatrixCell:
    """A cell's word, and its tone for readers who see colours: "good", "soft", "bad", or "none"."""

    word: str
    tone: str


@dataclass(frozen=True)
class Matrix:
    """A caption, the rows' and the columns' names, the small print below a column's, and a MatrixCell for each pair.

    upright  whether there are too many columns for their names to lie.
    """

    caption: str
    corner: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[MatrixCell, ...]], ...]
    upright: bool = False

    @property
    def table(self) -> Table:
        """The same as words alone."""
        header = (f"{name} ({below})" if below else name for name, below in self.columns)
        rows = ((name, *(cell.word for cell in cells)) for name, cells in self.rows)
        return Table(self.caption, (self.corner, *header), tuple(rows))


@dataclass(frozen=True)
class Part:
    """One part of the report.

    name      of the place in the page.
    totals    the part's figures by name, for the page's first sentences.
    warnings  tables that must not be overlooked.
    folded    tables that a reader unfolds.
    """

    name: str
    heading: str
    paragraphs: tuple[str, ...]
    totals: Mapping[str, int]
    warnings: tuple[Table, ...] = ()
    matrices: tuple[Matrix, ...] = ()
    tables: tuple[Table, ...] = ()
    folded: tuple[Table, ...] = ()


def read(path: Path, columns: list[str]) -> pd.DataFrame:
    """A stored table, all of it text; ValueError in a sentence if columns are missing or it is no table."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValueError(f"it has no column {', '.join(missing)}")
    return table
