"""The result of a run in a few sentences: how many rows have a time, how fast they are, what the gate refused.

They come before the tables at the end of `make bench`. A ratio is the geometric mean over the workloads of one operator
in one setting, in NCHW and float32: the first row of the tables, and what people ask first.
"""

from __future__ import annotations

from statistics import geometric_mean

import pandas as pd

from harness.measuring import results

_DIRECTIONS = {"forward": "forward", "grad_image": "image gradient", "grad_boxes": "box gradient"}
# Statuses of rows that were never put to the gate, and why.
_NOT_JUDGED = {
    "MISSING": "because the library or the device is missing",
    "REFUSED": "because the implementation does not take the input",
    "NO_TIME": "because the run's time was over",
}
# More refused rows than this are counted, not named.
_MOST_NAMES = 3


def sentences(newest: pd.DataFrame, device: str) -> list[str]:
    """The result of a device's run, most important first.

    newest  lines of `results.throughput`, of one run of each device.
    device  as results are filed.
    """
    rows = newest[newest.device == device]
    if rows.empty:
        return [f"{device} has no rows."]
    return [_rows(rows), *_speeds(rows), _refusals(rows), *_not_judged(rows)]


def _rows(rows: pd.DataFrame) -> str:
    first, timed = rows.iloc[0], int(rows.median_s.notna().sum())
    once = rows.drop_duplicates(["bench", "setting", "workload", "direction", "backend", "layout", "dtype", "digest"])
    compared, differing = int(once.compared.fillna(0).sum()), int(once.differing.fillna(0).sum())
    bits = f" {compared:,} outputs were compared bit by bit: {differing or 'none'} of them differ." if compared else ""
    return (
        f"{first.device}, run {first.run} ({first.kind}): {timed:,} of {len(rows):,} rows have a time, each after the "
        f"gate passed its result.{bits}"
    )


def _speeds(rows: pd.DataFrame) -> list[str]:
    """A sentence for each operator, setting and direction of this package and of functions named by the user."""
    known = {*results.OURS, *results.OTHERS}
    subjects = rows.backend.isin(["roi_align", "roi_align_cuda"]) | ~rows.backend.isin(known)
    usual = (rows.layout == "contiguous") & (rows.dtype == "float32") & rows.ratio_to_peer.notna()
    parts = results.plain_calls(rows[subjects & usual])
    order = [*results.BENCHES]
    groups = parts.groupby(["backend", "bench", "setting"], sort=False)
    return [
        _speed(lines[lines.direction == direction], word)
        for _, lines in sorted(groups, key=lambda each: (each[0][0] in known, order.index(str(each[0][1]))))
        for direction, word in _DIRECTIONS.items()
        if (lines.direction == direction).any()
    ]


def _speed(lines: pd.DataFrame, direction: str) -> str:
    first, ratios = lines.iloc[0], lines.ratio_to_peer.astype(float)
    of = "" if first.backend in results.OURS else f"{first.title}: "
    setting = f" ({first.setting})" if first.setting else ""
    many = f"geometric mean of {len(ratios)} workloads, {_times(ratios.min())} to {_times(ratios.max())}"
    return (
        f"{of}{first.bench} {direction}{setting} is {_times(geometric_mean(ratios))} times as fast as "
        f"{results.OTHERS[first.peer]} ({many if len(ratios) > 1 else first.workload})."
    )


def _times(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"


def _refusals(rows: pd.DataFrame) -> str:
    lines = rows[rows.median_s.isna() & ~rows.status.isin(_NOT_JUDGED)]
    if lines.empty:
        return "The gate refused no row."
    names = [
        f"{line.workload} {_DIRECTIONS.get(line.direction, line.direction)} of {line.column} ({line.status})"
        for line in lines.head(_MOST_NAMES).itertuples()
    ]
    more = [f"{len(lines) - _MOST_NAMES:,} more"] if len(lines) > _MOST_NAMES else []
    return f"The gate refused {len(lines):,} row{'s' if len(lines) > 1 else ''}: {'; '.join([*names, *more])}."


def _not_judged(rows: pd.DataFrame) -> list[str]:
    counts = rows[rows.median_s.isna()].status.value_counts()
    return [
        f"{count:,} row{'s' if count > 1 else ''} {'were' if count > 1 else 'was'} not measured {_NOT_JUDGED[status]}."
        for status, count in counts.items()
        if status in _NOT_JUDGED
    ]
