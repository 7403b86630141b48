"""The times of libraries on the same workloads, to go with the matrix: a time counts only for a right result.

Each result is judged on the timed input before it has a time. Each library is timed in a process of its own, in blocks
that alternate between the libraries, so a slow minute of the machine affects all of them. The benchmarks
(harness/measuring) time this project far more closely; this module compares libraries that cannot share a process.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

from harness import faults, repository
from harness.judging.isolation import isolated
from harness.judging.sample import judge_sample
from harness.measuring import devices
from harness.measuring.foreign import fit_to_sheet
from harness.measuring.workloads import WORKLOADS
from harness.operators import OPERATORS
from harness.operators.arrays import DIRECTIONS, Direction
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName
from harness.operators.verdict import Crash, Hang, Status
from harness.repository import MissingLibrary

# Few boxes on a large map; many on few channels; a detector's level P2.
WORKLOAD_NAMES = ("seed_test", "boxes_1000", "fpn_p2_test")
# The number of blocks per library, and the time limit of one call in seconds.
BLOCKS, PATIENCE_S = 3, 20.0


@dataclass(frozen=True)
class Time:
    """A library's time for one direction of a workload.

    status   "ok", or why there is no time: "wrong", "crash", "slow", "undeclared" or "missing", with the reason.
    ms       the median of its blocks in milliseconds, or None; ms_low and ms_high: the fastest and slowest block.
    """

    operator: OperatorName
    workload: str
    direction: Direction
    backend: str
    title: str
    device: str
    status: str
    reason: str
    ms: float | None = None
    ms_low: float | None = None
    ms_high: float | None = None
    blocks: int = 0


CSV_COLUMNS = [each.name for each in fields(Time)]
_KINDS = {Status.CRASH: "crash", Status.HANG: "slow"}


def times(names: Sequence[str], operators: Sequence[OperatorName], tell: Callable[[str], None]) -> list[Time]:
    """The times of these backends for these operators; tell is called with the name of each row."""
    rows: list[Time] = []
    device = devices.load("cpu").name()
    for operator in operators:
        here: dict[str, Backend[Any]] = {}
        for name in names:
            try:
                here[name] = isolated(name, operator, PATIENCE_S, faults.load, math.inf)
            except (MissingLibrary, Crash, Hang) as error:
                tell(f"{name}, {operator}: missing: {error}")
        for workload, setting in _workloads(operator):
            inputs = OPERATORS[operator].from_workload(workload.inputs(), setting)
            label = f"{workload.name}, {setting}" if setting else workload.name
            for direction in DIRECTIONS:
                tell(f"{operator}, {label}, {direction}")
                rows += [
                    Time(operator, label, direction, name, here[name].title, device, *of)
                    for name, of in _side_by_side(here, inputs, direction).items()
                ]
        for backend in here.values():
            backend.restart()
    return rows


def _workloads(operator: OperatorName) -> list[tuple[Any, str]]:
    by_name = {each.name: each for each in WORKLOADS}
    return [(by_name[name], OPERATORS[operator].settings[0]) for name in WORKLOAD_NAMES]


# The last fields of a Time.
_Of = tuple[Any, ...]


def _side_by_side(here: dict[str, Backend[Any]], inputs: Any, direction: Direction) -> dict[str, _Of]:
    """The fields of each backend's row for one call; backends with a right result are timed in turns."""
    rows: dict[str, _Of] = {}
    right: dict[str, list[float]] = {}
    calls = {name: fit_to_sheet(inputs, backend.sheet) for name, backend in here.items()}
    for name, backend in here.items():
        refusal = backend.refuses(calls[name], direction)
        rows[name] = ("undeclared", refusal) if refusal else _gate(backend, calls[name], direction)
        if rows[name][0] == "ok":
            right[name] = []
        else:
            backend.restart()
    for block in range(BLOCKS):
        for name in list(right)[:: -1 if block % 2 else 1]:
            seconds_of = here[name].seconds
            assert seconds_of is not None
            try:
                right[name].append(1000 * median(seconds_of(calls[name], direction)))
            except (Crash, Hang, RuntimeError) as error:
                rows[name] = ("slow" if isinstance(error, Hang) else "crash", str(error))
                del right[name]
    return rows | {name: ("ok", "", median(ms), min(ms), max(ms), len(ms)) for name, ms in right.items()}


def _gate(backend: Backend[Any], inputs: Any, direction: Direction) -> _Of:
    try:
        result = backend.run(inputs, direction)
    except Exception as error:
        return {Crash: "crash", Hang: "slow"}.get(type(error), "wrong"), f"{type(error).__name__}: {error}"
    verdict = judge_sample(inputs, direction, result, pinned=direction in backend.sheet.pinned)
    return ("ok", "") if verdict.passed else (_KINDS.get(verdict.status, "wrong"), verdict.reason)


def write(path: Path, rows: Iterable[Time]) -> None:
    """Writes the times, in milliseconds with four digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for each in rows:
        writer.writerow(
            {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in asdict(each).items()}
        )
    repository.replace(path, text.getvalue())
