"""The maximum of weighted pixels, which is the mode max of ONNX's RoiAlign: over the four pixels of every sample.

Each pixel is multiplied by its weight in its sample; the largest product is the result. A pixel of weight 0 counts as
0, as does a sample beyond the map; NaN wins. A product has three roundings. In another order of rounding a weight
changes by as much as its sample moves, in any cell that the sample may be in. ONNX defines no gradient of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from harness.operators.expected import SECOND_ORDER, Number
from harness.operators.roi_align.call import RoiCall, wobble
from harness.operators.roi_align.positions import Point, Variant

# The weight of a pixel on one axis of a sample: its value, and the smallest and largest that are equally right.
_Weight = tuple[Number, float, float]
_Line = dict[int, _Weight]
# The value of a product or sample, the smallest and largest that are equally right, and whether it may be non-finite.
_Range = tuple[Number, float, float, bool]
_NOTHING: _Range = (0.0, 0.0, 0.0, False)


def weighted_maxima(call: RoiCall, m: int, c: int, i: int, j: int) -> list[tuple[Number, float]]:
    """The maximum of a bin and its bound, then those in other orders of rounding."""
    n, pairs = call.image_of(m), itertools.product(call.bins(m, 0, i), call.bins(m, 1, j))
    return [each for vy, vx in pairs for each in _of_bin(call, n, c, vy, vx)]


def _of_bin(call: RoiCall, n: int, c: int, vy: Variant, vx: Variant) -> list[tuple[Number, float]]:
    samples = [_sample(call, n, c, py, px) for py, px in itertools.product(vy.points, vx.points)]
    if not samples or len(samples) < vy.grid * vx.grid:
        samples.append(_NOTHING)
    value, low, high, tainted = _largest(samples)
    if not math.isfinite(value):
        return [(value, 0.0)]
    bound = max(high - float(value), float(value) - low, 0.0)
    return [(value, bound * SECOND_ORDER), *([(math.nan, 0.0)] if tainted else [])]


def _largest(ranges: list[_Range]) -> _Range:
    """The range of the maximum of several ranges."""
    nan = next((each for each in ranges if math.isnan(each[0])), None)
    if nan is not None:
        return nan
    return (
        max(each[0] for each in ranges),
        max(each[1] for each in ranges),
        max(each[2] for each in ranges),
        any(each[3] for each in ranges),
    )


def _sample(call: RoiCall, n: int, c: int, py: Point, px: Point) -> _Range:
    """The largest product of a sample over all cells it may be in, its nominal cell first."""
    ranges = []
    for ys, xs in itertools.product(_lines(call, py), _lines(call, px)):
        products = [_product(call, n, c, y, x, ys[y], xs[x]) for y in ys for x in xs]
        ranges.append(_largest(products if len(products) == 4 else [*products, _NOTHING]))
    if math.isnan(ranges[0][0]):
        return ranges[0]
    return (
        ranges[0][0],
        min(each[1] for each in ranges),
        max(each[2] for each in ranges),
        any(each[3] for each in ranges),
    )


def _lines(call: RoiCall, point: Point) -> Iterator[_Line]:
    """The pixel weights in each cell that a sample may be in, its nominal cell first."""
    cells = list(point.cells)
    if not cells:
        yield {point.low: (call.number(1.0), 1.0, 1.0)}
        return
    for k in sorted(cells, key=lambda k: k != point.low):
        yield _line(call, point, k)


def _line(call: RoiCall, point: Point, k: int) -> _Line:
    cast = wobble(call, point) - point.slack
    least, largest = (min(max(each - k, 0.0), 1.0) for each in (point.least, point.largest))
    far = min(max(call.number(point.position) - k, call.number(0.0)), call.number(1.0))
    return {
        k: (1 - far, max(1 - largest - cast, 0.0), 1 - least + cast),
        k + 1: (far, max(least - cast, 0.0), largest + cast),
    }


def _product(call: RoiCall, n: int, c: int, y: int, x: int, wy: _Weight, wx: _Weight) -> _Range:
    pixel, least, largest = call.pixel(n, c, y, x), wy[1] * wx[1], wy[2] * wx[2]
    if not call.exact((pixel,)):
        return (pixel, pixel, pixel, True) if least else (0.0, 0.0, 0.0, bool(largest))
    ends = least * pixel, largest * pixel
    rounded = 0.0 if least == largest == 1 else 6 * call.unit * largest * abs(pixel) + 4 * call.smallest * bool(pixel)
    return wy[0] * wx[0] * call.number(pixel), min(ends) - rounded, max(ends) + rounded, False
