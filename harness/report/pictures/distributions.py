"""How the samples of each row lie, and how far apart its processes are, for who does not believe a median.

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
from harness.report.pictures.bars import COLOURS, INK, STYLE, Picture, readable, svg_of
from harness.report.tables import times as tables


@dataclass(frozen=True)
class _Row:
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
    pairs, names = tables.columns(part), tables.names(part)
    workloads = list(dict.fromkeys(part.workload))
    height = 0.8 / len(pairs)
    columns: dict[tuple[str, str], list[_Row]] = {pair: [] for pair in pairs}
    for line in part.to_dict("records"):
        pair = (line["backend"], line["layout"])
        at = workloads.index(line["workload"]) + (pairs.index(pair) + 0.5) * height - 0.4
        columns[pair].append(_row(at, of_row[tuple(line[name] for name in results.KEY)], line["median_s"]))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 0.9 + 0.14 * len(workloads) * (len(pairs) + 1.5)), layout="constrained")
        axes: Axes = figure.subplots()
        axes.axvline(1, color=INK, linewidth=0.8)
        for pair, name in zip(pairs, names, strict=True):
            _draw(axes, columns[pair], COLOURS.get(pair), name)
        _scale(axes, workloads)
        figure.legend(loc="outside upper center", ncols=min(4, len(pairs)), frameon=False, fontsize=8)
        svg = svg_of(figure)
    caption = (
        f"{tables.title(part, direction)}: samples relative to their row's median. Thick: a half of them; thin: from 5 "
        "to 95 %; strokes: the least and the most; dots: the median of each process, where there were several"
    )
    said = [
        f"{line.workload}, {names[pairs.index((str(line.backend), str(line.layout)))]}: "
        f"{line.p05_s / line.median_s:.2f} to {line.p95_s / line.median_s:.2f}"
        for line in part.itertuples()
    ]
    return Picture(svg, caption, f"{caption}. From 5 to 95 %: {'; '.join(said)}.", tables.about(part))


def _row(at: float, blocks: pd.DataFrame, median_s: float) -> _Row:
    samples = np.concatenate([np.asarray(block, dtype=float) for block in blocks.samples])
    quantiles = np.quantile(samples, [0, 0.05, 0.25, 0.75, 0.95, 1]) / median_s
    medians = results.process_medians(blocks)
    return _Row(at, quantiles, tuple(each / median_s for each in medians) if len(medians) > 1 else ())


def _draw(axes: Axes, rows: list[_Row], colour: str | None, name: str) -> None:
    """One column of the view: a path for its halves, one for its whiskers, one for its extremes, and the dots."""
    gap = float("nan")  # where one row ends and the next begins
    for low, high, width, label in ((2, 3, 4, name), (1, 4, 1, None)):
        across = [value for row in rows for value in (row.quantiles[low], row.quantiles[high], gap)]
        axes.plot(across, _down(rows, 0), color=colour, linewidth=width, label=label, solid_capstyle="butt")
    extremes = [value for end in (0, 5) for row in rows for value in (row.quantiles[end], row.quantiles[end], gap)]
    axes.plot(extremes, 2 * _down(rows, 0.08), color=colour, linewidth=0.8)
    dots = [(each, row.at) for row in rows for each in row.processes]
    if dots:
        axes.plot(*zip(*dots, strict=True), ".", color=INK, markersize=3)


def _down(rows: list[_Row], half: float) -> list[float]:
    return [value for row in rows for value in (row.at - half, row.at + half, float("nan"))]


def _scale(axes: Axes, workloads: list[str]) -> None:
    """A logarithmic axis, the workloads beside it from the top down."""
    axes.set_xscale("log")
    readable(axes.xaxis)
    axes.set_yticks(range(len(workloads)), workloads)
    axes.set_ylim(len(workloads) - 0.5, -0.5)
    axes.set_xlabel("times the row's median")
    axes.grid(axis="x", alpha=0.3)
