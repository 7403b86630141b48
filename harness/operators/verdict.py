"""Verdicts: the kind of right or wrong that a result is, and its worst value.

A suite that says only "not close" leaves the work to its reader. A Verdict names the output, its value, the expected
value, the bound, and the fraction of the bound in use: a drift from 12 % to 70 % is news before it is a failure.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from harness.operators.arrays import Array, Direction
from harness.operators.expected import Expected, Number, Place, size
from harness.operators.rounding import rounder
from harness.repository import ROOT


class Status(Enum):
    """EXACT: every value is the oracle's, rounded once. WITHIN: every value is within its bound. AMBIGUOUS: some value
    is right only because another order of rounding may take another branch. OUT: some value is wrong. SHAPE and DTYPE:
    the result has the wrong shape or dtype. ERROR: the call raised an exception. CRASH and HANG: the call ended its
    process, or did not return. HOLDS and BROKEN: a relation between several calls holds, or does not. JUDGE: the judge
    itself failed, which does not count against the implementation."""

    EXACT = "exact"
    WITHIN = "within"
    AMBIGUOUS = "ambiguous"
    OUT = "out"
    SHAPE = "shape"
    DTYPE = "dtype"
    ERROR = "error"
    CRASH = "crash"
    HANG = "hang"
    HOLDS = "holds"
    BROKEN = "broken"
    JUDGE = "judge"


@dataclass(frozen=True)
class Verdict:
    """The judgement of one result or property.

    fraction   the largest fraction of a bound in use, over all values judged by a bound.
    compared, exact, ambiguous  numbers of values.
    place, value, expected      of the worst value, if the status is OUT.
    reason     the failure in words, if the result did not pass.
    """

    status: Status
    fraction: float = 0.0
    compared: int = 0
    exact: int = 0
    ambiguous: int = 0
    place: Place | None = None
    value: float | None = None
    expected: Expected | None = None
    reason: str = ""

    @property
    def passed(self) -> bool:
        return self.status in (Status.EXACT, Status.WITHIN, Status.AMBIGUOUS, Status.HOLDS)

    def __str__(self) -> str:
        if not self.passed:
            return f"{self.status.name}: {self.reason}"
        if self.status is Status.HOLDS:
            return "HOLDS: the calls of this property are to each other as they must be."
        if not self.compared:
            return f"{self.status.name}: the result is empty, as it must be; there is no value to judge."
        return (
            f"{self.status.name}: {self.exact} of {self.compared} values exact, {self.ambiguous} ambiguous, "
            f"at most {self.fraction:.1%} of a bound used"
        )


def verdict_on(
    result: Array | BaseException,
    direction: Direction,
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    unrounded: Callable[[float], tuple[float, float]],
    values: Iterable[tuple[Place, Expected]],
) -> Verdict:
    """Judges `result`, a result or the exception in its place, against an oracle's expectations.

    unrounded: maps a result to the range that can have been accumulated (harness.operators.expected.before_rounding).
    """
    if isinstance(result, BaseException):
        return without_result(result)
    if not isinstance(result, np.ndarray):
        return Verdict(Status.ERROR, reason=f"It returned a {type(result).__name__}; an array is expected.")
    if result.shape != shape:
        return Verdict(Status.SHAPE, reason=f"The result has the shape {result.shape}; {shape} was expected.")
    if result.dtype != dtype:
        return Verdict(Status.DTYPE, reason=f"The result is of dtype {result.dtype}; {dtype} was expected.")
    to = rounder(dtype.name)
    compared = exact = ambiguous = 0
    largest, worst, worst_place, worst_expected = 0.0, 0.0, None, None
    for place, expected in values:
        value = float(result.item(*place))
        compared += 1
        if _same(value, to(float(expected.value)), expected.loose):
            exact += 1
            continue
        ends = unrounded(value)
        fraction = _fraction(ends, expected.value, expected.bound)
        if fraction <= 1:
            largest = max(largest, fraction)
        elif any(_within(ends, low, high) for low, high in expected.others):
            ambiguous += 1
        elif worst_expected is None or fraction > worst:
            worst, worst_place, worst_expected = fraction, place, expected
    if worst_expected is not None and worst_place is not None:
        value = float(result.item(*worst_place))
        return Verdict(
            Status.OUT,
            worst,
            compared,
            exact,
            ambiguous,
            worst_place,
            value,
            worst_expected,
            _reason(direction, worst_place, value, unrounded(value), worst_expected, worst),
        )
    status = Status.AMBIGUOUS if ambiguous else Status.EXACT if exact == compared else Status.WITHIN
    return Verdict(status, largest, compared, exact, ambiguous)


class Crash(Exception):
    """A call ended its process, or made it unusable; the message says how."""


class Hang(Exception):
    """A call did not return; the message gives the time limit."""


class ImplementationError(Exception):
    """Wraps an exception raised by an implementation, `error`. Exceptions without this wrapper are the judge's own."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def implementation_code() -> Iterator[None]:
    """Wraps every exception raised inside as an ImplementationError."""
    try:
        yield
    except Exception as error:
        raise ImplementationError(error) from error


