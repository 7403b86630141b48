"""The expected value of every output, and how far an honest implementation may be from it.

Plain Python on purpose: without an array library it shares nothing with the code under test, and it can compute one
output without the others. Positions follow order A to the bit (positions.py). The arithmetic from there on is of higher
precision than the results under judgement: float64 for float32 results, exact fractions for float64 ones.

Bounds. u is the unit roundoff of the accumulate type; one operation errs by at most u times its exact result; terms
in u*u are covered by a factor of 1 + 2**-20, underflow by a few of the smallest numbers. A bound must hold for the two
sane formulations, top + (bot - top)*ly and the weighted sum of four pixels. Each bound is derived where it is computed.
Bounds are per output, not per suite: values may span 24 decades, and the bound is exactly 0 where nothing is rounded
(pixel-aligned samples, nearest, the extrapolation value). Half images are accumulated like float32 images and have the
same bounds; the judge undoes the single rounding that follows.

For implementations that round positions in another order (pinned=False) the bound grows by what that order can change,
and no more: where the function is continuous the bound grows by the change itself; where it jumps, the result is
ambiguous and the other branch is listed. The branches of a sum of many samples form one interval, from their smallest
to their largest sum.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator

from harness.operators.arrays import Direction
from harness.operators.crop_and_resize.call import Call, call_of
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.crop_and_resize.gradients import grad_boxes, grad_image
from harness.operators.crop_and_resize.positions import taps
from harness.operators.expected import SECOND_ORDER, Expected, Interval, Number, Place, size
from harness.operators.rounding import rounder

__all__ = ["Expected", "expected"]


def expected(
    inputs: Inputs, direction: Direction, *, pinned: bool = True, places: Iterable[Place] | None = None
) -> Iterator[tuple[Place, Expected]]:
    """Each place of the result with its expected value; all places, or only those in `places`.

    forward: places (m,c,i,j) of crops (M,C,h,w). grad_image: (n,c,y,x) of (N,C,H,W). grad_boxes: (m,column) of (M,4).
    pinned=True: positions are order A's to the bit and nothing is ambiguous.
    """
    call = call_of(inputs, pinned)
    at: Callable[[Place], Expected]
    if direction == "forward":
        at = functools.partial(_forward, call)
        shape = (*inputs.boxes.shape[:1], inputs.image.shape[1], *inputs.crop_size)
    elif direction == "grad_image":
        at, shape = grad_image(call), inputs.image.shape
    else:
        at, shape = grad_boxes(call), inputs.boxes.shape
    for place in itertools.product(*map(range, shape)) if places is None else places:
        yield place, at(place)


def _forward(call: Call, place: Place) -> Expected:
    m, c, i, j = place
    n, y, x = call.image_of(m), call.spot(m, 0, i), call.spot(m, 1, j)
    nominal = _blend(call, n, c, y.position, x.position) if y.position is not None and x.position is not None else None
    if call.pinned:
        return Expected(call.blank, 0.0) if nominal is None else Expected(*nominal)
    branches = [_blend(call, n, c, py, px) for py in y.reach for px in x.reach]
    finite = [(call.number(float(0)) + v, r) for v, r in branches if math.isfinite(v)]
    broken = len(finite) < len(branches)
    others: list[Interval] = [(call.blank, call.blank)] if branches and (y.outside or x.outside) else []
    if call.inputs.method == "nearest":
        others += [(v, v) for v, _ in finite]
    elif finite and (nominal is None or broken):
        others.append((min(v - call.number(r) for v, r in finite), max(v + call.number(r) for v, r in finite)))
    value, bound = (call.blank, 0.0) if nominal is None else nominal
    if nominal is not None and math.isfinite(value) and call.inputs.method != "nearest":
        bound = max(size(v - value) + r for v, r in finite) * SECOND_ORDER
    if broken and math.isfinite(value):
        others.append((math.nan, math.nan))
    others = [other for other in others if other != (value, value)]
    return Expected(value, bound, tuple(others), loose=broken)


def _blend(call: Call, n: int, c: int, py: float, px: float) -> tuple[Number, float]:
    """The image at a position, and the rounding error of a sane formulation there.

    Stepwise: TR - TL, its product with lx and the sum with TL are three roundings: 2u on lx*(|TL| + |TR|), as TR - TL
    may cancel, and u on the result. The same again on the y axis. Together 2u*D + 2u*S, with D the sizes of the
    differences times their weights and S = sum of weight*|pixel|. Weighted sum: 1-lx, 1-ly, their product, the product
    with the pixel and three sums, 7u*S; along one axis alone 3u*S. Boxes of a wider dtype have
    their weights cast, u*lx more. A sample on a pixel of both axes rounds nothing; but only order A guarantees that it
    is on the pixel.
    """
    t, b, ly = taps(py, call.inputs.image.shape[2])
    left, right, lx = taps(px, call.inputs.image.shape[3])
    tl, tr, bl, br = (call.pixel(n, c, y, x) for y, x in ((t, left), (t, right), (b, left), (b, right)))
    if call.inputs.method == "nearest":
        return tl, 0.0
    if not call.exact((tl, tr, bl, br)):
        return _stepwise(call, tl, tr, bl, br, lx, ly)
    if lx == 0 and ly == 0 and call.pinned:
        return tl, 0.0
    number = call.number
    top = number(tl) + (number(tr) - number(tl)) * number(lx)
    bottom = number(bl) + (number(br) - number(bl)) * number(lx)
    value = top + (bottom - top) * number(ly)
    tl, tr, bl, br = abs(tl), abs(tr), abs(bl), abs(br)
    weighted = (1 - ly) * ((1 - lx) * tl + lx * tr) + ly * ((1 - lx) * bl + lx * br)
    differences = lx * ((1 - ly) * (tl + tr) + ly * (bl + br)) + ly * (size(top) + size(bottom))
    bound = max(2 * differences + 2 * weighted, (7 if (lx and ly) or not call.pinned else 3) * weighted)
    if call.wide_boxes:
        bound += differences + 2 * weighted
    return value, call.unit * bound * SECOND_ORDER + 8 * call.smallest


def _stepwise(call: Call, tl: float, tr: float, bl: float, br: float, lx: float, ly: float) -> tuple[Number, float]:
    """Evaluates the formula step by step, for pixels that are NaN, infinite or overflow."""
    to = rounder(call.accumulate)
    lx, ly = to(lx), to(ly)
    top = to(tl + to(to(tr - tl) * lx))
    bottom = to(bl + to(to(br - bl) * lx))
    value = to(top + to(to(bottom - top) * ly))
    return value, 10 * call.unit * (abs(tl) + abs(tr) + abs(bl) + abs(br)) if math.isfinite(value) else 0.0
