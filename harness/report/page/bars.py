"""Pictures made of the page's own elements, for the first screen and each page's opening.

They are text with lengths, so that they fit a phone, follow the colours of day and night, can be read aloud, and are
small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.report.names import CALLS, DIRECTIONS
from harness.report.pictures.drawing import colour
from harness.report.speedups import Speedup
from harness.report.tags import Tags

_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
# How far the axis reaches beyond the outermost value, and how far apart ticks are, in percent of its length.
_MARGIN, _APART = 1.12, 9
_OTHER = "#6f7a86"


@dataclass(frozen=True)
class Bar:
    """One bar from 1 to a ratio: `begin` and `length` in percent of the axis, `roof` likewise, None without one."""

    label: str
    value: str
    description: str
    begin: float
    length: float
    roof: float | None
    colour: str


@dataclass(frozen=True)
class Bars:
    """A picture of bars: the subject and the bars of each group.

    axis   (place in percent, what is written there); one: the place of the line at 1.
    tags   what the picture is about, see tags.py.
    """

    caption: str
    groups: tuple[tuple[str, tuple[Bar, ...]], ...]
    axis: tuple[tuple[float, str], ...]
    one: float
    has_roof: bool
    tags: Tags


@dataclass(frozen=True)
class Strip:
    """One subject as a bar of parts: the number, the word and the tone of each ("good", "bad", ...)."""

    label: str
    parts: tuple[tuple[int, str, str], ...]


@dataclass(frozen=True)
class Strips:
    """A picture of strips with its caption."""

    caption: str
    strips: tuple[Strip, ...]


def of_speedups(device: str, speedups: Sequence[Speedup]) -> Bars | None:
    """A bar for each operator and direction against each other library, with the roof of the same calls."""
    if not speedups:
        return None
    axis = _axis([*(each.times_as_fast for each in speedups), *(each.roof for each in speedups)])
    groups: dict[str, list[Bar]] = {}
    for each in speedups:
        roof = f"; at the roof it would be {times(each.roof)}" if math.isfinite(each.roof) else ""
        description = (
            f"{times(each.times_as_fast)} as fast as {each.other}, from {times(each.least)} to {times(each.most)} on "
            f"{each.calls} call{'s' if each.calls > 1 else ''}{roof}"
        )
        bar = axis.bar(each.other, each.times_as_fast, description, colour(each.other) or _OTHER, each.roof)
        groups.setdefault(f"{each.bench}, {DIRECTIONS[each.direction].lower()}", []).append(bar)
    dtype = speedups[0].dtype
    about = {"device": device, "dtype": dtype, "layout": "contiguous"}
    caption = (
        f"{device}: how many times as fast as each library, {dtype}, NCHW, as geometric means over the calls that both "
        "were timed on. Bars begin at 1, which is the other library's speed"
    )
    return axis.picture(caption, groups, about)


def of_devices(families: pd.DataFrame, baseline: str) -> Bars | None:
    """A bar for each family and device; `families`: across.family_means."""
    if families.empty:
        return None
    axis = _axis(list(families.times_as_fast))
    devices = list(dict.fromkeys(families.device))
    colours = dict(zip(devices, ("#3b82c4", "#1aa37a", "#e08a1e", "#a05195", "#c9b037") * len(devices), strict=False))
    groups: dict[str, list[Bar]] = {}
    line: Any
    for line in families.itertuples():
        names = (str(line.op), str(line.setting), CALLS[str(line.direction)].lower(), str(line.dtype))
        interval = f", {line.low:.2f} to {line.high:.2f}" if math.isfinite(line.low) else ""
        description = f"{times(line.times_as_fast)} as fast as {baseline}{interval}; {line.workloads} workloads"
        bar = axis.bar(str(line.device), line.times_as_fast, description, colours[line.device])
        groups.setdefault(", ".join(filter(None, names)), []).append(bar)
    caption = f"How many times as fast as {baseline}: geometric means over the workloads that both have"
    return axis.picture(caption, groups, {"device": " ".join(devices)})


def times(ratio: float) -> str:
    """As in "3.21x"; three digits are enough, and none is lost where the ratio is small."""
    if ratio >= 100:
        return f"{ratio:,.0f}x"
    return f"{ratio:.1f}x" if ratio >= 10 else f"{ratio:.2f}x"


@dataclass(frozen=True)
class _Axis:
    """A logarithmic axis between two ratios."""

    low: float
    high: float

    def at(self, ratio: float) -> float:
        """The place of a ratio, in percent."""
        return round(100 * math.log(ratio / self.low) / math.log(self.high / self.low), 2)

    def bar(self, label: str, ratio: float, description: str, of_colour: str, roof: float = math.nan) -> Bar:
        begin, end = sorted((self.at(1), self.at(ratio)))
        roof_at = self.at(roof) if math.isfinite(roof) and roof > 0 else None
        return Bar(label, times(ratio), description, begin, round(end - begin, 2), roof_at, of_colour)

    def picture(self, caption: str, groups: dict[str, list[Bar]], about: Tags) -> Bars:
        has_roof = any(bar.roof is not None for of in groups.values() for bar in of)
        ticks = [(self.at(1), "1x")]
        for tick in _TICKS:
            place = self.at(tick)
            if 0 <= place <= 97 and all(abs(place - other) >= _APART for other, _ in ticks):
                ticks.append((place, f"{tick:g}x"))
        of_name = tuple((name, tuple(of)) for name, of in groups.items())
        return Bars(caption, of_name, tuple(sorted(ticks)), self.at(1), has_roof, about)


def _axis(ratios: Sequence[float]) -> _Axis:
    """The axis that holds 1 and all of these ratios."""
    finite = [1.0, *(each for each in ratios if math.isfinite(each) and each > 0)]
    return _Axis(min(finite) / _MARGIN, max(finite) * _MARGIN)
