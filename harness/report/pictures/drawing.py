"""How a picture is drawn: as SVG inside a page.

Text stays text and takes the page's own colour, so that one picture is readable on a light and on a dark ground. The
same figures give the same bytes: no dates, no random ids.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from harness.report import tags
from harness.report.tags import Tags
from harness.repository import digest

INK = "#010203"  # drawn in this colour, then replaced by the page's
COLOURS = {
    "roi_align, NCHW": "#3b82c4",
    "roi_align, channels_last": "#1aa37a",
    "deterministic, NCHW": "#8fb8dd",
    "deterministic, channels_last": "#86cdb6",
    "TensorFlow": "#e08a1e",
    "torchvision": "#a05195",
    "ONNX Runtime": "#e08a1e",
    "grid_sample": "#e08a1e",
    "grid_sample, compiled": "#c9b037",
}
STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "roi_align", "font.family": "sans-serif", "font.size": 9, "text.color": INK,
    "axes.edgecolor": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False,
    "axes.spines.right": False,
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """An SVG element, what it shows in one sentence, what a reader who cannot see it is told, and what it is about."""

    svg: str
    caption: str
    alternative: str
    tags: Tags = field(default_factory=dict)


def colour(column: str) -> str | None:
    """The colour of a column of results.throughput; matplotlib's next one for a backend that has none."""
    return COLOURS.get(column.partition(" (")[0])


def finished(
    figure: Figure, part: pd.DataFrame, caption: str, readings: Iterable[str], *, keys: Any = None, across: int = 4
) -> Picture:
    """The picture of these rows, with its legend above it: of the keys, or of all that has a label."""
    handles = keys if keys is not None else figure.axes[0].get_legend_handles_labels()[0]
    figure.legend(
        handles=handles, loc="outside upper center", ncols=min(across, len(handles)), frameon=False, fontsize=8
    )
    return Picture(_svg(figure), caption, f"{caption}. {'; '.join(readings)}.", tags.of(part))


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


def _svg(figure: Figure) -> str:
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
    own = digest(svg.encode(), size=4)
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{own}-", svg)
    svg = re.sub(
        r'(<svg[^>]*?) width="[^"]*" height="[^"]*"|(<svg[^>]*?) height="[^"]*" width="[^"]*"', r"\1\2", svg, count=1
    )
    return svg.replace(INK, "currentColor")
