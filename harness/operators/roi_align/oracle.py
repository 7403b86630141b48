"""The expected value of every output of roi_align, and how far an honest implementation may be from it.

Plain Python, one output at a time, like oracle.py for crop_and_resize: positions follow the pinned order to the bit
(positions.py), the rest is computed in double for float32 results and in exact fractions for float64 ones. A mean is
the product of pixel weights on the two axes, each the mean over the samples of the bin.

Bounds hold for the two sane formulations. Sample by sample: 1-ly, 1-lx, their product, the product with the pixel and
three sums, then a sum over the samples and a division: 8 + samples roundings of sum(weight * |pixel|). Axis by axis: a
weight of n samples is n roundings and a division, and a bin that reads R rows and C columns sums R and then C products:
n_y + n_x + 4 + R + C. The larger of the two counts.

For implementations that round positions in another order (pinned=False) the bound grows by what that can change, and no
more. A sample that moves by its slack changes the mean by slack times the steepest cell it can be in; a sample that can
be on either side of a jump, or a grid that can have one sample more, adds an alternative value with a bound of its own:
that output is ambiguous.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator

from harness.operators.arrays import Direction
from harness.operators.expected import SECOND_ORDER, Expected, Number, Place
from harness.operators.roi_align.call import (
    RoiCall,
    Weights,
    anywhere,
    are_finite,
    call_of,
    drop_unread,
    expectation,
    may_be_anywhere,
    weighted_sum,
)
from harness.operators.roi_align.case import Mode, RoiInputs
from harness.operators.roi_align.gradients import grad_boxes, grad_image
from harness.operators.roi_align.maximum import maxima
from harness.operators.roi_align.weighted_maximum import weighted_maxima


def expected(
    inputs: RoiInputs, direction: Direction, *, pinned: bool = True, places: Iterable[Place] | None = None
) -> Iterator[tuple[Place, Expected]]:
    """Each place of the result with its expected value; all places, or only those in `places`.

    forward: places (m,c,i,j) of (K,C,height,width). grad_image: (n,c,y,x) of (N,C,H,W). grad_boxes: (m,column), (K,5).
    pinned=True: positions follow the pinned order to the bit; the only ambiguity left is which of two nearly equal
    samples is the maximum.
    """
    call = call_of(inputs, pinned)
    at: Callable[[Place], Expected]
    if direction == "forward":
        at = functools.partial(_forward, call, _OF_BIN[inputs.mode])
        shape = (*inputs.boxes.shape[:1], inputs.image.shape[1], *inputs.output_size)
    elif direction == "grad_image":
        at, shape = grad_image(call), inputs.image.shape
    else:
        at, shape = grad_boxes(call), inputs.boxes.shape
    for place in itertools.product(*map(range, shape)) if places is None else places:
        yield place, at(place)


# (call, m, c, i, j) -> the value of a bin and its bound in the pinned order, then in others.
OfBin = Callable[[RoiCall, int, int, int, int], list[tuple[Number, float]]]


def _forward(call: RoiCall, of_bin: OfBin, place: Place) -> Expected:
    m, c, i, j = place
    if may_be_anywhere(call, m, i, j):
        return anywhere(call, call.image_of(m), c)
    return expectation(call, of_bin(call, m, c, i, j))


def _means(call: RoiCall, m: int, c: int, i: int, j: int) -> list[tuple[Number, float]]:
    n, pairs = call.image_of(m), itertools.product(call.weights(m, 0, i), call.weights(m, 1, j))
    return [mean for wy, wx in pairs for mean in _means_of(call, n, c, wy, wx)]


_OF_BIN: dict[Mode, OfBin] = {"avg": _means, "max": maxima, "weighted_max": weighted_maxima}


def _means_of(call: RoiCall, n: int, c: int, wy: Weights, wx: Weights) -> list[tuple[Number, float]]:
    """The mean of a bin, and its bound. A pixel whose weight is 0 after the cast is not read.

    In another order a pixel with a weight of about 0 may or may not be read; and 1 - weight may be computed in the
    boxes' dtype, be above 0 there, and meet a NaN.
    """
    nan = (math.nan, 0.0)
    if are_finite(call, n, c, wy, wx):
        return [_mean(call, n, c, wy, wx)]
    if call.pinned:
        wy, wx = drop_unread(wy), drop_unread(wx)
        return [_mean(call, n, c, wy, wx) if are_finite(call, n, c, wy, wx) else nan]
    pixels = ((y, x) for y, one in wy.hats.items() for x, other in wx.hats.items() if one.sure and other.sure)
    return [nan] if not call.exact(call.pixel(n, c, *at) for at in pixels) else [_mean(call, n, c, wy, wx), nan]


def _mean(call: RoiCall, n: int, c: int, wy: Weights, wx: Weights) -> tuple[Number, float]:
    """The mean of a bin, and its bound; non-finite pixels count as 0."""
    value, magnitude, shift = weighted_sum(call, n, c, wy, wx)
    most_y = max((hat.samples for hat in wy.hats.values()), default=0)
    most_x = max((hat.samples for hat in wx.hats.values()), default=0)
    separable = most_y + most_x + 4 + len(wy.hats) + len(wx.hats)
    roundings = max(8 + wy.samples * wx.samples, separable)
    bound = call.unit * roundings * magnitude + shift
    return value, bound * SECOND_ORDER + 8 * (1 + len(wy.hats) * len(wx.hats)) * call.smallest * bool(magnitude)
