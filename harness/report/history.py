"""How a device's times changed from run to run, with the revision of each run.

A machine that got slower, a new driver or a newer library changes times as a new kernel does. So the peers of each run
are shown beside this project's columns, since they would have slowed down too, and between two runs whose fingerprints
(measuring/fingerprint.py) are not the same there is a mark, with what changed. Where a row's inputs changed, its times
before and after are not compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harness.measuring.results import BENCHES
from harness.report.names import CACHES, CALLS, DTYPES
from harness.report.pictures.drawing import Picture
from harness.report.pictures.history import picture_of
from harness.report.tables.history import Machines, runs_of, table_of
from harness.report.tables.table import Table

# What rows have in common that are shown together: one table, and for the first type and cache of each a picture.
_GROUP = ["bench", "setting", "direction", "dtype", "cache"]


@dataclass(frozen=True)
class History:
    """Pictures and tables, and what a reader should know of both."""

    paragraphs: tuple[str, ...]
    pictures: tuple[Picture, ...]
    tables: tuple[Table, ...]


def history(device: str, table: pd.DataFrame, machines: Machines) -> History | None:
    """One device's runs for the record with the default allocator, oldest first; None if there is only one of them.

    table: lines of results.throughput, of any devices and runs. machines: as in results.Results.
    """
    lines = table[(table.device == device) & (table.kind != "quick") & (table.allocator != "tuned")]
    parts = sorted((part for _, part in lines.groupby(_GROUP, sort=False) if part.run.nunique() > 1), key=_rank)
    if not parts:
        return None
    firsts: dict[tuple[str, ...], pd.DataFrame] = {}
    for part in parts:
        firsts.setdefault(tuple(part.iloc[0][["bench", "setting", "direction"]]), part)
    pictures = (picture_of(part[part.series == ""], runs_of(part, machines)) for part in firsts.values())
    runs = runs_of(lines, machines)
    return History(
        paragraphs=(
            f"{len(runs)} runs with the default allocator, oldest first, each by the revision that it is of; a + "
            "says that files were changed since. The peers are other people's code in the same runs: where they became "
            "slower too, the machine did.",
            "At a dashed line, and at a number in a table's header, the machine or its software changed, which changes "
            "times as a new kernel does."
            if any(run.changes for run in runs)
            else "Nothing that is known of the machine and its software changed between these runs; but they were "
            "measured one after the other, and not in turns.",
        ),
        pictures=tuple(picture for picture in pictures if picture is not None),
        tables=tuple(table_of(part, runs_of(part, machines)) for part in parts),
    )


def _rank(part: pd.DataFrame) -> tuple[tuple[int, str], ...]:
    """The place of a part: by benchmark and setting, then float32 before others, cold before hot, forward first."""
    first = part.iloc[0]
    known = (("bench", BENCHES), ("setting", ()), ("dtype", DTYPES), ("cache", CACHES))
    places = ((list(names), str(first[column])) for column, names in (*known, ("direction", CALLS)))
    return tuple((names.index(value) if value in names else len(names), value) for names, value in places)
