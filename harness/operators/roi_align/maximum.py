"""The maximum of a bin's samples: its value, and the samples that may attain it.

A sample is the weighted sum of four pixels: seven roundings of sum(weight * |pixel|) in any formulation. The largest of
several values, each known up to its bound, lies between the largest of their lower and of their upper ends; and an
implementation may find any sample whose upper end is not below the largest lower end. Of equal samples the first wins,
in the order y, x; a sample beyond the map is 0.

In another order of rounding a sample moves by its slack: its value changes with the slope of the map in the cells it
may be in, and it may or may not read a pixel whose weight is about 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.operators.expected import SECOND_ORDER, Number
from harness.operators.roi_align.call import (
    RoiCall,
    Weights,
    are_finite,
    drop_unread,
    weighted_sum,
)
from harness.operators.roi_align.positions import Point, Variant


@dataclass(frozen=True)
class Candidate:
    """A sample that may be the largest; no point and no weights for one beyond the map.

    tainted  whether it may read a non-finite pixel; its value is then NaN or infinite if it reads it in every order,
             else that of the other pixels.
    grids    the numbers of samples on y and x of its bin.
    """

    value: Number
    bound: float
    tainted: bool = False
    points: tuple[Point, ...] = ()
    grids: tuple[int, int] = (1, 1)
    weights: tuple[Weights, Weights] = (Weights(), Weights())


BEYOND = Candidate(0.0, 0.0)


def maxima(call: RoiCall, m: int, c: int, i: int, j: int) -> list[tuple[Number, float]]:
    """The maximum of a bin and its bound, then those in other orders of rounding."""
    return [each for samples in _alternatives(call, m, c, i, j) for each in _largest(samples)]


def candidates(call: RoiCall, m: int, c: int, i: int, j: int) -> list[Candidate]:
    """The samples of a bin that may be the largest; first the largest in the pinned order."""
    unique: dict[tuple[Any, ...], Candidate] = {}
    for samples in _alternatives(call, m, c, i, j):
        for each in _near(samples):
            unique.setdefault((each.points, each.grids), each)
    return list(unique.values()) or [BEYOND]


def _alternatives(call: RoiCall, m: int, c: int, i: int, j: int) -> Iterator[list[Candidate]]:
    """All samples of a bin in their order, in each of its variants."""
    for vy, vx in itertools.product(call.bins(m, 0, i), call.bins(m, 1, j)):
        yield _samples(call, m, c, vy, vx)


def _winner(samples: list[Candidate]) -> Candidate:
    """The first NaN, or else the first of the largest."""
    nan = next((each for each in samples if math.isnan(each.value)), None)
    return nan or max(samples, key=lambda each: each.value)


def _largest(samples: list[Candidate]) -> list[tuple[Number, float]]:
    """The possible values of the largest sample, each with its bound."""
    if not samples:
        return [(0.0, 0.0)]
    finite, nan = [each for each in samples if math.isfinite(each.value)], (math.nan, 0.0)
    value = _winner(samples).value
    if not math.isfinite(value):
        return [(value, 0.0)]
    low = max(float(each.value) - each.bound for each in finite)
    high = max(float(each.value) + each.bound for each in finite)
    certain = all(each.bound == 0 for each in finite if each.value == value or each.value + each.bound >= low)
    bound = 0.0 if certain else max(high - float(value), float(value) - low) * SECOND_ORDER
    return [(value, bound), *([nan] if any(each.tainted for each in samples) else [])]


def _near(samples: list[Candidate]) -> list[Candidate]:
    """Those of a bin's samples that may be the largest, the largest one first."""
    if not samples:
        return [BEYOND]
    best = _winner(samples)
    finite = [each for each in samples if math.isfinite(each.value)]
    tainted = [each for each in samples if each.tainted and each is not best]
    if not math.isfinite(best.value):
        return [best, *tainted]
    low = max(float(each.value) - each.bound for each in finite)
    # Among equal exact values the first wins.
    exact = {each.value: each for each in reversed(finite) if not each.bound}
    near = (each for each in finite if each.bound or exact[each.value] is each)
    return [best, *tainted, *(each for each in near if each is not best and float(each.value) + each.bound >= low)]


def _samples(call: RoiCall, m: int, c: int, vy: Variant, vx: Variant) -> list[Candidate]:
    """All samples of a bin in their order; those beyond the map, where there are any, as one."""
    if not (vy.grid and vx.grid):
        return []
    if not (vy.points and vx.points):
        return [BEYOND]
    samples: list[Candidate] = []
    beyond = vy.points[0].index > 0 or vx.points[0].index > 0
    if beyond:
        samples.append(BEYOND)
    n, grids = call.image_of(m), (vy.grid, vx.grid)
    for py in vy.points:
        samples += [_sample(call, n, c, (py, px), grids) for px in vx.points]
        if not beyond and len(vx.points) < vx.grid:
            beyond = True
            samples.append(BEYOND)
    if not beyond and len(vy.points) < vy.grid:
        samples.append(BEYOND)
    return samples


def _sample(call: RoiCall, n: int, c: int, points: tuple[Point, Point], grids: tuple[int, int]) -> Candidate:
    height, width = call.inputs.image.shape[2:]
    wy, wx = call.alone(points[0], height), call.alone(points[1], width)
    tainted = not are_finite(call, n, c, wy, wx)
    if tainted:
        readable = drop_unread(wy, sure=not call.pinned), drop_unread(wx, sure=not call.pinned)
        if not are_finite(call, n, c, *readable):
            hats = itertools.product(readable[0].hats.items(), readable[1].hats.items())
            broken = sum(float(a.value) * float(b.value) * call.pixel(n, c, y, x) for (y, a), (x, b) in hats)
            return Candidate(broken, 0.0, not call.pinned, points, grids, readable if call.pinned else (wy, wx))
        if call.pinned:
            (wy, wx), tainted = readable, False
    value, magnitude, shift = weighted_sum(call, n, c, wy, wx)
    exact = len(wy.hats) * len(wx.hats) == 1 and not wy.steps and not wx.steps
    bound = 0.0 if exact else call.unit * 7 * magnitude + shift
    bound = bound * SECOND_ORDER + 8 * call.smallest * bool(bound)
    return Candidate(value, bound, tainted, points, grids, (wy, wx))
