"""SAME, FAST, SLOW or UNCLEAR, decided on the medians of processes.

Samples within one process share its memory layout and its minute of the machine: a thousand of them are one observation
of the revision, not a thousand. So a process counts as one number per row, its median, and the processes of both sides
are ranked together. An alarm needs three things at once:

    a one-sided rank test (Mann-Whitney, exact): no assumption about how noise is distributed
    Holm's correction over both directions of all rows: sixty rows are sixty chances of bad luck a minimum effect: small
    differences do not matter, however certain

SAME needs more than the lack of an alarm: an interval that excludes the difference of interest. Otherwise a row is
UNCLEAR, with advice. `simulation.py` measures how often all this is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import stats

from harness.operators.arrays import Array

Conclusion = Literal["SAME", "FAST", "SLOW", "UNCLEAR"]
# One row: seconds of the base's processes and of the new one's, one median each.
Medians = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Thresholds:
    """The thresholds of an alarm; `simulation.py` has figures for the defaults.

    level    the probability that any row of an unchanged comparison passes the rank tests, whatever the noise.
    effect   the minimum difference for an alarm, relative to the base: 0.015 is 1.5 %.
    step     the difference of interest: SAME means that the interval excludes it.
    """

    level: float = 0.05
    effect: float = 0.015
    step: float = 0.03


LIMITS = Thresholds()
# The default number of processes per side; `simulation.py` has figures for it.
PROCESSES = 10
# The confidence of the reported interval. It decides no alarm, so it is not corrected for the number of rows.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Decision:
    """The decision on one row.

    ratio     median of the new processes over that of the base's; above 1 is slower. NaN if one side has no times.
    interval  of that ratio, with CONFIDENCE, by bootstrap over processes; NaNs if there are too few processes.
    p_slow    one-sided p value of the rank test that the new side is slower; p_fast, that it is faster; uncorrected.
    corrected the smaller of the two after Holm's correction over the whole comparison; compared with the level.
    reason    the verdict in words, with advice.
    """

    row: str
    verdict: Conclusion
    ratio: float
    interval: tuple[float, float]
    p_slow: float
    p_fast: float
    corrected: float
    reason: str


def decide(rows: Mapping[str, Medians], rule: Thresholds = LIMITS) -> list[Decision]:
    """A decision for each row, in order; Holm's correction covers all of them.

    ValueError for a median that is not positive: logarithms are taken, and a clock gives no other.
    """
    for row, sides in rows.items():
        if not all(0 < each < math.inf for side in sides for each in side):
            raise ValueError(f"{row} has a median that is not a time: {sides}; a row without times is to be left out.")
    complete = {row: sides for row, sides in rows.items() if all(len(side) for side in sides)}
    raw = np.array([rank_tests(*map(np.asarray, sides)) for sides in complete.values()]).reshape(-1, 2)
    corrected = dict(zip(complete, holm(raw.ravel()).reshape(-1, 2), strict=True))
    p_values = dict(zip(complete, raw, strict=True))
    nothing = np.full(2, np.nan)
    return [
        _decision(row, sides, p_values.get(row, nothing), corrected.get(row, nothing), len(rows), rule)
        for row, sides in rows.items()
    ]


def after_rerun(first: Decision, again: Decision | None) -> Decision:
    """A SLOW decision after a rerun in new processes: the rerun's decision if that is SLOW too, else UNCLEAR.

    again: None if the rerun has no times of the row.
    """
    if again is None:
        reason = f"SLOW at first ({first.ratio:.3f}), but its rerun has no times: its result was not right again."
        return replace(first, verdict="UNCLEAR", reason=reason)
    if again.verdict == "SLOW":
        return replace(again, reason=f"{again.reason} Confirmed by the rerun; at first it was {first.ratio:.3f}.")
    reason = (
        f"SLOW at first ({first.ratio:.3f}), but the rerun says {again.verdict} ({again.ratio:.3f}): the machine "
        "changed between the two. Compare again when it is quiet."
    )
    return replace(again, verdict="UNCLEAR", reason=reason)


def rank_tests(base: Array, new: Array) -> Array:
    """One-sided exact p values along the last axis, (..., 2): the new side is slower; the new side is faster."""
    options: dict[str, Any] = {"axis": -1, "method": "exact"}
    slower = stats.mannwhitneyu(new, base, alternative="greater", **options).pvalue
    faster = stats.mannwhitneyu(new, base, alternative="less", **options).pvalue
    both: Array = np.stack([slower, faster], axis=-1)
    return both


def holm(p_values: Array) -> Array:
    """Holm's step-down correction over the last axis; SciPy only offers false discovery control."""
    order = np.argsort(p_values, axis=-1)
    count = p_values.shape[-1]
    adjusted = np.take_along_axis(p_values, order, axis=-1) * np.arange(count, 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(adjusted, axis=-1), 1.0)
    result = np.empty_like(adjusted)
    np.put_along_axis(result, order, adjusted, axis=-1)
    return result


