"""The maximum of a bin's samples: its value, and which samples may be it.

A sample is weighed from four pixels: seven roundings of sum(weight * |pixel|) in any formulation. The largest of
several values, each known up to its bound, lies between the largest of their lower and of their upper ends; and every
sample whose upper end is not below the largest lower end may be the one that an implementation finds. Of equal
samples it is the first, in the order y, x, and one beyond the map is 0.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

from harness.operators.expected import SECOND_ORDER, Expected, Number, Place, size
from harness.operators.roi_align.call import RoiCall, chosen, reads, wobble
from harness.operators.roi_align.positions import Point, Variant, shares


@dataclass(frozen=True)
class Candidate:
    """A sample that may be the largest; none of the below for one beyond the map.

    taps    the weight of each pixel (y, x) in it.
    slopes  what it changes by, per pixel that it moves along y and along x; sizes, those before cancellation.
    moves   for y and x, how far it moves with the first and the last edge.
    """

    value: Number
    bound: float
    taps: dict[tuple[int, int], Number] = field(default_factory=dict)
    slopes: tuple[Number, Number] = (0.0, 0.0)
    sizes: tuple[float, float] = (0.0, 0.0)
    moves: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 0.0), (0.0, 0.0))


BEYOND = Candidate(0.0, 0.0)


def forward_max(call: RoiCall, place: Place) -> Expected:
    """The expectation at (m,c,i,j)."""
    m, c, i, j = place
    pairs = itertools.product(call.bins(m, 0, i), call.bins(m, 1, j))
    return chosen(call, [_largest(_samples(call, m, c, i, j, vy, vx)) for vy, vx in pairs])


def _winner(samples: list[Candidate]) -> Candidate:
    """The first NaN, or else the first of the largest."""
    lost = next((each for each in samples if math.isnan(each.value)), None)
    return lost or max(samples, key=lambda each: each.value)


def _largest(samples: list[Candidate]) -> tuple[Number, float]:
    if not samples:
        return 0.0, 0.0
    value = _winner(samples).value
    if not math.isfinite(value):
        return value, 0.0
    low = max(float(each.value) - each.bound for each in samples)
    high = max(float(each.value) + each.bound for each in samples)
    certain = all(each.bound == 0 for each in samples if each.value == value or each.value + each.bound >= low)
    return value, 0.0 if certain else max(high - float(value), float(value) - low) * SECOND_ORDER


def candidates(call: RoiCall, m: int, c: int, i: int, j: int) -> list[Candidate]:
    """The samples that may be the largest of a bin in the pinned order, the one that is first."""
    if not call.pinned:
        raise ValueError("Gradients of maxima are judged in the pinned order of rounding only.")
    samples = _samples(call, m, c, i, j, call.bins(m, 0, i)[0], call.bins(m, 1, j)[0])
    if not samples:
        return [BEYOND]
    best = _winner(samples)
    if not math.isfinite(best.value):
        return [best]
    low = max(float(each.value) - each.bound for each in samples)
    near = [each for each in samples if each is not best and each.bound and float(each.value) + each.bound >= low]
    return [best, *near]


def _samples(call: RoiCall, m: int, c: int, i: int, j: int, vy: Variant, vx: Variant) -> list[Candidate]:
    """All samples of a bin in their order; those beyond the map, where there are any, as one."""
    if not (vy.grid and vx.grid):
        return []
    rows, columns = {point.index: point for point in vy.points}, {point.index: point for point in vx.points}
    if not (rows and columns):
        return [BEYOND]
    found: list[Candidate] = []
    beyond = min(rows) > 0 or min(columns) > 0
    if beyond:
        found.append(BEYOND)
    for py in rows.values():
        found += [_sample(call, m, c, i, j, py, px) for px in columns.values()]
        if not beyond and len(columns) < vx.grid:
            beyond = True
            found.append(BEYOND)
    if not beyond and len(rows) < vy.grid:
        found.append(BEYOND)
    return found


def _sample(call: RoiCall, m: int, c: int, i: int, j: int, py: Point, px: Point) -> Candidate:
    number, n = call.number, call.image_of(m)
    height, width = call.inputs.image.shape[2:]
    offs = wobble(call, py), wobble(call, px)
    ys = {py.low: 1 - number(py.fraction), py.low + 1: number(py.fraction)}
    xs = {px.low: 1 - number(px.fraction), px.low + 1: number(px.fraction)}
    ys = {y: weight for y, weight in ys.items() if y < height and (weight or offs[0])}
    xs = {x: weight for x, weight in xs.items() if x < width and (weight or offs[1])}
    pixels = {(y, x): call.pixel(n, c, y, x) for y in ys for x in xs}
    if not call.exact(pixels.values()):
        # A pixel whose weight is 0 once it is cast is not read.
        ys, xs = ({at: of[at] for at in reads(call, point) if at in of} for of, point in ((ys, py), (xs, px)))
        pixels = {(y, x): call.pixel(n, c, y, x) for y in ys for x in xs}
    moves = shares(call.axis(m, 0), i, py.index), shares(call.axis(m, 1), j, px.index)
    taps = {(y, x): ys[y] * xs[x] for y, x in pixels}
    if not call.exact(pixels.values()):
        lost = [math.nan if point.fraction else 0.0 for point in (py, px)]
        broken = sum(float(weight) * pixels[place] for place, weight in taps.items())
        return Candidate(broken, 0.0, taps, (lost[0], lost[1]), (abs(lost[0]), abs(lost[1])), moves)
    value, reached = number(0.0), 0.0
    for place, weight in taps.items():
        value += weight * number(pixels[place])
        reached += size(weight) * abs(pixels[place])

    def slope(along: int) -> tuple[Number, float]:
        point, across = (py, xs) if along == 0 else (px, ys)
        if point.fraction == 0:
            return number(0.0), 0.0
        total, before = number(0.0), 0.0
        for at, weight in across.items():
            places = ((point.low + k, at) if along == 0 else (at, point.low + k) for k in (0, 1))
            low, high = (call.pixel(n, c, y, x) for y, x in places)
            total += weight * (number(high) - number(low))
            before += (1.0 if call.wide_boxes else size(weight)) * (abs(low) + abs(high))
        return total, before

    steep = [max(pixels.values()) - min(pixels.values()) if off else 0.0 for off in offs]
    exact = len(taps) == 1 and not any(offs)
    bound = 0.0 if exact else call.unit * 7 * reached + sum(o * s for o, s in zip(offs, steep, strict=True))
    (dy, size_y), (dx, size_x) = slope(0), slope(1)
    return Candidate(
        value, bound * SECOND_ORDER + 8 * call.smallest * bool(bound), taps, (dy, dx), (size_y, size_x), moves
    )
