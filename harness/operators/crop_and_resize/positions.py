"""Sample positions: order A in emulated arithmetic, and how far another order of rounding may move them.

The oracle must know float32 positions to the bit (rounding.py); otherwise a tolerance would hide a contracted
multiply-add in the code under test.

An implementation that rounds in another order is not wrong, but near a border, a pixel or a half-pixel it may take
another branch. A Sample therefore holds every position it can reach; in order A that is exactly one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from harness.operators.rounding import LARGE, UNIT, rounder

# Roundings between a box and a position, counted for two orders together: at most 5 in order A (4 on the i*scale term,
# 1 on the sum) and 5 in any other order of box times size plus step; the pixel rules add 7 for each order to compute n1
# and n2.
ROUNDINGS = {"normalized": 10, "bin_centres": 24, "corners": 24}


@dataclass(frozen=True)
class Axis:
    """One axis of one box: its two coordinates, `count` samples of it, on an image of `length` pixels."""

    rule: str
    first: float
    last: float
    count: int
    length: int


@dataclass(frozen=True)
class Sample:
    """One sample on one axis.

    position  in pixel indices, or None if the sample is outside; for nearest, the pixel it is rounded to.
    reach     the positions inside the image that some order of rounding can give: the two ends and every integer
              between them, which is where a piecewise linear function has its extremes. For nearest, the pixels. One in
              order A.
    outside   whether some order of rounding puts it outside.
    """

    position: float | None
    reach: tuple[float, ...]
    outside: bool


def pinned_position(axis: Axis, i: int, dtype: str) -> float:
    """The position of sample `i` in pixel indices, each operation rounded in `dtype`; NaN and infinities are legal."""
    to = rounder(dtype)
    count, span = axis.count, to(float(axis.length - 1))
    first, last = axis.first, axis.last
    if axis.rule != "normalized":
        if axis.length == 1:
            return _on_a_single_pixel(axis, i, to)
        first, last = _normalized(axis, span, to)
    if count == 1:
        return to(0.5 * to(first + last) * (axis.length - 1))
    scale = to(to(to(last - first) * span) / to(count - 1))
    return to(to(first * span) + to(to(i) * scale))


def _normalized(axis: Axis, span: float, to: Callable[[float], float]) -> tuple[float, float]:
    """A pixel box as a normalised box, on an axis of more than one pixel."""
    if axis.rule == "corners":
        return to(axis.first / span), to(axis.last / span)
    step = to(to(axis.last - axis.first) / to(axis.count))
    first = to(to(to(axis.first + to(step / 2)) - 0.5) / span)
    return first, to(first + to(to(step * to(axis.count - 1)) / span))


def _on_a_single_pixel(axis: Axis, i: int, to: Callable[[float], float]) -> float:
    """The pixel rules on an axis of one pixel, where nothing can be normalised: the position in pixels."""
    if axis.rule == "bin_centres":
        step = to(to(axis.last - axis.first) / to(axis.count))
        return to(to(to(axis.first + to(step / 2)) - 0.5) + to(to(i) * step))
    if axis.count == 1:
        return to(0.5 * to(axis.first + axis.last))
    return to(axis.first + to(to(i) * to(to(axis.last - axis.first) / to(axis.count - 1))))


def sample(axis: Axis, i: int, dtype: str, *, unit: float = 0.0, nearest: bool = False) -> Sample:
    """Sample `i`; `unit` is the unit roundoff of an implementation with another order of rounding, 0 for order A."""
    span = rounder(dtype)(float(axis.length - 1))
    position = pinned_position(axis, i, dtype)
    inside = 0 <= position <= span
    slack = _slack(axis, i, unit) if unit else 0.0
    if not slack:
        low = high = position
    elif math.isinf(slack):
        low, high = -math.inf, math.inf
    else:
        low, high = position - slack, position + slack
    outside = not inside or low < 0 or high > span
    low, high = max(low, 0.0), min(high, span)
    if not low <= high:  # also for NaN
        return Sample(None, (), True)
    if nearest:
        return Sample(
            float(half_away(position)) if inside else None,
            tuple(float(k) for k in range(half_away(low), half_away(high) + 1)),
            outside,
        )
    between = range(math.floor(low) + 1, math.ceil(high))
    reach = (low, *map(float, between), high) if low < high else (low,)
    return Sample(position if inside else None, reach, outside)


def _slack(axis: Axis, i: int, unit: float) -> float:
    """The largest distance between the positions of sample `i` in two orders of rounding, in pixels; infinite if one of
    them may overflow.

    Each rounding errs by at most `unit` times an intermediate result, and no intermediate result exceeds the sum of the
    magnitudes below; a formulation through [-1, 1] or [0, 1] also involves the image's size.
    """
    first, last, span = abs(axis.first), abs(axis.last), float(axis.length - 1)
    if math.isnan(first + last):
        return 0.0  # NaN in any order, hence outside in any order
    if axis.rule == "normalized":
        share = i / (axis.count - 1) if axis.count > 1 else 1.0
        magnitude = (first + share * (first + last) + 1.0) * span
    else:
        magnitude = first + last + 1.0 + span
    large = LARGE["float32"] if unit == UNIT["float32"] else LARGE["float64"]
    return ROUNDINGS[axis.rule] * unit * magnitude if magnitude < large else math.inf


def half_away(position: float) -> int:
    """C's roundf for positions >= 0: halves away from zero. Exact, because position - floor is exact."""
    below = math.floor(position)
    return below + (position - below >= 0.5)


def taps(position: float, length: int) -> tuple[int, int, float]:
    """The two pixels of a sample and the weight of the second: floor, ceil, position - floor.

    Sizes above 2**24, rounded up in float32, allow a position one past the last pixel; the index is clamped.
    """
    below = math.floor(position)
    return min(below, length - 1), min(math.ceil(position), length - 1), position - below
