"""The pictures of a report, as SVG that stands inside a page.

Text stays text and takes the page's own colour, so that one picture is readable on a light and on a dark ground. The
same figures give the same bytes: no dates, no random ids.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from harness.report.page.filters import Marks
from harness.report.tables import times as tables

INK = "#010203"  # drawn in this colour, then replaced by the page's
COLOURS = {
    ("roi_align", "contiguous"): "#3b82c4",
    ("roi_align", "channels_last"): "#1aa37a",
    ("tensorflow", "channels_last"): "#e08a1e",
    ("torchvision", "contiguous"): "#a05195",
    ("onnxruntime", "contiguous"): "#e08a1e",
    ("roi_align_cuda", "contiguous"): "#3b82c4",
    ("roi_align_cuda", "channels_last"): "#1aa37a",
    ("roi_align_cuda_deterministic", "contiguous"): "#8fb8dd",
    ("roi_align_cuda_deterministic", "channels_last"): "#86cdb6",
    ("torchvision_cuda", "contiguous"): "#a05195",
    ("grid_sample_cuda", "contiguous"): "#e08a1e",
    ("grid_sample_cuda_compiled", "contiguous"): "#c9b037",
}
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "roi_align",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Picture:
    """An SVG element, what it shows in one sentence, what a reader who cannot see it is told, and what it is about."""

    svg: str
    caption: str
    alternative: str
    marks: Marks = field(default_factory=dict)


def ratios(view: pd.DataFrame, direction: str) -> Picture | None:
    """Bars: how many times as fast as the peer, on a logarithmic axis."""
    part = view[(view.direction == direction) & (view.series == "") & (view.backend != view.peer)]
    if part.empty:
        return None
    label = f"times as fast as {tables.peer(part)}"
    caption = f"{tables.title(part, direction)}: {label} (right of the line is faster)"
    return _bars(part, "ratio_to_peer", caption, label, logarithmic=True)


def roof(view: pd.DataFrame, direction: str) -> Picture | None:
    """Bars: compulsory bytes per second over the copy bandwidth measured in the same run."""
    part = view[(view.direction == direction) & (view.series == "")]
    if part.empty:
        return None
    caption = f"{tables.title(part, direction)}: compulsory bytes per second, as a part of the device's copy bandwidth"
    return _bars(part, "roof_fraction", caption, "part of the copy bandwidth", logarithmic=False)


def _bars(part: pd.DataFrame, value: str, caption: str, label: str, *, logarithmic: bool) -> Picture | None:
    """Horizontal bars, one group per workload; the line is at 1."""
    part = part[np.isfinite(part[value])]
    if part.empty:
        return None
    part = part.sort_values("launch_bound", kind="stable")
    pairs, columns = tables.columns(part), tables.names(part)
    bound = dict(zip(part.workload, part.launch_bound, strict=True))
    workloads = list(bound)
    names = [f"{name}, {tables.LAUNCH_BOUND}" if bound[name] else name for name in workloads]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 0.6 + 0.22 * len(workloads) * (len(pairs) + 0.8)), layout="constrained")
        axes: Axes = figure.subplots()
        height = 0.8 / len(pairs)
        for place, pair in enumerate(pairs):
            lines = part[(part.backend == pair[0]) & (part.layout == pair[1])].set_index("workload")[value]
            where = [workloads.index(workload) + (place + 0.5) * height - 0.4 for workload in lines.index]
            bars = axes.barh(where, lines, height * 0.9, color=COLOURS.get(pair), label=columns[place])
            axes.bar_label(bars, [f" {each:.2f}" for each in lines], fontsize=7)
        axes.axvline(1, color=INK, linewidth=0.8)
        if logarithmic:
            axes.set_xscale("log")
            readable(axes.xaxis)
        axes.set_yticks(range(len(workloads)), names)
        axes.invert_yaxis()
        axes.set_xlabel(label)
        figure.legend(loc="outside upper center", ncols=min(4, len(pairs)), frameon=False, fontsize=8)
        svg = svg_of(figure)
    said = [
        f"{line.workload}, {columns[pairs.index((str(line.backend), str(line.layout)))]}: {getattr(line, value):.2f}"
        for line in part.itertuples()
    ]
    return Picture(svg, caption, f"{caption}. {'; '.join(said)}.", tables.about(part))


def scaling(view: pd.DataFrame, kind: str, direction: str) -> Picture | None:
    """Curves: time over the size of a series, both axes logarithmic."""
    part = view[(view.direction == direction) & (view.series == kind) & np.isfinite(view.median_s)]
    if part.empty:
        return None
    pairs = tables.columns(part)
    caption = f"{tables.title(part, direction)}: time over the number of {tables.SERIES[kind]}"
    said = []
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7, 3.4), layout="constrained")
        axes: Axes = figure.subplots()
        for pair in pairs:
            lines = part[(part.backend == pair[0]) & (part.layout == pair[1])].sort_values("size")
            name = tables.column(*pair)
            axes.loglog(lines["size"], lines.median_s * 1e3, marker="o", color=COLOURS.get(pair), label=name)
            said.append(
                f"{name}: from {tables.milliseconds(lines.median_s.iloc[0])} ms at {int(lines['size'].iloc[0]):,} "
                f"to {tables.milliseconds(lines.median_s.iloc[-1])} ms at {int(lines['size'].iloc[-1]):,}"
            )
        axes.set_xlabel(f"number of {tables.SERIES[kind]}")
        axes.set_ylabel("median time, ms")
        readable(axes.xaxis)
        readable(axes.yaxis)
        axes.grid(alpha=0.3)
        figure.legend(loc="outside upper center", ncols=min(4, len(pairs)), frameon=False, fontsize=8)
        svg = svg_of(figure)
    return Picture(svg, caption, f"{caption}. {'; '.join(said)}.", tables.about(part))


def readable(axis: Axis) -> None:
    """Ticks of a logarithmic axis: plain numbers, not too close, be it many decades long or a part of one."""
    low, high = axis.get_view_interval()
    apart = np.log(high / low) / 9
    steps = (1, 2, 5, 3, 7, 1.5, 8, 9, 1.1, 1.2)  # the most welcome first
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks: list[float] = []
    for tick in (float(f"{step * 10.0**decade:.2g}") for step in steps for decade in decades):
        if low <= tick <= high and all(abs(np.log(tick / other)) >= apart for other in ticks):
            ticks.append(tick)
    axis.set_ticks(sorted(ticks))
    axis.set_ticks([], minor=True)
    axis.set_major_formatter("{x:,.10g}")


def svg_of(figure: Figure) -> str:
    """The figure as an SVG element without a ground, a date, or a mention of any other document."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Several pictures share a page, and ids must not repeat there.
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    # A hundredth of a pixel is enough, and a report of several devices holds a hundred pictures.
    svg = re.sub(r"\n +", "\n", re.sub(r"(\d\.\d\d)\d+", r"\1", svg))
    own = hashlib.blake2b(svg.encode(), digest_size=4).hexdigest()
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{own}-", svg)
    svg = re.sub(
        r'(<svg[^>]*?) width="[^"]*" height="[^"]*"|(<svg[^>]*?) height="[^"]*" width="[^"]*"', r"\1\2", svg, count=1
    )
    return svg.replace(INK, "currentColor")
