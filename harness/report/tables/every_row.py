"""Every row of the newest runs in one table, to be filtered and searched rather than read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from harness.report import tags
from harness.report.names import CALLS
from harness.report.tables.table import Table, megabytes, milliseconds

_HEADER = (
    "workload", "device", "operator", "setting", "direction", "column", "type", "layout", "cache", "allocator",
    "median ms", "p05 to p95", "processes", "spread", "times as fast as peer", "of the roof", "peak MB", "digest",
    "status",
)  # fmt: skip


def every_row(table: pd.DataFrame) -> Table:
    """One line per row, those with the same tags together; "" is what was not measured or does not apply."""
    of_tags = ["device", "bench", "dtype", "direction", "layout"]
    table = pd.concat([lines for _, lines in table.groupby(of_tags, sort=False)])
    rows = tuple(_cells(line) for line in table.itertuples())
    return Table(
        f"Every row of the newest runs: {len(rows):,}",
        _HEADER,
        rows,
        tags.of(table),
        row_tags=tuple(tags.of_line(line) for line in table.itertuples()),
    )


def _cells(line: Any) -> tuple[str, ...]:
    return (
        str(line.workload), str(line.device), str(line.subject), str(line.setting), CALLS[line.direction],
        str(line.column), str(line.dtype), str(line.layout), str(line.cache), str(line.allocator), *_time(line),
        _finite(line.spread, ".1%"), "" if line.backend == line.peer else _finite(line.ratio_to_peer, ".2f"),
        _finite(line.roof_fraction, ".0%"), megabytes(line.peak_memory_bytes), line.digest[:8], str(line.status),
    )  # fmt: skip


def _time(line: Any) -> tuple[str, str, str]:
    if not np.isfinite(line.median_s):
        return "", "", ""
    return milliseconds(line.median_s), f"{milliseconds(line.p05_s)} to {milliseconds(line.p95_s)}", str(line.processes)


def _finite(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else ""
