"""What a part of the page is about, so that a reader can ask for less of it.

A table, a picture, a row or a column carries the names of the devices, operators, types, layouts and directions that
it shows; page.js hides whatever shows none of those that were chosen. What carries no name of a kind is always shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

Marks = Mapping[str, str]
# What can be chosen, and what a reader knows it as. An operator is the benchmark that its rows belong to.
FILTERS = {"device": "Device", "op": "Operator", "dtype": "Type", "layout": "Layout", "direction": "Direction"}
_COLUMNS = {"op": "bench"}


def of(lines: pd.DataFrame, own: pd.Series | None = None) -> dict[str, str]:
    """All that some rows show: of each kind the names, with blanks between them.

    own  which rows are this project's: a peer has no choice of layouts and stands for comparison beside either.
    """
    shown = {name: lines[_COLUMNS.get(name, name)] for name in FILTERS}
    if own is not None:
        shown["layout"] = shown["layout"][own]
    return {name: " ".join(dict.fromkeys(map(str, values))) for name, values in shown.items() if len(values)}


def of_line(line: Any, *names: str) -> dict[str, str]:
    """The same of one row, a named tuple; all kinds, or those that are named."""
    return {name: str(getattr(line, _COLUMNS.get(name, name))) for name in names or FILTERS}


def attributes(marks: Marks) -> dict[str, str]:
    """As HTML's attributes."""
    return {f"data-{name}": values for name, values in marks.items()}


def choices(lines: pd.DataFrame) -> list[tuple[str, str, list[str]]]:
    """(name, label, values) of each kind of which the rows have more than one: there is nothing else to choose."""
    values = {name: list(dict.fromkeys(map(str, lines[_COLUMNS.get(name, name)]))) for name in FILTERS}
    return [(name, label, values[name]) for name, label in FILTERS.items() if len(values[name]) > 1]