class JudgementError(Exception):
    """A check's own judgement failed; carries that verdict."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict


def without_verdict(error: Exception) -> Verdict:
    """The verdict for an exception that stopped a check: against the implementation if it is an ImplementationError, a
    crash or a hang, else JUDGE."""
    if isinstance(error, JudgementError):
        return error.verdict
    if isinstance(error, (ImplementationError, Crash, Hang)):
        return without_result(error.error if isinstance(error, ImplementationError) else error)
    at = traceback.extract_tb(error.__traceback__)[-1]
    path = Path(at.filename)
    location = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    return Verdict(
        Status.JUDGE,
        reason="The judge itself failed, which is not held against the implementation; please report it with this "
        f"case: {type(error).__name__}: {error} ({location}, line {at.lineno})",
    )


def without_result(error: BaseException) -> Verdict:
    """The verdict for an exception in place of a result."""
    if isinstance(error, (Crash, Hang)):
        return Verdict(Status.CRASH if isinstance(error, Crash) else Status.HANG, reason=str(error))
    return Verdict(Status.ERROR, reason=f"It raised {type(error).__name__}: {error}")


def _same(value: float, expected: float, loose: bool) -> bool:
    if math.isfinite(expected):
        return value == expected
    if loose:
        return not math.isfinite(value)
    return math.isnan(value) if math.isnan(expected) else value == expected


def _fraction(ends: tuple[float, float], expected: Number, bound: float) -> float:
    """The distance as a fraction of the bound; infinite if only equality is allowed."""
    if math.isnan(ends[0]) or not math.isfinite(expected):
        return math.inf
    nearest = max(ends[0], min(expected, ends[1]))
    if not bound or not math.isfinite(nearest):
        return math.inf
    return size(type(expected)(nearest) - expected) / bound  # exact in fractions where the value is one


def _within(ends: tuple[float, float], low: Number, high: Number) -> bool:
    if math.isnan(low):
        return not all(map(math.isfinite, ends))
    return ends[0] <= high and low <= ends[1]


def _reason(
    direction: Direction, place: Place, value: float, ends: tuple[float, float], expected: Expected, fraction: float
) -> str:
    names = {"forward": "crops", "grad_image": "image gradient", "grad_boxes": "box gradient"}
    where = f"{names[direction]}[{', '.join(map(str, place))}]"
    if expected.bound:
        requirement = (
            f"within {expected.bound:.3g} of {float(expected.value)!r}, so {fraction:.3g} times the bound was used"
        )
    else:
        requirement = f"exactly {float(expected.value)!r}, for nothing is rounded there"
    either = "".join(f", or between {float(low)!r} and {float(high)!r}" for low, high in expected.others)
    cell = "" if not ends[0] < ends[1] else f", to which {ends[0]!r} up to {ends[1]!r} is rounded"
    return f"{where} is {value!r}{cell}; it must be {requirement}{either}."
