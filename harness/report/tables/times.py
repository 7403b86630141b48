"""The tables of one device, as words: the same ones for Markdown, HTML and the terminal.

A table shows one view of a device's rows: one type of image and one state of the cache. A CPU has one view.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from harness import backends
from harness.measuring.columns import OURS as OURS
from harness.report.page import filters as marks
from harness.report.page.filters import Marks

DIRECTIONS = {"forward": "Forward", "grad_image": "Gradient of the image", "grad_boxes": "Gradient of the boxes"}
# What is timed of a detector besides.
CALLS = {**DIRECTIONS, "inference": "Inference", "training": "Training step"}
# What others' columns are called, in the order in which they stand after OURS.
OTHERS = {
    "tensorflow": "TensorFlow",
    "torchvision": "torchvision",
    "torchvision_cuda": "torchvision",
    "onnxruntime": "ONNX Runtime",
    "grid_sample_cuda": "grid_sample",
    "grid_sample_cuda_compiled": "grid_sample, compiled",
}
PEERS = {"tensorflow": "TensorFlow", "torchvision": "torchvision", "torchvision_cuda": "torchvision"}
# In the order in which their workloads are listed.
BENCHES = ("crop_and_resize", "roi_align", "detectors")
# They stand for scale only.
OTHER_RULE = backends.OTHER_RULE["crop_and_resize"]
LAYOUTS = {"contiguous": "NCHW", "channels_last": "channels_last"}
SERIES = {"boxes": "boxes", "pixels": "pixels of the map"}
DTYPES = ("float32", "bfloat16", "float16")
CACHES = {"warm": "", "cold": ", cold cache", "hot": ", hot cache"}
LAUNCH_BOUND = "launch-bound"
_ORDER = [*OURS, *OTHERS]


@dataclass(frozen=True)
class Table:
    """A caption, a header, and rows of cells, the first of which is the row's own header.

    marks           what the whole table is about, see page/filters.py.
    column_marks    the same of each cell of the header, row_marks of each row; () if there are none.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marks: Marks = field(default_factory=dict)
    column_marks: tuple[Marks, ...] = ()
    row_marks: tuple[Marks, ...] = ()


def column(backend: str, layout: str, bench: str = "crop_and_resize") -> str:
    """What a column of a benchmark is called."""
    if backend in OURS:
        return f"{OURS[backend]}, {LAYOUTS.get(layout, layout)}"
    another = " (another rule)" if backend in OTHER_RULE and bench == "crop_and_resize" else ""
    return OTHERS.get(backend, backend) + another


def names(table: pd.DataFrame) -> list[str]:
    """What the columns of a table are called, in their order."""
    return [column(*pair, str(table.bench.iloc[0])) for pair in columns(table)]


def about(table: pd.DataFrame) -> Marks:
    """What a table of these rows is about."""
    return marks.of(table, table.backend.isin(OURS))


def column_marks(pairs: list[tuple[str, str]]) -> tuple[Marks, ...]:
    """The marks of a header that names the rows, and then each of these columns: this project's have a layout."""
    return ({}, *({"layout": layout} if backend in OURS else {} for backend, layout in pairs))


