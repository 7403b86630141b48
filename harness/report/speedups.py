"""How many times as fast as each other library, per operator and direction: the report's first figures.

One figure has to stand for many calls, so it is made of the calls that a user of PyTorch makes: float32, the default
layout (NCHW) and allocator, and of a GPU data that is not in its cache yet. Launch-bound work is left out, since every
library's time there is a launch. All other columns have tables of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import geometric_mean

import pandas as pd

from harness.measuring.results import BENCHES, OTHERS, OURS, plain_calls
from harness.report.names import DIRECTIONS, DTYPES

# Together these are one call.
_CALL = ["setting", "workload"]


@dataclass(frozen=True)
class Speedup:
    """One operator in one direction beside one other library, on the calls that both were timed on.

    times_as_fast  geometric mean over these calls, between the least and the most of them.
    least_call     the workload of the least, and its setting if it has one.
    slower         how many of the calls are slower than that library's.
    roof           how many times as fast as that library a call would be that moves its compulsory bytes at the copy
                   bandwidth; NaN where nobody counted the bytes.
    roof_fraction  the part of the copy bandwidth that this project's calls reach, as a geometric mean; NaN likewise.
    is_peer        whether the library is the one that ratios are to: it computes the same rule.
    """

    bench: str
    direction: str
    dtype: str
    other: str
    is_peer: bool
    times_as_fast: float
    least: float
    most: float
    least_call: str
    slower: int
    calls: int
    roof: float
    roof_fraction: float


def speedups(lines: pd.DataFrame) -> tuple[Speedup, ...]:
    """Of one device's lines of results.throughput: by operator, direction and library, each in the report's order."""
    timed = plain_calls(lines)
    # Without float32 the first type that there is.
    dtype = next((each for each in DTYPES if (timed.own & (timed.dtype == each)).any()), DTYPES[0])
    timed = timed[timed.dtype == dtype]
    rows: list[Speedup] = []
    for bench in BENCHES:
        for direction in DIRECTIONS:
            part = timed[(timed.bench == bench) & (timed.direction == direction)]
            ours = part[(part.backend.map(OURS) == OURS["roi_align"]) & (part.layout == "contiguous")]
            for name in _others(part):
                rows += _speedup(ours, part[part.column == name], bench, direction, name)
    return tuple(rows)


def _others(part: pd.DataFrame) -> list[str]:
    """The columns of other libraries, the peer first."""
    others = part[~part.own].drop_duplicates("column")
    ranks = list(OTHERS)
    ordered = sorted(
        others.itertuples(),
        key=lambda line: (
            line.backend != line.peer,
            ranks.index(line.backend) if line.backend in ranks else len(ranks),
            line.column,
        ),
    )
    return [str(line.column) for line in ordered]


def _speedup(ours: pd.DataFrame, theirs: pd.DataFrame, bench: str, direction: str, name: str) -> Iterable[Speedup]:
    """None or one of them: there has to be a call that both were timed on."""
    both = ours.drop_duplicates(_CALL).merge(theirs.drop_duplicates(_CALL), on=_CALL, suffixes=("", "_other"))
    if both.empty:
        return
    ratios = both.median_s_other / both.median_s
    fractions = both.roof_fraction.astype(float)
    slowest = both.loc[ratios.idxmin()]
    yield Speedup(
        bench=bench,
        direction=direction,
        dtype=str(slowest["dtype"]),
        other=name,
        is_peer=bool((theirs.backend == theirs.peer).all()),
        times_as_fast=_mean(ratios),
        least=float(ratios.min()),
        most=float(ratios.max()),
        least_call=", ".join(filter(None, (str(slowest.workload), str(slowest.setting)))),
        slower=int((ratios < 1).sum()),
        calls=len(both),
        roof=_mean(ratios / fractions),
        roof_fraction=_mean(fractions),
    )


def _mean(values: pd.Series) -> float:
    """The geometric mean; NaN if a value is missing, since a mean of other calls would be of other work."""
    return geometric_mean(values.astype(float))
