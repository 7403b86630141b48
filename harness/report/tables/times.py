"""The tables of one view, which is a family's rows of one type of image and one state of the cache: times and rates."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.report import tags
from harness.report.names import LAUNCH_BOUND, SERIES, peer, title
from harness.report.tables.table import Table, columns, geomean, megabytes, milliseconds


def times(view: pd.DataFrame, direction: str) -> Table | None:
    """Per workload and column the median time and the ratio to the peer; None if there is nothing.

    What is launch-bound comes last, with that word, and has no part in the mean.
    """
    part = view[(view.direction == direction) & (view.series == "")]
    if part.empty:
        return None
    names = columns(part)
    work, launches = part[~part.launch_bound], part[part.launch_bound]
    rows = [_row(str(name), lines, names) for name, lines in work.groupby("workload", sort=False)]
    others = work[work.backend != work.peer]
    if others.ratio_to_peer.notna().any():
        means = (geomean(others[others.column == name]) for name in names)
        rows.append(("geometric mean", *(f"{mean:.2f}x" if np.isfinite(mean) else "" for mean in means)))
    rows += [_row(str(name), lines, names) for name, lines in launches.groupby("workload", sort=False)]
    ratio = f", and how many times as fast as {peer(part)} in the same run" if part.ratio_to_peer.notna().any() else ""
    caption = f"{title(part, direction)}: median time{ratio}"
    return Table(caption, ("workload", *names), tuple(rows), tags.of(part), ({}, *names.values()))


def series(view: pd.DataFrame, varied: str, direction: str) -> Table | None:
    """A scaling series: median time per size and column."""
    part = view[(view.direction == direction) & (view.series == varied)]
    if part.empty:
        return None
    names = columns(part)
    rows = tuple(_row(f"{int(size):,}", lines, names) for size, lines in part.groupby("size"))
    caption = (
        f"{title(part, direction)}, growing number of {SERIES[varied]}: median time, times as fast as {peer(part)}"
    )
    return Table(caption, (SERIES[varied], *names), rows, tags.of(part), ({}, *names.values()))


def _row(name: str, lines: pd.DataFrame, names: dict[str, tags.Tags]) -> tuple[str, ...]:
    """The row of one workload or size."""
    cells = {str(line["column"]): _cell(line) for _, line in lines.iloc[::-1].iterrows()}
    bound = f", {LAUNCH_BOUND}" if lines.launch_bound.any() else ""
    return name + bound, *(cells.get(column, "") for column in names)


def _cell(line: pd.Series) -> str:
    """A time and its ratio, as in "12.3 ms (1.45x)", or the status of a row that has no time."""
    if not np.isfinite(line.median_s):
        return str(line.status)
    time = f"{milliseconds(line.median_s)} ms"
    if line.backend == line.peer or not np.isfinite(line.ratio_to_peer):
        return time
    return f"{time} ({line.ratio_to_peer:.2f}x)"


def rates(view: pd.DataFrame, direction: str) -> Table | None:
    """Per workload and column boxes per second, compulsory GB/s, the part of the roof and peak memory.

    Of a GPU also what a call costs the host, and how many samples were not hidden from that cost.
    """
    part = view[(view.direction == direction) & (view.series == "")]
    gpu = part.host_s.notna().any()
    part = part[np.isfinite(part.median_s)]
    rows = [
        (
            str(line.workload),
            str(line.column),
            milliseconds(line.median_s),
            f"{milliseconds(line.p05_s)} to {milliseconds(line.p95_s)}",
            f"{line.boxes_per_s:,.0f}",
            *(("", "") if np.isnan(line.gbps) else (f"{line.gbps:.1f}", f"{line.roof_fraction:.0%}")),
            megabytes(line.peak_memory_bytes),
            str(line.digest)[:8],
            *((f"{line.host_s * 1e6:.0f}", f"{line.exposed:.0f} of {line.samples}") if gpu else ()),
        )
        for line in part.itertuples()
    ]
    if not rows:
        return None
    header = ("workload", "column", "median ms", "p05 to p95", "boxes/s", "GB/s", "of the roof", "peak MB", "digest")
    caption = f"{title(part, direction)}: rates, the part of the copy bandwidth they are, peak memory, digest"
    of_gpu = ("host µs", "not hidden") if gpu else ()
    of_columns = columns(part)
    row_tags = tuple(of_columns[str(line.column)] for line in part.itertuples())
    return Table(caption, header + of_gpu, tuple(rows), tags.of(part), row_tags=row_tags)
