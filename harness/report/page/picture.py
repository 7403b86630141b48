"""overview.svg: the first screen's two answers, right and fast, as one picture for the project's README.

A README cannot hold the page's own elements, so the same facts and bars are drawn with places in units of an SVG. It
carries its colours for day and dark itself, since it is shown on a page that is not ours.
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
# Sizes in the picture's own units: the facts' column with its letters a line, the bars' labels and their track.
_FACTS, _LETTERS, _LABEL, _TRACK, _VALUE = 372, 50, 190, 296, 56
_TOP, _LINE, _GAP, _BAR = 58, 15, 9, 19


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


def text(page: dict[str, Any]) -> str:
    """results/overview.svg, from `contents.contents`."""
    entries: list[Entry] = []
    top = _TOP
    for fact in page["conclusions"]["correctness"].facts:
        lines = tuple(textwrap.wrap(fact.text, _LETTERS))
        entries.append(Entry(top, fact.figure, lines, fact.tone, _MARKS[fact.tone]))
        top += _LINE * (1 + len(lines)) + _GAP
    bars: Bars | None = page["devices"][0]["bars"] if page["devices"] else None
    below = _TOP + (sum(_BAR * (1 + len(of)) + _GAP for _, of in bars.groups) + 3 * _LINE + _GAP if bars else 0)
    return render(
        _TEMPLATE,
        sentence=sentence(page),
        entries=entries,
        bars=bars,
        caption=textwrap.wrap(_caption(bars), 96) if bars else [],
        width=_FACTS + _LABEL + _TRACK + _VALUE + 12,
        height=max(top, below) + 6,
        page=PAGE,
        tones=TONES,
        sizes={
            "facts": _FACTS, "label": _LABEL, "track": _TRACK, "value": _VALUE, "top": _TOP, "line": _LINE,
            "gap": _GAP, "bar": _BAR,
        },
    )  # fmt: skip


def _caption(bars: Bars) -> str:
    roof = "; a thin line marks the roof, at which compulsory bytes move as fast as a copy" if bars.has_roof else ""
    return f"{bars.caption}{roof}."
