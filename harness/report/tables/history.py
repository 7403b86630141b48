"""How a device's times changed from run to run, with the revision of each run.

A machine that got slower, a new driver or a newer library changes times as a new kernel does. So the peers of each run
are shown beside this project's columns, since they would have slowed down too, and between two runs whose fingerprints
(measuring/fingerprint.py) are not the same stands a mark, with what changed. Where a row's inputs changed, its times
before and after are not compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from harness.measuring import fingerprint
from harness.report.pictures.bars import COLOURS, INK, STYLE, Picture, svg_of
from harness.report.tables import times as tables
from harness.report.tables.times import Table

Machines = Mapping[tuple[str, str], dict[str, Any]]
# What rows have in common that are shown together: one table, and for the first type and cache of each a picture.
_GROUP = ["bench", "setting", "direction", "dtype", "cache"]
_ACROSS = 4
# From one tick of a picture to the next: what is added where changes are small, and the factor where they are not.
_ADDED = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_FACTORS = (2, 4, 10)
# The most runs whose revisions fit below a picture; of more, every second, third and so on is named.
_NAMED = 8


@dataclass(frozen=True)
class Run:
    """One run, in the order of time.

    label   its revision in seven digits, with a + if files were changed.
    changes what of machine and software was not the same in the run before.
    mark    a number for them, as in "[1]", or "" if there are none.
    """

    name: str
    label: str
    changes: tuple[str, ...]
    mark: str

    @property
    def header(self) -> str:
        """What stands above its column."""
        return f"{self.label}, {self.name[:8]}" + (f" ({self.told})" if self.changes else "")

    @property
    def told(self) -> str:
        return f"{self.mark} {', '.join(self.changes)}"


@dataclass(frozen=True)
class History:
    """Pictures and tables, and what a reader should know of both."""

    said: tuple[str, ...]
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
    drawn = (_picture(part[part.series == ""], _runs(part, machines)) for part in firsts.values())
    runs = _runs(lines, machines)
    return History(
        said=(
            f"{len(runs)} runs with the default allocator, oldest first, each by the revision that it is of; a + "
            "says that files were changed since. The peers are other people's code in the same runs: where they became "
            "slower too, the machine did.",
            "At a dashed line, and at a number in a table's header, the machine or its software changed, which changes "
            "times as a new kernel does."
            if any(run.changes for run in runs)
            else "Nothing that is known of the machine and its software changed between these runs; but they were "
            "measured one after the other, and not in turns.",
        ),
        pictures=tuple(picture for picture in drawn if picture is not None),
        tables=tuple(_table(part, _runs(part, machines)) for part in parts),
    )


def _rank(part: pd.DataFrame) -> tuple[tuple[int, str], ...]:
    """Where a part stands: by benchmark and setting, then float32 before others, cold before hot, forward first."""
    first = part.iloc[0]
    known = (("bench", tables.BENCHES), ("setting", ()), ("dtype", tables.DTYPES), ("cache", tables.CACHES))
    places = ((list(names), str(first[column])) for column, names in (*known, ("direction", tables.CALLS)))
    return tuple((names.index(value) if value in names else len(names), value) for names, value in places)


def _runs(lines: pd.DataFrame, machines: Machines) -> list[Run]:
    """The runs that have any of these rows, in the order of time: their names begin with it."""
    made: list[Run] = []
    before = None
    for device, name in sorted(set(zip(lines.device, lines.run, strict=True))):
        machine = machines[device, name]
        changes = () if before is None else tuple(fingerprint.changes(before, machine))
        mark = f"[{1 + sum(bool(run.changes) for run in made)}]" if changes else ""
        made.append(Run(name, fingerprint.revision(machine), changes, mark))
        before = machine
    return made


@dataclass(frozen=True)
class _Point:
    """One row in one run: `place` of the run, seconds or NaN with the status in place of them.

    since   where times on the same inputs begin: those before are not compared with this one.
    """

    place: int
    seconds: float
    status: str
    since: int


def _points(lines: pd.DataFrame, runs: Sequence[Run]) -> list[_Point]:
    """A row's points, of those runs that have it."""
    of_run = {str(line.run): line for line in lines.itertuples()}
    made: list[_Point] = []
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
        made.append(_Point(place, float(line.median_s), str(line.status), since))
    return made


