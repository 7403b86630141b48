"""What follows a device's figures: what fresh memory costs, which rows have no time, where shapes come from."""

from __future__ import annotations

import pandas as pd

from harness.measuring.results import BENCHES
from harness.report import tags
from harness.report.names import CALLS
from harness.report.tables.table import Table, milliseconds


def allocators(table: pd.DataFrame) -> Table | None:
    """What memory that is fresh for every result costs: median time under both allocators."""
    part = table[table.series == ""]
    wide = part.pivot_table(
        index=["workload", "direction", "column", "layout", "dtype"], columns="allocator", values="median_s", sort=False
    )
    if not {"default", "tuned"} <= set(wide.columns):
        return None
    pairs = wide[["default", "tuned"]].dropna()
    rows = tuple(
        (workload, CALLS[direction], _with_dtype(column, dtype), milliseconds(default), milliseconds(tuned))
        for (workload, direction, column, _, dtype), default, tuned in pairs.itertuples(name=None)
    )
    header = ("workload", "direction", "column", "default, ms", "tuned, ms")
    caption = "The default allocator, and one that keeps freed memory"
    of_rows = tuple({"direction": direction, "layout": layout} for _, direction, _, layout, _ in pairs.index)
    return Table(caption, header, rows, tags.of(part), row_tags=of_rows) if rows else None


def _with_dtype(column: str, dtype: str) -> str:
    return column if dtype == "float32" else f"{column}, {dtype}"


def sources(table: pd.DataFrame) -> Table:
    """Where each workload's shape comes from."""
    lines = table.drop_duplicates("workload")
    lines = pd.concat([lines[lines.bench == bench] for bench in BENCHES])
    return Table(
        "The workloads",
        ("workload", "where its shape comes from"),
        tuple(zip(lines.workload, lines.source, strict=True)),
    )


def failures(table: pd.DataFrame) -> Table | None:
    """Rows without a time, and why."""
    lines = table[table.median_s.isna()]
    # A failure is the same in every state of a GPU's cache.
    lines = lines.drop_duplicates(["workload", "direction", "backend", "layout", "dtype", "allocator", "status"])
    rows = tuple(
        (
            line.workload,
            CALLS[line.direction],
            _with_dtype(line.column, line.dtype),
            line.status,
            str(line.message),
        )
        for line in lines.itertuples()
    )
    header = ("workload", "direction", "column", "status", "why it has no time")
    of_rows = tuple(tags.of_line(line) for line in lines.itertuples())
    return Table("Rows without a time", header, rows, tags.of(lines), row_tags=of_rows) if rows else None