def beyond(ratio: Array | float, effect: float) -> Array:
    """1 if a ratio is slower by more than the effect, -1 if it is faster by more, else 0."""
    logarithm = np.log(ratio)
    direction: Array = np.sign(logarithm) * (np.abs(logarithm) > math.log1p(effect))
    return direction


def alarms(base: Array, new: Array, rule: Thresholds = LIMITS) -> Array:
    """The alarms of `decide` for whole comparisons at once: 1 for SLOW, -1 for FAST, else 0, (..., rows).

    base, new: medians (..., rows, processes).
    """
    p_values = rank_tests(base, new)
    corrected = holm(p_values.reshape(*p_values.shape[:-2], -1)).reshape(p_values.shape)
    side = beyond(np.median(new, axis=-1) / np.median(base, axis=-1), rule.effect)
    certain = np.where(side > 0, corrected[..., 0], corrected[..., 1]) <= rule.level
    flags: Array = side * certain
    return flags


def least_processes(rows: int, rule: Thresholds = LIMITS) -> int:
    """The fewest processes per side with which the rank test can raise an alarm among `rows` rows."""
    count = 1
    while 2 * rows / math.comb(2 * count, count) > rule.level:
        count += 1
    return count


def interval(base: Sequence[float], new: Sequence[float]) -> tuple[float, float]:
    """The interval of the ratio of medians, by bootstrap over processes; the resamples are the same everywhere."""
    limits = stats.bootstrap(
        (np.log(new), np.log(base)),
        lambda of_new, of_base, axis: np.median(of_new, axis=axis) - np.median(of_base, axis=axis),
        n_resamples=2000,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return math.exp(limits.low), math.exp(limits.high)


def _decision(row: str, sides: Medians, p_values: Array, corrected: Array, rows: int, rule: Thresholds) -> Decision:
    base, new = sides
    fewest, required = min(len(base), len(new)), least_processes(rows, rule)
    ratio = float(np.median(new) / np.median(base)) if fewest else math.nan
    limits = interval(base, new) if fewest > 1 else (math.nan, math.nan)
    side = int(beyond(ratio, rule.effect)) if fewest else 0
    smallest = float(np.min(corrected))
    p_side = float(corrected[0] if side > 0 else corrected[1])
    verdict: Conclusion = "UNCLEAR"
    if fewest < required:
        count = f"{fewest} process{'' if fewest == 1 else 'es'} a side"
        reason = f"{count} cannot be told from luck among {rows} rows: have {required} or more, or fewer rows."
    elif side and p_side <= rule.level:
        verdict = "SLOW" if side > 0 else "FAST"
        reason = (
            f"{_change(ratio)}, and hardly a process of one side is among the other's (p = {p_side:.1g} of all rows)."
        )
    elif side:
        reason = (
            f"{_change(ratio)}, but the processes of both sides overlap (p = {p_side:.2g} of all rows): have more "
            "processes, or a quieter machine."
        )
    elif max(limits[1], 1 / limits[0]) >= 1 + rule.step:
        reason = (
            f"No difference is seen, but noise leaves room for one from {_change(limits[0])} to {_change(limits[1])}: "
            "have more processes, or a quieter machine."
        )
    elif smallest <= rule.level:
        verdict = "SAME"
        reason = f"{_change(ratio)}: certain (p = {smallest:.1g}), but below the {rule.effect:.1%} that count."
    else:
        verdict = "SAME"
        reason = f"There is no room for a difference of {rule.step:.0%}."
    return Decision(row, verdict, ratio, limits, float(p_values[0]), float(p_values[1]), smallest, reason)


def _change(ratio: float) -> str:
    return f"{abs(ratio - 1):.1%} {'slower' if ratio >= 1 else 'faster'}"