def _rows(part: pd.DataFrame, runs: Sequence[Run]) -> Iterator[tuple[str, tuple[str, str], list[_Point]]]:
    """(workload, (backend, layout), points), workloads in the order of the runs, columns in that of all tables."""
    for workload, of_workload in part.groupby("workload", sort=False):
        for backend, layout in tables.columns(part):
            lines = of_workload[(of_workload.backend == backend) & (of_workload.layout == layout)]
            if len(lines):
                yield str(workload), (backend, layout), _points(lines, runs)


def _table(part: pd.DataFrame, runs: Sequence[Run]) -> Table:
    """A line for each workload and column, a cell for each run."""
    bench, rows = str(part.bench.iloc[0]), list(_rows(part, runs))
    return Table(
        f"{_title(part)}, run by run: median time, and how much longer than in the run before",
        ("workload and column", *(run.header for run in runs)),
        tuple((f"{name}, {tables.column(*pair, bench)}", *_cells(points, len(runs))) for name, pair, points in rows),
        tables.about(part),
        row_marks=tuple({"layout": layout} if backend in tables.OURS else {} for _, (backend, layout), _ in rows),
    )


def _cells(points: Sequence[_Point], count: int) -> list[str]:
    cells = [""] * count
    before: _Point | None = None
    for point in points:
        if not math.isfinite(point.seconds):
            cells[point.place] = point.status
            continue
        cells[point.place] = f"{tables.milliseconds(point.seconds)} ms"
        if before is not None and before.since == point.since:
            cells[point.place] += f" ({point.seconds / before.seconds - 1:+.0%})"
        elif before is not None:
            cells[point.place] += " (other inputs)"
        before = point
    return cells


def _picture(part: pd.DataFrame, runs: Sequence[Run]) -> Picture | None:
    """A small picture for each workload: time relative to the first run, a line for each column."""
    rows = [row for row in _rows(part, runs) if any(math.isfinite(point.seconds) for point in row[2])]
    workloads = list(dict.fromkeys(workload for workload, _, _ in rows))
    if not workloads:
        return None
    pairs = [pair for pair in tables.columns(part) if any(pair == row[1] for row in rows)]
    names = {pair: tables.column(*pair, str(part.bench.iloc[0])) for pair in pairs}
    across, down = min(_ACROSS, len(workloads)), math.ceil(len(workloads) / _ACROSS)
    said: list[str] = []
    with matplotlib.rc_context({**STYLE, "font.size": 7}):
        figure = Figure(figsize=(7, 0.9 + 1.25 * down), layout="constrained")
        grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
        for axes, workload in zip(grid.flat, workloads, strict=False):
            _frame(axes, workload, runs)
            for _, pair, points in (row for row in rows if row[0] == workload):
                for segment in _segments(points):
                    axes.plot(*zip(*segment, strict=True), "o-", color=COLOURS.get(pair), markersize=2, linewidth=1)
                said += [f"{workload}, {names[pair]}: {_told(points, runs)}"]
        # The axes share one scale.
        low, high = grid.flat[0].get_ylim()
        high *= (high / low) ** 0.15  # for the numbers of what changed
        grid.flat[0].set_ylim(low, high)
        grid.flat[0].set_yticks(_ticks(low, high))
        grid.flat[0].yaxis.set_major_formatter("{x:.3g}")
        grid.flat[0].yaxis.set_minor_locator(NullLocator())
        for axes in grid.flat[len(workloads) :]:
            axes.set_visible(False)
        for column in range(across):
            # The last one of its column that is there names the runs.
            last = [axes for axes in grid[:, column] if axes.get_visible()][-1]
            last.tick_params(labelbottom=True)
        figure.supylabel("time, first run = 1", fontsize=8)
        keys = [Line2D([], [], color=COLOURS.get(pair), marker="o", markersize=3, label=names[pair]) for pair in pairs]
        figure.legend(handles=keys, loc="outside upper center", ncols=min(4, len(pairs)), frameon=False, fontsize=8)
        svg = svg_of(figure)
    marks = "; ".join(run.told for run in runs if run.changes)
    anew = any(point.since for _, _, points in rows for point in points)
    caption = (
        f"{_title(part)}, run by run: median time relative to the first run, above 1 is slower. Peers of the same runs "
        "are drawn too: a machine that got slower slows them as well"
        + (f". At a dashed line the machine or its software changed: {marks}" if marks else "")
        + (". A line that begins again at 1 is of other inputs from there on" if anew else "")
    )
    return Picture(svg, caption, f"{caption}. {'; '.join(said)}.", tables.about(part))


