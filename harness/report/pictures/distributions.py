"""How the samples of each row lie, and how far apart its processes are, beside the median.

Every row is drawn relative to its own median, so that a row of microseconds and one of seconds can be compared. A
row's quartiles, percentiles and extremes are each a piece of one path for the whole column: a report has thousands of
samples and must stay small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.measuring import results
from harness.report.names import title
from harness.report.pictures.drawing import INK, STYLE, Picture, colour, finished, readable
from harness.report.tables.table import columns


@dataclass(frozen=True)
class _Span:
    """A row's place, and relative to its median: least, 5 %, quartiles, 95 % and most; its processes' medians."""

    at: float
    quantiles: Any
    processes: tuple[float, ...]


def distribution(view: pd.DataFrame, blocks: pd.DataFrame, direction: str) -> Picture | None:
    """One direction of a view: raw samples of all its rows, from the lines of `Results.blocks` of its run."""
    part = view[(view.direction == direction) & (view.series == "") & np.isfinite(view.median_s)]
    if part.empty:
        return None
    of_row = dict(iter(blocks[blocks.direction == direction].groupby(results.KEY, sort=False)))
    names = list(columns(part))
    workloads = list(dict.fromkeys(part.workload))
    height = 0.8 / len(names)
    spans: dict[str, list[_Span]] = {name: [] for name in names}
    for line in part.to_dict("records"):
        at = workloads.index(line["workload"]) + (names.index(line["column"]) + 0.5) * height - 0.4
        spans[line["column"]].append(_span(at, of_row[tuple(line[name] for name in results.KEY)], line["median_s"]))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 0.9 + 0.14 * len(workloads) * (len(names) + 1.5)), layout="constrained")
        axes: Axes = figure.subplots()
        axes.axvline(1, color=INK, linewidth=0.8)
        for name in names:
            _draw(axes, spans[name], name)
        _scale(axes, workloads)
        caption = (
            f"{title(part, direction)}: samples relative to their row's median. Thick: a half of them; thin: from 5 to "
            "95 %; strokes: the least and the most; dots: the median of each process, where there were several"
        )
        readings = (
            f"{line.workload}, {line.column}: {line.p05_s / line.median_s:.2f} to {line.p95_s / line.median_s:.2f}"
            for line in part.itertuples()
        )
        return finished(figure, part, caption, ["from 5 to 95 %", *readings])


def _span(at: float, blocks: pd.DataFrame, median_s: float) -> _Span:
    samples = np.concatenate([np.asarray(block, dtype=float) for block in blocks.samples])
    quantiles = np.quantile(samples, [0, 0.05, 0.25, 0.75, 0.95, 1]) / median_s
    medians = results.process_medians(blocks)
    return _Span(at, quantiles, tuple(each / median_s for each in medians) if len(medians) > 1 else ())


def _draw(axes: Axes, rows: list[_Span], name: str) -> None:
    """One column of the view: a path for its halves, one for its whiskers, one for its extremes, and the dots."""
    gap = float("nan")  # where one row ends and the next begins
    for low, high, width, label in ((2, 3, 4, name), (1, 4, 1, None)):
        across = [value for row in rows for value in (row.quantiles[low], row.quantiles[high], gap)]
        axes.plot(across, _down(rows, 0), color=colour(name), linewidth=width, label=label, solid_capstyle="butt")
    extremes = [value for end in (0, 5) for row in rows for value in (row.quantiles[end], row.quantiles[end], gap)]
    axes.plot(extremes, 2 * _down(rows, 0.08), color=colour(name), linewidth=0.8)
    dots = [(each, row.at) for row in rows for each in row.processes]
    if dots:
        axes.plot(*zip(*dots, strict=True), ".", color=INK, markersize=3)


def _down(rows: list[_Span], half: float) -> list[float]:
    return [value for row in rows for value in (row.at - half, row.at + half, float("nan"))]


def _scale(axes: Axes, workloads: list[str]) -> None:
    """A logarithmic axis, the workloads beside it from the top down."""
    axes.set_xscale("log")
    readable(axes.xaxis)
    axes.set_yticks(range(len(workloads)), workloads)
    axes.set_ylim(len(workloads) - 0.5, -0.5)
    axes.set_xlabel("times the row's median")
    axes.grid(axis="x", alpha=0.3)
