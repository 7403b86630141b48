"""results/conformance-times.csv: how long each library takes, as a ratio to the fastest right one.

A time exists only for a result that was judged right on that very input; where there is none, a word says why.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.report.proofs.matrices import read

CSV_COLUMNS = [
    "operator", "workload", "direction", "backend", "title", "device", "status", "reason", "ms", "ms_low", "ms_high",
    "blocks",
]  # fmt: skip
RIGHT = "ok"
WORDS = {
    "wrong": "wrong",
    "crash": "crashes",
    "hang": "hangs",
    "slow": "too slow",
    "undeclared": "not offered",
    "missing": "not tried",
}


@dataclass(frozen=True)
class Timing:
    """A library's time for a workload in a direction. status: RIGHT, or why there is no time.

    ms  the median over the blocks in milliseconds, between ms_low and ms_high; NaN where there is none.
    """

    operator: str
    workload: str
    direction: str
    backend: str
    title: str
    device: str
    status: str
    reason: str
    ms: float
    ms_low: float
    ms_high: float
    blocks: int

    @property
    def is_right(self) -> bool:
        """Whether there is a time."""
        return self.status == RIGHT


@dataclass(frozen=True)
class Work:
    """What is timed of an operator on a device: one row of its table."""

    operator: str
    device: str
    workload: str
    direction: str


@dataclass(frozen=True)
class Ratio:
    """A library's time by that of the fastest right one, and the same of its fastest and its slowest block."""

    ratio: float
    low: float
    high: float


def read_timings(path: Path) -> tuple[Timing, ...]:
    """The times of a file, () if there is none; ValueError in a sentence if it is not of this form."""
    if not path.exists():
        return ()
    rows = []
    for line in read(path, CSV_COLUMNS)[CSV_COLUMNS].to_dict("records"):
        status = line["status"]
        if status != RIGHT and status not in WORDS:
            raise ValueError(f"it has the status {status!r}; {', '.join((RIGHT, *WORDS))} are accepted")
        numbers = {name: _number(name, line[name], status == RIGHT) for name in ("ms", "ms_low", "ms_high")}
        rows.append(Timing(**{**line, **numbers, "blocks": int(_number("blocks", line["blocks"] or "0", False))}))
    return tuple(rows)


def by_work(timings: Iterable[Timing], backends: Iterable[str]) -> dict[Work, dict[str, Timing]]:
    """The times of these backends by row of a table and by backend, in the file's order."""
    names = set(backends)
    rows: dict[Work, dict[str, Timing]] = {}
    for each in timings:
        if each.backend in names:
            work = Work(each.operator, each.device, each.workload, each.direction)
            rows.setdefault(work, {})[each.backend] = each
    return rows


def fastest(row: Iterable[Timing]) -> Timing | None:
    """The fastest right one, None if none is right."""
    return min((each for each in row if each.is_right), key=lambda each: each.ms, default=None)


def ratio(timing: Timing, best: Timing) -> Ratio:
    """A right result's ratio to the fastest."""
    return Ratio(timing.ms / best.ms, timing.ms_low / best.ms, timing.ms_high / best.ms)


def _number(name: str, text: str, is_time: bool) -> float:
    """A number of the file; the time of a right result must be positive."""
    try:
        value = float(text) if text else math.nan
    except ValueError:
        raise ValueError(f"it has {text!r} as {name}; a number is expected") from None
    if is_time and not value > 0:
        raise ValueError(f"it has {text!r} as {name} of a right result; a time in milliseconds is expected")
    return value
