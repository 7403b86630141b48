"""The tables of a report, as words: the same ones for Markdown, HTML and the terminal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

DIRECTIONS = {"forward": "Forward", "grad_image": "Gradient of the image", "grad_boxes": "Gradient of the boxes"}
BACKENDS = {"roi_align": "roi_align", "tensorflow": "TensorFlow", "torchvision": "torchvision (another rule)"}
LAYOUTS = {"contiguous": "NCHW", "channels_last": "channels_last"}
SERIES = {"boxes": "boxes", "pixels": "pixels of the map"}
_ORDER = ["roi_align", "tensorflow", "torchvision"]


@dataclass(frozen=True)
class Table:
    """A caption, a header, and rows of cells, the first of which is the row's own header."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def column(backend: str, layout: str) -> str:
    """What a column is called."""
    if backend == "roi_align":
        return f"roi_align, {LAYOUTS.get(layout, layout)}"
    return BACKENDS.get(backend, backend)


def columns(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The (backend, layout) pairs of a table: this project's first, then its peers."""
    pairs = table[["backend", "layout"]].drop_duplicates().itertuples(index=False, name=None)
    return sorted(pairs, key=lambda pair: (_rank(pair[0]), pair[0], pair[1] != "contiguous"))


def _rank(backend: str) -> int:
    return _ORDER.index(backend) if backend in _ORDER else 0


def times(table: pd.DataFrame, direction: str) -> Table | None:
    """Per workload and column the median time and how many times as fast as TensorFlow; None if there is nothing."""
    part = table[(table.direction == direction) & (table.series == "")]
    pairs = columns(part)
    rows = []
    for workload, lines in part.groupby("workload", sort=False):
        rows.append((str(workload), *(_cell(_line(lines, pair), pair[0]) for pair in pairs)))
    if not rows:
        return None
    means = [geomean(part[(part.backend == backend) & (part.layout == layout)]) for backend, layout in pairs]
    if np.isfinite(means).any():
        shown = (
            f"{mean:.2f}x" if np.isfinite(mean) and pair[0] != "tensorflow" else ""
            for mean, pair in zip(means, pairs, strict=True)
        )
        rows.append(("geometric mean", *shown))
    caption = f"{DIRECTIONS[direction]}: median time, and how many times as fast as TensorFlow in the same run"
    return Table(caption, ("workload", *(column(*pair) for pair in pairs)), tuple(rows))


def means(table: pd.DataFrame, device: str) -> Table:
    """Per direction and column the geometric mean over the workloads of how many times as fast as TensorFlow it is."""
    pairs = [pair for pair in columns(table) if pair[0] != "tensorflow"]
    rows = []
    for direction, name in DIRECTIONS.items():
        part = table[(table.direction == direction) & (table.series == "")]
        ratios = [part[(part.backend == backend) & (part.layout == layout)] for backend, layout in pairs]
        rows.append((name, *(_mean(lines) for lines in ratios)))
    workloads = table[table.series == ""].workload.nunique()
    caption = (
        f"{device}: times as fast as TensorFlow in the same run, geometric mean of {workloads} workloads (least, most)"
    )
    return Table(caption, ("", *(column(*pair) for pair in pairs)), tuple(rows))


def _mean(lines: pd.DataFrame) -> str:
    ratios = lines.ratio_to_tensorflow.dropna()
    return f"{geomean(lines):.2f}x ({ratios.min():.2f}, {ratios.max():.2f})" if len(ratios) else "none"


def geomean(lines: pd.DataFrame) -> float:
    """The geometric mean of the ratios to TensorFlow, NaN if there are none."""
    ratios = lines.ratio_to_tensorflow.dropna()
    return float(np.exp(np.log(ratios).mean())) if len(ratios) else float("nan")


def rates(table: pd.DataFrame, direction: str) -> Table | None:
    """Per workload and column boxes per second, compulsory GB/s, the part of the roof and peak memory."""
    part = table[(table.direction == direction) & (table.series == "")]
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
        )
        for line in part.itertuples()
        if np.isfinite(line.median_s)
    ]
    header = ("workload", "column", "median ms", "p05 to p95", "boxes/s", "GB/s", "of the roof", "peak MB", "digest")
    caption = f"{DIRECTIONS[direction]}: rates, the part of the copy bandwidth they are, peak memory, digest"
    return Table(caption, header, tuple(rows)) if rows else None


def series(table: pd.DataFrame, kind: str, direction: str) -> Table | None:
    """A scaling series: median time per size and column."""
    part = table[(table.direction == direction) & (table.series == kind)]
    pairs = columns(part)
    rows = tuple(
        (f"{int(size):,}", *(_cell(_line(lines, pair), pair[0]) for pair in pairs))
        for size, lines in part.groupby("size")
    )
    caption = f"{DIRECTIONS[direction]}, growing number of {SERIES[kind]}: median time, times as fast as TensorFlow"
    return Table(caption, (SERIES[kind], *(column(*pair) for pair in pairs)), rows) if rows else None


def allocators(table: pd.DataFrame) -> Table | None:
    """What memory that is fresh for every result costs: median time under both allocators."""
    part = table[table.series == ""]
    wide = part.pivot_table(
        index=["workload", "direction", "backend", "layout"], columns="allocator", values="median_s", sort=False
    )
    if not {"default", "tuned"} <= set(wide.columns):
        return None
    rows = tuple(
        (workload, DIRECTIONS[direction], column(backend, layout), milliseconds(default), milliseconds(tuned))
        for (workload, direction, backend, layout), default, tuned in wide[["default", "tuned"]]
        .dropna()
        .itertuples(name=None)
    )
    header = ("workload", "direction", "column", "default, ms", "tuned, ms")
    return Table("The default allocator, and one told to keep what it has", header, rows) if rows else None


def sources(table: pd.DataFrame) -> Table:
    """Where each workload's shape comes from."""
    lines = table.drop_duplicates("workload")
    return Table(
        "The workloads",
        ("workload", "where its shape comes from"),
        tuple(zip(lines.workload, lines.source, strict=True)),
    )


def failures(table: pd.DataFrame) -> Table | None:
    """Rows without a time, and why."""
    lines = table[table.median_s.isna()]
    rows = tuple(
        (line.workload, DIRECTIONS[line.direction], column(line.backend, line.layout), line.status, str(line.message))
        for line in lines.itertuples()
    )
    header = ("workload", "direction", "column", "status", "why it has no time")
    return Table("Rows without a time", header, rows) if rows else None


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


def _cell(line: pd.Series | None, backend: str) -> str:
    """A time and its ratio, as in "12.3 ms (1.45x)", or the status of a row that has no time."""
    if line is None:
        return ""
    if not np.isfinite(line.median_s):
        return str(line.status)
    time = f"{milliseconds(line.median_s)} ms"
    if backend == "tensorflow" or not np.isfinite(line.ratio_to_tensorflow):
        return time
    return f"{time} ({line.ratio_to_tensorflow:.2f}x)"
