"""A device's runs one after the other, as pictures: a small one for each workload, a line for each column."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from harness.report.pictures.drawing import INK, STYLE, Picture, colour, finished
from harness.report.tables.history import HistoryPoint, HistoryRun, rows_of, title_of
from harness.report.tables.table import columns, milliseconds

_ACROSS = 4
# From one tick of a picture to the next: the difference where changes are small, and the factor where they are not.
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_FACTORS = (2, 4, 10)
# The most runs whose revisions fit below a picture; of more, every second, third and so on is named.
_LABELS = 8


def picture_of(part: pd.DataFrame, runs: Sequence[HistoryRun]) -> Picture | None:
    """A small picture for each workload: time relative to the first run, a line for each column."""
    rows = [row for row in rows_of(part, runs) if any(math.isfinite(point.seconds) for point in row[2])]
    workloads = list(dict.fromkeys(workload for workload, _, _ in rows))
    if not workloads:
        return None
    names = [name for name in columns(part) if any(name == row[1] for row in rows)]
    across, down = min(_ACROSS, len(workloads)), math.ceil(len(workloads) / _ACROSS)
    readings: list[str] = []
    with matplotlib.rc_context({**STYLE, "font.size": 7}):
        figure = Figure(figsize=(7, 0.9 + 1.25 * down), layout="constrained")
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for axes, workload in zip(grid.flat, workloads, strict=False):
            _frame(axes, workload, runs)
            for _, name, points in (row for row in rows if row[0] == workload):
                for segment in _segments(points):
                    axes.plot(*zip(*segment, strict=True), "o-", color=colour(name), markersize=2, linewidth=1)
                readings += [f"{workload}, {name}: {_reading(points, runs)}"]
        # The axes share one scale.
        low, high = grid.flat[0].get_ylim()
        high *= (high / low) ** 0.15  # for the numbers of what changed
        grid.flat[0].set_ylim(low, high)
        grid.flat[0].set_yticks(_ticks(low, high))
        grid.flat[0].yaxis.set_major_formatter("{x:.3g}")
        grid.flat[0].yaxis.set_minor_locator(NullLocator())
        for axes in grid.flat[len(workloads) :]:
            axes.set_visible(False)
        for column in range(across):
            # The lowest picture of each column names the runs.
            last = [axes for axes in grid[:, column] if axes.get_visible()][-1]
            last.tick_params(labelbottom=True)
        figure.supylabel("time, first run = 1", fontsize=8)
        keys = [Line2D([], [], color=colour(name), marker="o", markersize=3, label=name) for name in names]
        return finished(figure, part, _caption(part, runs, rows), readings, keys=keys)


def _caption(
    part: pd.DataFrame, runs: Sequence[HistoryRun], rows: Sequence[tuple[str, str, list[HistoryPoint]]]
) -> str:
    changes = "; ".join(run.note for run in runs if run.changes)
    anew = any(point.since for _, _, points in rows for point in points)
    return (
        f"{title_of(part)}, run by run: median time relative to the first run, above 1 is slower. Peers of the same "
        "runs are drawn too: a machine that got slower slows them as well"
        + (f". At a dashed line the machine or its software changed: {changes}" if changes else "")
        + (". A line that begins again at 1 is of other inputs from there on" if anew else "")
    )


def _frame(axes: Axes, workload: str, runs: Sequence[HistoryRun]) -> None:
    """The axes, ticks and title of one workload's picture."""
    axes.set_title(workload, fontsize=7, pad=3)
    axes.set_yscale("log")
    axes.axhline(1, color=INK, linewidth=0.5, alpha=0.5)
    step = math.ceil(len(runs) / _LABELS)
    places = range(0, len(runs), step)
    axes.set_xticks(places, [runs[place].label for place in places], rotation=90)
    for place, run in enumerate(runs):
        if run.changes:
            axes.axvline(place - 0.5, color=INK, linewidth=0.8, linestyle="--")
            axes.text(place - 0.45, 1, run.number, transform=axes.get_xaxis_transform(), va="top", fontsize=6)


def _ticks(low: float, high: float) -> list[float]:
    """Up to seven round numbers between two limits, of which the lower is below 1 and the higher above it."""
    if high < 3 * low:
        step = next(each for each in _STEPS if (high - low) / each <= 6)
        return [step * times for times in range(math.ceil(low / step), math.floor(high / step) + 1)]
    factor = next((each for each in _FACTORS if math.log(high / low, each) <= 6), _FACTORS[-1])
    powers = range(math.ceil(math.log(low, factor)), math.floor(math.log(high, factor)) + 1)
    return [float(factor) ** power for power in powers]


def _segments(points: Sequence[HistoryPoint]) -> list[list[tuple[int, float]]]:
    """(place, time over the first one on the same inputs): each list is a line, which ends where a run has no time."""
    segments: list[list[tuple[int, float]]] = []
    timed = [point for point in points if math.isfinite(point.seconds)]
    before: HistoryPoint | None = None
    for point in timed:
        first = next(each for each in timed if each.since == point.since)
        if before is None or before.since != point.since or before.place + 1 != point.place:
            segments.append([])
        segments[-1].append((point.place, point.seconds / first.seconds))
        before = point
    return segments


def _reading(points: Sequence[HistoryPoint], runs: Sequence[HistoryRun]) -> str:
    """The first and last time of each line, for a reader who cannot see the picture; the table has every run."""
    timed = [point for point in points if math.isfinite(point.seconds)]
    ends = (f"{milliseconds(point.seconds)} ms at {runs[point.place].label}" for point in (timed[0], timed[-1]))
    return f"from {' to '.join(ends)}"
