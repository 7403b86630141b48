"""A device's roofline: what its calls ask for, what they must move, and the line that memory draws.

A call asks for the same bytes again and again: neighbouring samples share taps, and every channel reads the same boxes.
The more it asks for per byte that must be moved, the more a cache has to give; a call that does nothing but move its
compulsory bytes at the copy bandwidth lies on the line.
"""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.report.names import CACHES, DIRECTIONS, family
from harness.report.pictures.drawing import INK, STYLE, Picture, colour, finished, readable
from harness.report.tables.table import columns

_SHAPES = {"forward": "o", "grad_image": "s", "grad_boxes": "^"}


def roofline(view: pd.DataFrame) -> Picture | None:
    """Requested bytes per second over requested per compulsory byte, both logarithmic; None where none were counted."""
    requested, compulsory = (view[name].astype(float) for name in ("requested_bytes", "compulsory_bytes"))
    part = view.assign(intensity=requested / compulsory, gbps=requested / view.median_s / 1e9)
    part = part[(part.series == "") & np.isfinite(part.intensity) & np.isfinite(part.gbps)]
    if part.empty:
        return None
    names = columns(part)
    directions = [direction for direction in DIRECTIONS if (part.direction == direction).any()]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 4.6), layout="constrained")
        axes: Axes = figure.subplots()
        ends = np.array([part.intensity.min() / 1.3, part.intensity.max() * 1.3])
        low, copy, high = (float(part.copy_gbps.quantile(at)) for at in (0, 0.5, 1))
        axes.fill_between(ends, ends * low, ends * high, color=INK, alpha=0.15, linewidth=0)
        axes.plot(ends, ends * copy, color=INK, linewidth=1)
        for name in names:
            for direction in directions:
                of = part[(part.column == name) & (part.direction == direction)]
                axes.plot(of.intensity, of.gbps, _SHAPES[direction], color=colour(name), markersize=5, alpha=0.8)
        axes.set_xscale("log")
        axes.set_yscale("log")
        readable(axes.xaxis)
        readable(axes.yaxis)
        axes.set_xlabel("requested bytes per compulsory byte")
        axes.set_ylabel("requested bytes per second, GB/s")
        axes.grid(alpha=0.3)
        keys = [Line2D([], [], color=INK, linewidth=1, label="the roof: compulsory bytes at copy bandwidth")]
        keys += [Line2D([], [], color=colour(name), linewidth=4, label=name) for name in names]
        keys += [
            Line2D([], [], color=INK, linestyle="", marker=_SHAPES[each], label=DIRECTIONS[each].lower())
            for each in directions
        ]
        first = part.iloc[0]
        caption = (
            f"Roofline of {first.device}, {family(part)}, {first['dtype']}{CACHES[first.cache]}: a mark on the line "
            "moves its compulsory bytes at the copy bandwidth, which is the roof; far below it arithmetic or latency "
            "limits a call, and above it a cache supplies some of the bytes"
        )
        readings = [
            f"{name}, {DIRECTIONS[direction].lower()}: {_reading(of)}"
            for name in names
            for direction in directions
            if len(of := part[(part.column == name) & (part.direction == direction)])
        ]
        return finished(figure, part, caption, readings, keys=keys, across=3)


def _reading(lines: pd.DataFrame) -> str:
    part = lines.gbps / (lines.intensity * lines.copy_gbps)
    return f"{part.min():.0%} to {part.max():.0%} of the roof on {len(lines)} workloads"
