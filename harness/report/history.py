"""How a device's times changed from run to run, with the revision of each run.

A machine that got slower, a new driver or a newer library changes times as a new kernel does. So the peers of each run
are shown beside this project's columns, since they would have slowed down too, and between two runs whose fingerprints
(measuring/fingerprint.py) are not the same there is a mark, with what changed. Where a row's inputs changed, its times
before and after are not compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harness.measuring.results import BENCHES
from harness.report.names import CACHES, CALLS, DTYPES
from harness.report.pictures.drawing import Picture
from harness.report.pictures.history import picture_of
from harness.report.tables.history import HistoryRun, Machines, rows_of, runs_of, table_of
from harness.report.tables.table import Table, columns

# A smaller change counts as none.
_SAME = 0.01
# The fields that rows shown together share: one table, and for the first type and cache of each a picture.
_GROUP = ["bench", "setting", "direction", "dtype", "cache"]


@dataclass(frozen=True)
class History:
    """Pictures and tables, the result in a sentence, and what a reader should know of them."""

    sentence: str
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
        sentence=_sentence(device, parts, runs, machines),
        paragraphs=(
            f"{len(runs)} runs with the default allocator, oldest first, each named by its revision; a + marks files "
            "that were changed since. The peers are other people's code in the same runs: where they became "
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


def _sentence(device: str, parts: Sequence[pd.DataFrame], runs: Sequence[HistoryRun], machines: Machines) -> str:
    """How much longer or shorter the newest run's times are than the first run's, of the rows that both have on the
    same inputs."""
    logs: dict[bool, list[float]] = {True: [], False: []}
    for part in parts:
        # Only this project's columns have a layout.
        layouts = columns(part)
        of_part = runs_of(part, machines)
        for _, column, points in rows_of(part, of_part):
            timed = [point for point in points if math.isfinite(point.seconds)]
            if timed and of_part[timed[-1].place].name == runs[-1].name:
                first = next(point for point in timed if point.since == timed[-1].since)
                if first.place < timed[-1].place and of_part[first.place].name == runs[0].name:
                    logs[bool(layouts[column])].append(math.log(timed[-1].seconds / first.seconds))
    clauses = [
        f"{whose} {_changed(sum(of) / len(of))} (geometric mean of {len(of)} rows)"
        for whose, of in (("this project's times", logs[True]), ("the other libraries' times", logs[False]))
        if of
    ]
    between = f"From the first to the newest of {len(runs)} runs on {device}, {runs[0].label} to {runs[-1].label}, "
    return between + (" and ".join(clauses) if clauses else "no row has two times on the same inputs") + "."


def _changed(log: float) -> str:
    part = math.exp(log) - 1
    if abs(part) < _SAME:
        return "stayed the same within 1 %"
    return f"{'rose' if part > 0 else 'fell'} by {abs(part):.0%}"


def _rank(part: pd.DataFrame) -> tuple[tuple[int, str], ...]:
    """The place of a part: by benchmark and setting, then float32 before others, cold before hot, forward first."""
    first = part.iloc[0]
    orders = (("bench", BENCHES), ("setting", ()), ("dtype", DTYPES), ("cache", CACHES))
    places = ((list(names), str(first[column])) for column, names in (*orders, ("direction", CALLS)))
    return tuple((names.index(value) if value in names else len(names), value) for names, value in places)
