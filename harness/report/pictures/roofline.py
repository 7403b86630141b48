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

from harness.report.pictures.bars import COLOURS, INK, STYLE, Picture, readable, svg_of
from harness.report.tables import times as tables

_MARKERS = {"forward": "o", "grad_image": "s", "grad_boxes": "^"}


def roofline(view: pd.DataFrame) -> Picture | None:
    """Requested bytes per second over requested per compulsory byte, both logarithmic; None where none were counted."""
    requested, compulsory = (view[name].astype(float) for name in ("requested_bytes", "compulsory_bytes"))
    part = view.assign(asked=requested / compulsory, gbps=requested / view.median_s / 1e9)
    part = part[(part.series == "") & np.isfinite(part.asked) & np.isfinite(part.gbps)]
    if part.empty:
        return None
    pairs = tables.columns(part)
    shown = [(pair, _of(part, pair)) for pair in pairs]
    directions = [direction for direction in tables.DIRECTIONS if (part.direction == direction).any()]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 4.6), layout="constrained")
        axes: Axes = figure.subplots()
        ends = np.array([part.asked.min() / 1.3, part.asked.max() * 1.3])
        low, copy, high = (float(part.copy_gbps.quantile(at)) for at in (0, 0.5, 1))
        axes.fill_between(ends, ends * low, ends * high, color=INK, alpha=0.15, linewidth=0)
        axes.plot(ends, ends * copy, color=INK, linewidth=1)
        for pair, lines in shown:
            for direction in directions:
                of = lines[lines.direction == direction]
                axes.plot(of.asked, of.gbps, _MARKERS[direction], color=COLOURS.get(pair), markersize=5, alpha=0.8)
        axes.set_xscale("log")
        axes.set_yscale("log")
        readable(axes.xaxis)
        readable(axes.yaxis)
        axes.set_xlabel("requested bytes per compulsory byte")
        axes.set_ylabel("requested bytes per second, GB/s")
        axes.grid(alpha=0.3)
        keys = [Line2D([], [], color=INK, linewidth=1, label="the roof: compulsory bytes at copy bandwidth")]
        keys += [
            Line2D([], [], color=COLOURS.get(pair), linewidth=4, label=name)
            for pair, name in zip(pairs, tables.names(part), strict=True)
        ]
        keys += [
            Line2D([], [], color=INK, linestyle="", marker=_MARKERS[each], label=tables.DIRECTIONS[each].lower())
            for each in directions
        ]
        figure.legend(handles=keys, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
        svg = svg_of(figure)
    first = part.iloc[0]
    what = ", ".join(filter(None, (str(first.bench), str(first.setting), str(first["dtype"]))))
    caption = (
        f"Roofline of {first.device}, {what}{tables.CACHES[first.cache]}: a mark on the line moves its compulsory "
        "bytes at the copy bandwidth, which is the roof; far below it a call is held up by arithmetic or latency, and "
        "above it a cache gave what memory need not"
    )
    said = [
        f"{name}, {tables.DIRECTIONS[str(direction)].lower()}: {_told(of)}"
        for (_, lines), name in zip(shown, tables.names(part), strict=True)
        for direction, of in lines.groupby("direction", sort=False)
    ]
    return Picture(svg, caption, f"{caption}. {'; '.join(said)}.", tables.about(part))


def _of(part: pd.DataFrame, pair: tuple[str, str]) -> pd.DataFrame:
    lines: pd.DataFrame = part[(part.backend == pair[0]) & (part.layout == pair[1])]
    return lines


def _told(lines: pd.DataFrame) -> str:
    part = lines.gbps / (lines.asked * lines.copy_gbps)
    return f"{part.min():.0%} to {part.max():.0%} of the roof on {len(lines)} workloads"
