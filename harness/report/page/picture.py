"""overview.svg: the first screen's two answers, right and fast, as one picture for the project's README.

A README cannot hold the page's own elements, so the same facts and bars are drawn with places in units of an SVG. It
carries its colours for day and dark itself, since it is shown on a page that is not ours. Two answers beside each other
are too small to read on a phone: overview-narrow.svg has one below the other.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.report.libraries.words import PAGE, TONES
from harness.report.page.bars import Bars
from harness.report.rendering import render

_TEMPLATE = Path(__file__).with_name("templates") / "overview.svg.j2"
_MARKS = {"good": "✓", "soft": "!", "bad": "✗", "none": "•"}
_TOP, _LINE, _GAP, _BAR, _TICK = 58, 15, 9, 19, 26


@dataclass(frozen=True)
class Shape:
    """Sizes in the picture's own units.

    bars     where the bars' column begins; `below`: under the facts, and not beside them.
    letters  of a line of the facts' texts; of a label of a bar; of a line of the caption.
    label    the width of the bars' labels; track: of the bars; value: of the figures behind them.
    """

    bars: int
    below: bool
    letters: tuple[int, int, int]
    label: int
    track: int
    value: int

    @property
    def width(self) -> int:
        return self.bars + self.label + self.track + self.value + 12


WIDE = Shape(bars=372, below=False, letters=(50, 26, 96), label=190, track=296, value=56)
NARROW = Shape(bars=6, below=True, letters=(50, 26, 62), label=184, track=130, value=52)


@dataclass(frozen=True)
class Entry:
    """A fact with the height at which it begins and its text in lines that fit the column."""

    top: int
    figure: str
    lines: tuple[str, ...]
    tone: str
    mark: str


def sentence(page: dict[str, Any]) -> str:
    """What the picture shows, for readers who cannot see it: both conclusions."""
    return f"{page['conclusions']['correctness'].sentence} {page['conclusions']['speed'].sentence}"


def text(page: dict[str, Any], shape: Shape = WIDE) -> str:
    """results/overview.svg or, if NARROW, results/overview-narrow.svg, from `contents.contents`."""
    facts, label, caption = shape.letters
    entries: list[Entry] = []
    top = _TOP
    for fact in page["conclusions"]["correctness"].facts:
        lines = tuple(textwrap.wrap(fact.text, facts))
        entries.append(Entry(top, fact.figure, lines, fact.tone, _MARKS[fact.tone]))
        top += _LINE * (1 + len(lines)) + _GAP
    bars: Bars | None = page["devices"][0]["bars"] if page["devices"] else None
    below = textwrap.wrap(_caption(bars), caption) if bars else []
    begin = top - _GAP if shape.below else 0
    end = begin + _TOP + sum(_BAR * (1 + len(of)) + _GAP for _, of in bars.groups) + len(below) * _LINE if bars else 0
    return render(
        _TEMPLATE,
        sentence=sentence(page),
        entries=entries,
        bars=bars,
        ticks=_ticks(bars, shape.track) if bars else [],
        caption=below,
        width=shape.width,
        height=max(top, end) + 6,
        page=PAGE,
        tones=TONES,
        sizes={
            "bars": shape.bars, "begin": begin, "letters": label, "label": shape.label, "track": shape.track,
            "value": shape.value, "top": _TOP, "line": _LINE, "gap": _GAP, "bar": _BAR,
        },
    )  # fmt: skip


def _ticks(bars: Bars, track: int) -> list[tuple[float, str]]:
    """The axis' ticks that fit a track of this width, beginning with the one at 1."""
    ticks: list[tuple[float, str]] = []
    for place, tick in sorted(bars.axis, key=lambda each: abs(each[0] - bars.one)):
        if all(abs(place - other) * track / 100 >= _TICK for other, _ in ticks):
            ticks.append((place, tick))
    return ticks


def _caption(bars: Bars) -> str:
    roof = "; a thin line marks the roof, at which compulsory bytes move as fast as a copy" if bars.has_roof else ""
    return f"{bars.caption}{roof}."
