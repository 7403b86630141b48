"""A device's runs one after the other, as tables: a cell for each run, and what changed between two of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from harness.measuring import fingerprint
from harness.report import tags
from harness.report.names import CACHES, CALLS, family
from harness.report.tables.table import Table, columns, milliseconds

Machines = Mapping[tuple[str, str], dict[str, Any]]


@dataclass(frozen=True)
class HistoryRun:
    """One of the runs, which are in order of time.

    label   its revision in seven digits, with a + if files were changed.
    changes what of machine and software was not the same in the run before.
    number  a number for them, as in "[1]", or "" if there are none.
    """

    name: str
    label: str
    changes: tuple[str, ...]
    number: str

    @property
    def header(self) -> str:
        """What is above its column."""
        return f"{self.label}, {self.name[:8]}" + (f" ({self.note})" if self.changes else "")

    @property
    def note(self) -> str:
        """The number and the changes, as below a picture and in a header."""
        return f"{self.number} {', '.join(self.changes)}"


def runs_of(lines: pd.DataFrame, machines: Machines) -> list[HistoryRun]:
    """The runs that have any of these rows, in the order of time: their names begin with it."""
    runs: list[HistoryRun] = []
    before = None
    for device, name in sorted(set(zip(lines.device, lines.run, strict=True))):
        machine = machines[device, name]
        changes = () if before is None else tuple(fingerprint.changes(before, machine))
        number = f"[{1 + sum(bool(run.changes) for run in runs)}]" if changes else ""
        runs.append(HistoryRun(name, fingerprint.revision(machine), changes, number))
        before = machine
    return runs


@dataclass(frozen=True)
class HistoryPoint:
    """One row in one run: `place` of the run, seconds or NaN with the status in place of them.

    since   where times on the same inputs begin: those before are not compared with this one.
    """

    place: int
    seconds: float
    status: str
    since: int


def points_of(lines: pd.DataFrame, runs: Sequence[HistoryRun]) -> list[HistoryPoint]:
    """A row's points, of those runs that have it."""
    of_run = {str(line.run): line for line in lines.itertuples()}
    points: list[HistoryPoint] = []
    inputs: object = None
    since = 0
    for place, run in enumerate(runs):
        line: Any = of_run.get(run.name)
        if line is None:
            continue
        # Old files do not say what their inputs were.
        if pd.notna(line.inputs_digest) and line.inputs_digest:
            since = place if inputs is not None and inputs != line.inputs_digest else since
            inputs = line.inputs_digest
        points.append(HistoryPoint(place, float(line.median_s), str(line.status), since))
    return points


def rows_of(part: pd.DataFrame, runs: Sequence[HistoryRun]) -> Iterator[tuple[str, str, list[HistoryPoint]]]:
    """(workload, column, points), workloads in the order of the runs, columns in that of all tables."""
    names = columns(part)
    rows = part[["workload", "column", "run", "inputs_digest", "median_s", "status"]]
    for workload, of_workload in rows.groupby("workload", sort=False):
        lines = dict(iter(of_workload.groupby("column", sort=False)))
        yield from ((str(workload), name, points_of(lines[name], runs)) for name in names if name in lines)


def table_of(part: pd.DataFrame, runs: Sequence[HistoryRun]) -> Table:
    """A line for each workload and column, a cell for each run."""
    rows, of_columns = list(rows_of(part, runs)), columns(part)
    return Table(
        f"{title_of(part)}, run by run: median time, and how much longer than in the run before",
        ("workload and column", *(run.header for run in runs)),
        tuple((f"{name}, {column}", *_cells(points, len(runs))) for name, column, points in rows),
        tags.of(part),
        row_tags=tuple(of_columns[column] for _, column, _ in rows),
    )


def _cells(points: Sequence[HistoryPoint], count: int) -> list[str]:
    cells = [""] * count
    before: HistoryPoint | None = None
    for point in points:
        if not math.isfinite(point.seconds):
            cells[point.place] = point.status
            continue
        cells[point.place] = f"{milliseconds(point.seconds)} ms"
        if before is not None and before.since == point.since:
            cells[point.place] += f" ({point.seconds / before.seconds - 1:+.0%})"
        elif before is not None:
            cells[point.place] += " (other inputs)"
        before = point
    return cells


def title_of(part: pd.DataFrame) -> str:
    """What a caption begins with."""
    first = part.iloc[0]
    dtype = str(first["dtype"])  # a Series has a dtype of its own
    of_dtype = "" if first.cache == "warm" and dtype == "float32" else f", {dtype}"
    return f"{family(part)}. {CALLS[first.direction]}{of_dtype}{CACHES[first.cache]}"
