"""A view's bars, which are ratios to the peer, and its curves over the size of a series."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.report.names import LAUNCH_BOUND, SERIES, peer, title
from harness.report.pictures.drawing import INK, STYLE, Picture, colour, finished, readable
from harness.report.tables.table import columns, milliseconds


def ratios(view: pd.DataFrame, direction: str) -> Picture | None:
    """Horizontal bars, one group per workload: how many times as fast as the peer; the line is at 1."""
    part = view[(view.direction == direction) & (view.series == "") & (view.backend != view.peer)]
    if part.empty:
        return None
    label = f"times as fast as {peer(part)}"
    caption = f"{title(part, direction)}: {label} (right of the line is faster)"
    part = part[np.isfinite(part.ratio_to_peer)]
    if part.empty:
        return None
    part = part.sort_values("launch_bound", kind="stable")
    names = columns(part)
    bound = dict(zip(part.workload, part.launch_bound, strict=True))
    workloads = list(bound)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 0.6 + 0.22 * len(workloads) * (len(names) + 0.8)), layout="constrained")
        axes: Axes = figure.subplots()
        height = 0.8 / len(names)
        for place, name in enumerate(names):
            lines = part[part.column == name].set_index("workload").ratio_to_peer
            where = [workloads.index(workload) + (place + 0.5) * height - 0.4 for workload in lines.index]
            bars = axes.barh(where, lines, height * 0.9, color=colour(name), label=name)
            axes.bar_label(bars, [f" {each:.2f}" for each in lines], fontsize=7)
        axes.axvline(1, color=INK, linewidth=0.8)
        axes.set_xscale("log")
        readable(axes.xaxis)
        labels = [f"{name}, {LAUNCH_BOUND}" if bound[name] else name for name in workloads]
        axes.set_yticks(range(len(workloads)), labels)
        axes.invert_yaxis()
        axes.set_xlabel(label)
        readings = [f"{line.workload}, {line.column}: {line.ratio_to_peer:.2f}" for line in part.itertuples()]
        return finished(figure, part, caption, readings)


def scaling(view: pd.DataFrame, varied: str, direction: str) -> Picture | None:
    """Curves: time over the size of a series, both axes logarithmic."""
    part = view[(view.direction == direction) & (view.series == varied) & np.isfinite(view.median_s)]
    if part.empty:
        return None
    caption = f"{title(part, direction)}: time over the number of {SERIES[varied]}"
    readings = []
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 3.4), layout="constrained")
        axes: Axes = figure.subplots()
        for name in columns(part):
            lines = part[part.column == name].sort_values("size")
            axes.loglog(lines["size"], lines.median_s * 1e3, marker="o", color=colour(name), label=name)
            ends = (
                f"{milliseconds(line.median_s)} ms at {int(line['size']):,}"
                for _, line in lines.iloc[[0, -1]].iterrows()
            )
            readings.append(f"{name}: from {' to '.join(ends)}")
        axes.set_xlabel(f"number of {SERIES[varied]}")
        axes.set_ylabel("median time, ms")
        readable(axes.xaxis)
        readable(axes.yaxis)
        axes.grid(alpha=0.3)
        return finished(figure, part, caption, readings)