def columns(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The (backend, layout) pairs of a table: this project's first, then its peers."""
    pairs = table[["backend", "layout"]].drop_duplicates().itertuples(index=False, name=None)
    return sorted(pairs, key=lambda pair: (_rank(pair[0]), pair[0], pair[1] != "contiguous"))


def _rank(backend: str) -> int:
    return _ORDER.index(backend) if backend in _ORDER else 0


def views(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of a device by type and state of the cache: float32 first, cold before hot."""
    keys = [(dtype, cache) for dtype in DTYPES for cache in CACHES]
    parts = (table[(table.dtype == dtype) & (table.cache == cache)] for dtype, cache in keys)
    return [part for part in parts if len(part)]


def title(view: pd.DataFrame, direction: str) -> str:
    """What a caption begins with: the direction, and of a GPU the type and the state of the cache.

    Before it the operator and its setting, where there are settings.
    """
    first = view.iloc[0]
    setting = f"{first.op}, {first.setting}. " if first.setting else ""
    dtype = "" if view.cache.iloc[0] == "warm" else f", {view.dtype.iloc[0]}"
    return f"{setting}{DIRECTIONS[direction]}{dtype}{CACHES[view.cache.iloc[0]]}"


def peer(table: pd.DataFrame) -> str:
    """What those are called whom ratios are to."""
    return PEERS[table.peer.iloc[0]]


def times(view: pd.DataFrame, direction: str) -> Table | None:
    """Per workload and column the median time and the ratio to the peer; None if there is nothing.

    What is launch-bound stands last, with that word, and has no part in the mean.
    """
    part = view[(view.direction == direction) & (view.series == "")]
    if part.empty:
        return None
    pairs = columns(part)
    rows = [_times(lines, pairs) for _, lines in part[~part.launch_bound].groupby("workload", sort=False)]
    worked = part[~part.launch_bound]
    means = [geomean(worked[(worked.backend == backend) & (worked.layout == layout)]) for backend, layout in pairs]
    if np.isfinite(means).any():
        shown = (
            f"{mean:.2f}x" if np.isfinite(mean) and pair[0] != part.peer.iloc[0] else ""
            for mean, pair in zip(means, pairs, strict=True)
        )
        rows.append(("geometric mean", *shown))
    rows += [_times(lines, pairs) for _, lines in part[part.launch_bound].groupby("workload", sort=False)]
    compared = (
        f", and how many times as fast as {peer(part)} in the same run" if part.ratio_to_peer.notna().any() else ""
    )
    caption = f"{title(part, direction)}: median time{compared}"
    return Table(caption, ("workload", *names(part)), tuple(rows), about(part), column_marks(pairs))


def _times(lines: pd.DataFrame, pairs: list[tuple[str, str]]) -> tuple[str, ...]:
    """The row of one workload."""
    name = str(lines.workload.iloc[0]) + (f", {LAUNCH_BOUND}" if lines.launch_bound.any() else "")
    return name, *(_cell(_line(lines, pair)) for pair in pairs)


def means(table: pd.DataFrame, device: str) -> Table:
    """Per direction and column the geometric mean over the workloads of how many times as fast as the peer it is."""
    pairs = [pair for pair in columns(table) if pair[0] != table.peer.iloc[0]]
    rows = []
    for direction, name in DIRECTIONS.items():
        part = table[(table.direction == direction) & (table.series == "")]
        ratios = [part[(part.backend == backend) & (part.layout == layout)] for backend, layout in pairs]
        rows.append((name, *(mean(lines) for lines in ratios)))
    workloads = table[table.series == ""].workload.nunique()
    caption = (
        f"{device}: times as fast as {peer(table)} in the same run, geometric mean of {workloads} workloads "
        "(least, most)"
    )
    return Table(caption, ("", *(column(*pair) for pair in pairs)), tuple(rows), about(table), column_marks(pairs))


def mean(lines: pd.DataFrame) -> str:
    """The geometric mean of the ratios to the peer, with the least and the most of them."""
    ratios = lines.ratio_to_peer.dropna()
    return f"{geomean(lines):.2f}x ({ratios.min():.2f}, {ratios.max():.2f})" if len(ratios) else "none"


def geomean(lines: pd.DataFrame, of: str = "ratio_to_peer") -> float:
    """The geometric mean of a column, NaN if it has no values."""
    values = lines[of].dropna()
    return float(np.exp(np.log(values).mean())) if len(values) else float("nan")


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
            column(line.backend, line.layout),
            milliseconds(line.median_s),
            f"{milliseconds(line.p05_s)} to {milliseconds(line.p95_s)}",
            f"{line.boxes_per_s:,.0f}",
            f"{line.gbps:.1f}",
            f"{line.roof_fraction:.0%}",
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
    return Table(caption, header + of_gpu, tuple(rows), about(part), row_marks=_layouts(part))


def _layouts(part: pd.DataFrame) -> tuple[Marks, ...]:
    return tuple(marks.of_line(line, "layout") if line.backend in OURS else {} for line in part.itertuples())


def series(view: pd.DataFrame, kind: str, direction: str) -> Table | None:
    """A scaling series: median time per size and column."""
    part = view[(view.direction == direction) & (view.series == kind)]
    if part.empty:
        return None
    pairs = columns(part)
    rows = tuple(
        (
            f"{int(size):,}" + (f", {LAUNCH_BOUND}" if lines.launch_bound.any() else ""),
            *(_cell(_line(lines, pair)) for pair in pairs),
        )
        for size, lines in part.groupby("size")
    )
    caption = f"{title(part, direction)}, growing number of {SERIES[kind]}: median time, times as fast as {peer(part)}"
    header = (SERIES[kind], *(column(*pair) for pair in pairs))
    return Table(caption, header, rows, about(part), column_marks(pairs))


def milliseconds(seconds: float) -> str:
    """Three digits of a time in milliseconds, never with an exponent."""
    shown = float(f"{seconds * 1e3:.3g}")
    return f"{shown:,.0f}" if shown >= 100 else f"{shown:g}"


def megabytes(count: float | None) -> str:
    """Bytes in 10^6, or a dash where they could not be told."""
    return "-" if count is None or not np.isfinite(count) else f"{count / 1e6:.1f}"


def _line(lines: pd.DataFrame, pair: tuple[str, str]) -> pd.Series | None:
    found = lines[(lines.backend == pair[0]) & (lines.layout == pair[1])]
    return None if found.empty else found.iloc[0]


def _cell(line: pd.Series | None) -> str:
    """A time and its ratio, as in "12.3 ms (1.45x)", or the status of a row that has no time."""
    if line is None:
        return ""
    if not np.isfinite(line.median_s):
        return str(line.status)
    time = f"{milliseconds(line.median_s)} ms"
    if line.backend == line.peer or not np.isfinite(line.ratio_to_peer):
        return time
    return f"{time} ({line.ratio_to_peer:.2f}x)"