def _frame(axes: Axes, workload: str, runs: Sequence[Run]) -> None:
    """What stands around the lines of one workload."""
    axes.set_title(workload, fontsize=7, pad=3)
    axes.set_yscale("log")
    axes.axhline(1, color=INK, linewidth=0.5, alpha=0.5)
    step = math.ceil(len(runs) / _NAMED)
    named = range(0, len(runs), step)
    axes.set_xticks(named, [runs[place].label for place in named], rotation=90)
    for place, run in enumerate(runs):
        if run.changes:
            axes.axvline(place - 0.5, color=INK, linewidth=0.8, linestyle="--")
            axes.text(place - 0.45, 1, run.mark, transform=axes.get_xaxis_transform(), va="top", fontsize=6)


def _ticks(low: float, high: float) -> list[float]:
    """Up to seven round numbers between two limits, of which the lower is below 1 and the higher above it."""
    if high < 3 * low:
        added = next(each for each in _ADDED if (high - low) / each <= 6)
        return [added * times for times in range(math.ceil(low / added), math.floor(high / added) + 1)]
    factor = next((each for each in _FACTORS if math.log(high / low, each) <= 6), _FACTORS[-1])
    powers = range(math.ceil(math.log(low, factor)), math.floor(math.log(high, factor)) + 1)
    return [float(factor) ** power for power in powers]


def _segments(points: Sequence[_Point]) -> list[list[tuple[int, float]]]:
    """(place, time over the first one on the same inputs): each list is a line, which ends where a run has no time."""
    made: list[list[tuple[int, float]]] = []
    timed = [point for point in points if math.isfinite(point.seconds)]
    before: _Point | None = None
    for point in timed:
        first = next(each for each in timed if each.since == point.since)
        if before is None or before.since != point.since or before.place + 1 != point.place:
            made.append([])
        made[-1].append((point.place, point.seconds / first.seconds))
        before = point
    return made


def _told(points: Sequence[_Point], runs: Sequence[Run]) -> str:
    """From where to where, for who does not see the picture; the table has every run."""
    timed = [point for point in points if math.isfinite(point.seconds)]
    ends = (f"{tables.milliseconds(point.seconds)} ms at {runs[point.place].label}" for point in (timed[0], timed[-1]))
    return f"from {' to '.join(ends)}"


def _title(part: pd.DataFrame) -> str:
    first = part.iloc[0]
    # A Series has a dtype of its own.
    setting, dtype = str(first["setting"]), str(first["dtype"])
    kind = "" if first.cache == "warm" and dtype == "float32" else f", {dtype}"
    return (
        f"{first.bench}{f', {setting}' if setting else ''}. {tables.CALLS[first.direction]}{kind}"
        f"{tables.CACHES[first.cache]}"
    )
