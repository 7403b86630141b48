"""An oracle's expectation of one output: its value, its bound, and other values that are equally right.

Plain Python: the oracles share no array library with the code that they judge. Nothing here depends on an operator.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, TypeVar

from harness.operators.rounding import UNIT, cell

Number = float | Fraction
Place = tuple[int, ...]
Interval = tuple[Number, Number]

# Covers the terms in the square of the unit roundoff that first-order bounds leave out.
SECOND_ORDER = 1 + 2.0**-20


class Arithmetic(Protocol):
    """The properties of the accumulate dtype that a bound needs; a Call provides them."""

    @property
    def unit(self) -> float: ...
    @property
    def smallest(self) -> float: ...
    @property
    def number(self) -> Callable[[float], Number]: ...


def size(value: Number) -> float:
    """|value| as a float, which is all that a bound needs."""
    return abs(float(value))


@dataclass(frozen=True)
class Expected:
    """One output: `value`, and the largest distance from it that rounding can cause, in the accumulate dtype.

    Results of a narrower dtype (crops and image gradients of half images) are rounded once at the end. The bound is not
    widened for that, or bfloat16 would hide weights of ten bits; the judge undoes the rounding, see before_rounding.

    others  intervals, bounds included, that are equally right because a position may be rounded either way.
    loose   any non-finite result is accepted where one is expected: the order of a sum decides whether infinities meet,
            and it is not pinned.
    """

    value: Number
    bound: float
    others: tuple[Interval, ...] = ()
    loose: bool = False

    @property
    def ambiguous(self) -> bool:
        return bool(self.others)


@dataclass
class Sum:
    """A running sum with its range, the sizes of its terms, and their own rounding errors in units of roundoff.

    broken   the nominal sum is not finite; tainted: some branch is not; hopeless: none is.
    """

    value: Number = 0.0
    low: Number = 0.0
    high: Number = 0.0
    size: float = 0.0
    error: float = 0.0
    terms: int = 0
    jumps: bool = False
    broken: bool = False
    tainted: bool = False
    hopeless: bool = False

    def add(self, value: Number, low: Number, high: Number, size: float, error: float) -> None:
        """One term: its nominal value and range, its size |w|*|g| before any cancellation, its own error."""
        self.value += value
        self.low += low
        self.high += high
        self.size += size
        self.error += error
        self.terms += 1

    def include(self, part: Sum) -> None:
        """All terms of another sum."""
        self.add(part.value, part.low, part.high, part.size, part.error)
        self.terms += part.terms - 1
        self.jumps |= part.jumps
        self.broken |= part.broken
        self.tainted |= part.tainted
        self.hopeless |= part.hopeless

    def expected(self, call: Arithmetic) -> Expected:
        bound = call.unit * (self.error + max(self.terms - 1, 0) * self.size) * SECOND_ORDER
        if self.error or self.terms > 1:
            bound += 8 * self.terms * call.smallest
        slack = call.number(bound)
        several = (self.jumps or self.tainted or self.broken) and not self.hopeless
        branches = ((self.low - slack, self.high + slack),) if several else ()
        if self.broken:
            return Expected(math.nan, 0.0, branches, loose=True)
        if self.tainted:
            return Expected(self.value, bound, (*branches, (math.nan, math.nan)), loose=True)
        if not self.jumps:
            bound += size(max(self.high - self.value, self.value - self.low))
        return Expected(self.value, bound, branches)


def one_of(sums: list[Sum]) -> Sum:
    """One sum that covers all of these; the first is the nominal one."""
    if len(sums) == 1:
        return sums[0]
    first, finite = sums[0], [each for each in sums if not each.hopeless] or sums
    low, high = min(each.low for each in finite), max(each.high for each in finite)
    return Sum(
        value=first.value,
        low=low,
        high=high,
        size=max(each.size for each in finite),
        error=max(each.error for each in finite),
        terms=max(each.terms for each in finite),
        jumps=low < high,
        broken=first.broken,
        tainted=any(each.broken or each.tainted for each in sums),
        hopeless=all(each.hopeless for each in sums),
    )


def accumulated_in(inputs: Any) -> str:
    """The dtype of interpolation and sums: float64 for float64 images, float32 for all others."""
    return "float64" if inputs.image.dtype.name == "float64" else "float32"


def before_rounding(inputs: Any, dtype: str) -> Callable[[float], tuple[float, float]]:
    """Maps a result of `dtype` to the smallest and largest value that can have been accumulated: the result itself or,
    if `dtype` is the narrower one, the range that rounds to it."""
    if UNIT[dtype] > UNIT[accumulated_in(inputs)]:
        return functools.partial(cell, dtype=dtype)
    return lambda value: (value, value)


class Line(Protocol):
    """A pixel's weight in a sample or bin on one axis; `index` is that of the sample or bin."""

    @property
    def index(self) -> int: ...


Weight = TypeVar("Weight", bound=Line)


def gathered(
    call: Any,
    weights: Callable[[Any, int, int], Iterable[tuple[int, Weight]]],
    contribute: Callable[[Any, Sum, float, Weight, Weight], None],
) -> Callable[[Place], Expected]:
    """The expected image gradient at a pixel (n,c,y,x), where samples are rows times columns.

    weights     (call, box, axis) -> the pixels that the box reaches on the axis, each with its weight.
    contribute  (call, sum, upstream value, weight in y, weight in x): adds a term.
    """
    inputs = call.inputs
    rows: dict[tuple[int, int], list[tuple[int, Weight]]] = defaultdict(list)
    columns: dict[tuple[int, int], list[Weight]] = defaultdict(list)
    for m in range(len(inputs.boxes)):
        for y, weight in weights(call, m, 0):
            rows[call.image_of(m), y].append((m, weight))
        for x, weight in weights(call, m, 1):
            columns[m, x].append(weight)
    nothing = no_terms(call).expected(call)

    def at(place: Place) -> Expected:
        n, c, y, x = place
        touching = [(m, wy, wx) for m, wy in rows.get((n, y), ()) for wx in columns.get((m, x), ())]
        if not touching:
            return nothing
        total = no_terms(call)
        for m, wy, wx in touching:
            contribute(call, total, float(inputs.upstream.item(m, c, wy.index, wx.index)), wy, wx)
        return total.expected(call)

    return at


def no_terms(call: Arithmetic) -> Sum:
    """An empty sum in the number type of a call."""
    return Sum(call.number(0.0), call.number(0.0), call.number(0.0))
