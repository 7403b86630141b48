"""report.html: one file that asks for no other, and small enough to be mailed."""

from __future__ import annotations

import re
from itertools import count, groupby
from pathlib import Path
from typing import Any

from harness.report import tags
from harness.report.rendering import render
from harness.report.tables.table import Table
from harness.report.tags import Tags

_TEMPLATE = Path(__file__).with_name("templates") / "page.html.j2"
_SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)
_STYLE = re.compile(r'\bstyle="([^"]*)"')
# A group without attributes that holds no other one.
_GROUP = re.compile(r"<g>\n((?:(?!</?g\b).)*?)</g>\n", re.DOTALL)
_NOTHING = re.compile(
    r' transform="rotate\(-0 [^"]*\)"| version="1\.1"|<defs>\n<style.*?</style>\n</defs>\n', re.DOTALL
)
# Within a path nothing but numbers needs a blank between them.
_BLANK = re.compile(r" \n(?=[A-Za-z])|(?<=[MLC]) (?=[\d-])")
# What drawing.py has made unique by a digest.
_ID = re.compile(r"""(\bid="|url\(#|xlink:href="#)([0-9a-f]{8}-[^")]+)""")


def text(page: dict[str, Any]) -> str:
    """results/report.html."""
    return compact(render(_TEMPLATE, {"attributes": tags.attributes, "bodies": bodies}, **page))


def bodies(table: Table) -> list[tuple[Tags, list[tuple[str, ...]]]]:
    """A table's rows in groups: neighbours with the same tags are shown and hidden together."""
    of_rows = table.row_tags or ({},) * len(table.rows)
    pairs = groupby(zip(of_rows, table.rows, strict=True), key=lambda pair: dict(pair[0]))
    return [(own, [row for _, row in of]) for own, of in pairs]


def compact(page: str) -> str:
    """The page with the pictures' repeated styles as classes, with short ids, and without what draws nothing.

    matplotlib writes a font's whole list of names beside every number of an axis: half of a picture is that.
    """
    styles: dict[str, str] = {}
    numbers = count()

    def class_of(style: re.Match[str]) -> str:
        name = styles.setdefault(style[1], f"s{len(styles)}")
        return f'class="{name}"'

    def smaller(picture: re.Match[str]) -> str:
        svg = _NOTHING.sub("", picture[0])
        while (fewer := _GROUP.sub(r"\1", svg)) != svg:
            svg = fewer
        names = dict.fromkeys(name for _, name in _ID.findall(svg))
        ids = {name: f"i{next(numbers)}" for name in names}
        svg = _ID.sub(lambda name: name[1] + ids[name[2]], svg)
        return _STYLE.sub(class_of, _BLANK.sub("", svg))

    page = _SVG.sub(smaller, page)
    rules = "\n".join(f"svg .{name} {{ {style} }}" for style, name in styles.items())
    return page.replace("</style>", f"{rules}\n</style>", 1)
