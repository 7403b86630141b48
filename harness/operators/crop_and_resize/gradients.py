"""The expected gradients. Each is a sum over samples, so its bound is a sum too.

A sum of K terms, in any order and any grouping, errs by at most (K-1)*u times the sum of their sizes; the errors of the
terms themselves are derived beside each term. Under another order of rounding every sample gives an interval of terms;
the sum then lies between the sum of their lower and the sum of their upper ends, and is ambiguous if any of them jumps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from harness.operators.crop_and_resize.call import BOX_COLUMNS, Call
from harness.operators.crop_and_resize.positions import Sample, taps
from harness.operators.expected import Expected, Number, Place, Sum, gathered, no_terms, size


@dataclass(frozen=True)
class Weight:
    """The weight of one pixel in one sample on one axis.

    relative, absolute  its rounding errors in units of roundoff. Casting a weight l errs by u*l, and shifts the weight
                        1-l of the other pixel by as much, however small that is.
    jumps   whether rounding may switch the branch: inside or outside, this pixel or the next.
    """

    index: int
    value: Number
    low: Number
    high: Number
    relative: float
    absolute: float
    jumps: bool


def grad_image(call: Call) -> Callable[[Place], Expected]:
    """The expected value at a pixel, as a function of its place."""
    return gathered(call, _weights, _contribute)


def _contribute(call: Call, total: Sum, g: float, wy: Weight, wx: Weight) -> None:
    """Adds w*g with w = wy*wx: two products, and 1-l for the first pixel of a pair, at most u each; 4u in all.

    On an axis where the sample is on the pixel the weight is 1 and adds no error. A cast weight adds its own error.
    """
    if not call.exact((g,)):
        total.broken = total.hopeless = True
        return
    upstream, w = call.number(g), wy.value * wx.value
    ends = (wy.low * wx.low * upstream, wy.high * wx.high * upstream)
    height, width, scale = float(wy.high), float(wx.high), abs(g)
    error = (wy.relative + wx.relative) * height * width + wy.absolute * width + wx.absolute * height
    total.add(w * upstream, min(ends), max(ends), height * width * scale, error * scale)
    total.jumps |= wy.jumps or wx.jumps


def _weights(call: Call, m: int, along: int) -> Iterator[tuple[int, Weight]]:
    """Every pixel on an axis that a sample of box m can touch, with its weight."""
    length, nearest = call.inputs.image.shape[2 + along], call.inputs.method == "nearest"
    for i in range(call.inputs.crop_size[along]):
        sample = call.spot(m, along, i)
        for pixel in sorted({tap for position in sample.reach for tap in taps(position, length)[:2]}):
            value = _hat(call, sample.position, pixel, length) if sample.position is not None else call.number(0.0)
            ends = [_hat(call, position, pixel, length) for position in sample.reach]
            jumps = sample.outside or (nearest and len(sample.reach) > 1)
            if sample.outside:
                ends.append(call.number(0.0))
            rounded = not nearest and not (call.pinned and value == 1)
            frac = taps(sample.reach[0], length)[2] if call.pinned else 1.0
            if not any(ends):
                continue
            yield (
                pixel,
                Weight(
                    index=i,
                    value=value,
                    low=min(ends),
                    high=max(ends),
                    relative=(3.0 if call.wide_boxes else 2.0) if rounded else 0.0,
                    absolute=frac if rounded and call.wide_boxes else 0.0,
                    jumps=jumps,
                ),
            )


def _hat(call: Call, position: float, pixel: int, length: int) -> Number:
    """The weight of a pixel in a sample at `position`: max(0, 1 - distance)."""
    below, above, frac = taps(position, length)
    if pixel == below:
        return 1 - call.number(frac)
    return call.number(frac) if pixel == above else call.number(0.0)


@dataclass
class _BoxSums:
    """The four sums of the latest box: consecutive places ask for the same box four times."""

    box: int = -1
    sums: dict[int, Sum] = field(default_factory=dict)


def grad_boxes(call: Call) -> Callable[[Place], Expected]:
    """The expected value at (box, column), as a function of that place."""
    last = _BoxSums()

    def at(place: Place) -> Expected:
        m, column = place
        if last.box != m:
            last.box, last.sums = m, _box_sums(call, m)
        return last.sums[column].expected(call)

    return at


def _box_sums(call: Call, m: int) -> dict[int, Sum]:
    inputs = call.inputs
    sums = {column: no_terms(call) for column in range(4)}
    height, width = inputs.crop_size
    for i in range(height):
        y = call.line(m, 0, i)
        for j in range(width):
            x = call.line(m, 1, j)
            if not y.reach or not x.reach:
                continue
            coefficients = (_coefficients(call, 0, i), _coefficients(call, 1, j))
            for c in range(inputs.image.shape[1]):
                g = float(inputs.upstream.item(m, c, i, j))
                for along, (of, across) in enumerate(((y, x), (x, y))):
                    slope = _slope(call, call.image_of(m), c, along, of, across)
                    for column, coefficient in zip(
                        BOX_COLUMNS[inputs.box_rule][along], coefficients[along], strict=True
                    ):
                        _add_slope(call, sums[column], g, slope, *coefficient)
    return sums


def _add_slope(call: Call, total: Sum, g: float, slope: Slope | None, coefficient: Number, rounding: float) -> None:
    """Adds slope * g * coefficient; its error is that of the slope, the two products and the coefficient."""
    if slope is None:
        return
    if slope.hopeless or not call.exact((g,)):
        total.broken = total.hopeless = True
        return
    total.broken |= slope.broken
    total.tainted |= slope.tainted
    factor = call.number(g) * coefficient
    ends = (slope.low * factor, slope.high * factor)
    before = slope.size * abs(g)
    error = (slope.error + 2) * before * size(coefficient) + rounding * before
    total.add(slope.value * factor, min(ends), max(ends), before * size(coefficient), error)
    total.jumps |= slope.jumps


def _coefficients(call: Call, along: int, i: int) -> tuple[tuple[Number, float], tuple[Number, float]]:
    """d position / d first and d last, each with its rounding error in units of roundoff.

    Normalised boxes, n > 1: (L-1) - i*ratio and i*ratio are four roundings, of at most L-1 each. Pixel boxes: the share
    is between 0 and 1, but an implementation may go through the normalised box: seven more roundings of at most 1 each,
    twice.
    """
    n, span = call.inputs.crop_size[along], call.inputs.image.shape[2 + along] - 1
    one = call.number(1.0)
    centres = call.inputs.box_rule == "bin_centres"
    share: Number = (i + one / 2) / n if centres or n == 1 else i * one / (n - 1)
    if call.inputs.box_rule == "normalized":
        return ((span * (1 - share), 4.0 * span), (span * share, 4.0 * span))
    return ((1 - share, 16.0), (share, 16.0))


@dataclass(frozen=True)
class Slope:
    """The derivative of one interpolated value along an axis; `size` is its size before cancellation; the last three
    fields are as in Sum."""

    value: Number
    low: Number
    high: Number
    size: float
    error: float
    jumps: bool
    broken: bool = False
    tainted: bool = False
    hopeless: bool = False


def _slope(call: Call, n: int, c: int, along: int, of: Sample, across: Sample) -> Slope | None:
    """(1-f)*(b-t) on one side plus f*(b-t) on the other: the difference, 1-f, a product and a sum, 4u; casting f, 2u.

    None where it is exactly 0 and nothing is summed: outside, or on a pixel, where floor and ceil coincide. Along its
    own axis the slope jumps from cell to cell; along the other axis it is linear. Its extremes are therefore in the
    cells that the sample can reach, at the ends of the reach on the other axis.
    """

    def difference(cell: tuple[int, int], at: float) -> tuple[Number, float, bool]:
        low, high, frac = taps(at, call.inputs.image.shape[3 - along])
        (t, b), f = cell, call.number(frac)
        values = [call.pixel(n, c, a, k) if along == 0 else call.pixel(n, c, k, a) for k in (low, high) for a in (t, b)]
        if not call.exact(values):
            return math.nan, 0.0, True
        near, far = (call.number(values[k + 1]) - call.number(values[k]) for k in (0, 2))
        first = 1.0 if call.wide_boxes else 1 - frac  # casting f errs by u*f, and so does 1-f, however small
        sizes = first * (abs(values[0]) + abs(values[1])) + frac * (abs(values[2]) + abs(values[3]))
        return (1 - f) * near + f * far, sizes, False

    length = call.inputs.image.shape[2 + along]
    value, before, broken = call.number(0.0), 0.0, False
    inside = of.position is not None and across.position is not None
    if of.position is not None and across.position is not None:
        value, before, broken = difference(taps(of.position, length)[:2], across.position)
        if call.pinned and not broken and of.position == math.floor(of.position):
            return None
    error = 6.0 if call.wide_boxes else 4.0
    if call.pinned:
        if broken:
            return Slope(value, value, value, 0.0, 0.0, False, hopeless=True)
        return Slope(value, value, value, before, error, False) if inside else None
    first, last = min(math.floor(of.reach[0]), length - 1), min(math.ceil(of.reach[-1]), length - 1)
    differences = [difference((k, k + 1), at) for k in range(first, last) for at in across.reach]
    still = any(position == math.floor(position) for position in of.reach)
    ends = [v for v, _, is_nan in differences if not is_nan] + [call.number(0.0)] * (
        still or of.outside or across.outside
    )
    tainted = broken or any(is_nan for _, _, is_nan in differences)
    if not ends:
        return Slope(value, value, value, 0.0, 0.0, False, hopeless=True)
    return Slope(
        value=min(ends) if broken else value, low=min(ends), high=max(ends),
        size=max([before, *(sizes for _, sizes, _ in differences)]), error=error,
        jumps=(last - first > 1) or still or of.outside or across.outside, broken=broken, tainted=tainted,
    )  # fmt: skip
