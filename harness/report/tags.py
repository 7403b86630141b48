"""What a part of the page is about, so that a reader can ask for less of it.

A table, a picture, a row or a column carries as tags the devices, operators, types, layouts and directions that it
shows; page.js hides whatever shows none of those that were chosen. What has no tag of a sort is always shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

Tags = Mapping[str, str]
# What can be chosen, and its label for readers. An operator is the benchmark that its rows belong to.
FILTERS = {"device": "Device", "op": "Operator", "dtype": "Type", "layout": "Layout", "direction": "Direction"}
_FIELDS = {name: name for name in FILTERS} | {"op": "bench"}


def of(lines: pd.DataFrame) -> dict[str, str]:
    """All that some rows show: of each sort the names, with blanks between them.

    A peer has no choice of layouts and is there for comparison beside either: its own is none.
    """
    columns = {name: lines[field] for name, field in _FIELDS.items()}
    columns["layout"] = columns["layout"][lines.own]
    return {name: " ".join(dict.fromkeys(map(str, values))) for name, values in columns.items() if len(values)}


def of_line(line: Any, *names: str) -> dict[str, str]:
    """The same of one row, a named tuple; all sorts, or those that are named."""
    return {name: str(getattr(line, _FIELDS[name])) for name in names or FILTERS}


def attributes(tags: Tags) -> dict[str, str]:
    """As HTML's attributes."""
    return {f"data-{name}": values for name, values in tags.items()}


def choices(lines: pd.DataFrame) -> list[tuple[str, str, list[str]]]:
    """(name, label, values) of each sort of which the rows have more than one: there is nothing else to choose."""
    values = {name: list(dict.fromkeys(map(str, lines[field]))) for name, field in _FIELDS.items()}
    return [(name, label, values[name]) for name, label in FILTERS.items() if len(values[name]) > 1]
