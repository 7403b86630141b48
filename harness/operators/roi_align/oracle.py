"""What every output of roi_align must be, and how far an honest implementation may be from it.

Plain Python, one output at a time, as oracle.py is for crop_and_resize: positions are the pinned order's to the bit
(positions.py), what comes after is in double for float32 results and in exact fractions for float64 ones. A mean is
taken as the weights of pixels on the two axes, each the mean over the samples of the bin.

Bounds hold for the two sane formulations. Sample by sample: 1-ly, 1-lx, their product, the product with the pixel and
three sums, then a sum over the samples and a division: 8 + samples roundings of sum(weight * |pixel|). Axis by axis: a
weight of n samples is n roundings and a division, and a bin that reads R rows and C columns sums R and then C products:
n_y + n_x + 4 + R + C. The larger of the two counts.

Implementations that round positions in another order (pinned=False) get what that can change and no more. A sample that
moves by its slack changes the mean by slack times the steepest cell it can be in; a sample that can be on either side
of a jump, or a grid that can have one sample more, gives another value, of its own bound: that output is ambiguous.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping

from harness.operators.arrays import Direction
from harness.operators.expected import SECOND_ORDER, Expected, Number, Place, size
from harness.operators.roi_align.call import RoiCall, Weights, call_of, chosen
from harness.operators.roi_align.case import RoiInputs
from harness.operators.roi_align.gradients import grad_boxes, grad_image
from harness.operators.roi_align.maximum import forward_max


def expected(
    inputs: RoiInputs, direction: Direction, *, pinned: bool = True, places: Iterable[Place] | None = None
) -> Iterator[tuple[Place, Expected]]:
    """Each place of the result, with what is expected there; all places, or only the given ones.

    forward: places (m,c,i,j) of (K,C,height,width). grad_image: (n,c,y,x) of (N,C,H,W). grad_boxes: (m,column), (K,5).
    pinned=True: positions are the pinned order's to the bit and nothing is ambiguous. Gradients of boxes and of maxima
    are judged only so: nobody else has the first, and the second jump wherever two samples are about as large.
    """
    call = call_of(inputs, pinned)
    at: Callable[[Place], Expected]
    if direction == "forward":
        at = functools.partial(forward_max if inputs.mode == "max" else _forward, call)
        shape = (*inputs.boxes.shape[:1], inputs.image.shape[1], *inputs.output_size)
    elif direction == "grad_image":
        at, shape = grad_image(call), inputs.image.shape
    else:
        at, shape = grad_boxes(call), inputs.boxes.shape
    for place in itertools.product(*map(range, shape)) if places is None else places:
        yield place, at(place)


def _forward(call: RoiCall, place: Place) -> Expected:
    m, c, i, j = place
    pairs = itertools.product(call.weights(m, 0, i), call.weights(m, 1, j))
    return chosen(call, [mean for wy, wx in pairs for mean in _means(call, call.image_of(m), c, wy, wx)])


def _means(call: RoiCall, n: int, c: int, wy: Weights, wx: Weights) -> list[tuple[Number, float]]:
    """The mean of a bin, and its bound. A pixel whose weight is 0 once it is cast is not read.

    Only who does not claim this order may have 1 - weight in the type of the boxes, read such a pixel and meet a NaN.
    """
    if _finite(call, n, c, wy, wx):
        return [_mean(call, n, c, wy, wx)]
    wy, wx = _read(wy), _read(wx)
    lost = (math.nan, 0.0)
    if not _finite(call, n, c, wy, wx):
        return [lost]
    return [_mean(call, n, c, wy, wx), *([] if call.pinned else [lost])]


def _finite(call: RoiCall, n: int, c: int, wy: Weights, wx: Weights) -> bool:
    return call.exact(call.pixel(n, c, y, x) for y in wy.hats for x in wx.hats)


def _read(weights: Weights) -> Weights:
    """Without what is not read: what a sample could move into there is no pixel to weigh."""
    hats = {pixel: hat for pixel, hat in weights.hats.items() if hat.read}
    return Weights(hats, [step for step in weights.steps if step[0] in hats and step[0] + 1 in hats], weights.samples)


def _mean(call: RoiCall, n: int, c: int, wy: Weights, wx: Weights) -> tuple[Number, float]:
    """The mean of a bin of finite pixels, and its bound."""
    rows = {y: {x: call.pixel(n, c, y, x) for x in wx.hats} for y in wy.hats}
    number, reached = call.number, 0.0
    value: Number = number(0.0)
    for y, hat_y in wy.hats.items():
        for x, hat_x in wx.hats.items():
            term = hat_y.value * hat_x.value * number(rows[y][x])
            value += term
            reached += size(term)
    most_y = max((hat.samples for hat in wy.hats.values()), default=0)
    most_x = max((hat.samples for hat in wx.hats.values()), default=0)
    separable = most_y + most_x + 4 + len(wy.hats) + len(wx.hats)
    roundings = max(8 + wy.samples * wx.samples, separable)
    bound = call.unit * roundings * reached
    columns = {x: {y: row[x] for y, row in rows.items()} for x in wx.hats}
    bound += sum(slack * _steepness(wx, rows, cell) for cell, slack in wy.steps)
    bound += sum(slack * _steepness(wy, columns, cell) for cell, slack in wx.steps)
    return value, bound * SECOND_ORDER + 8 * (1 + len(wy.hats) * len(wx.hats)) * call.smallest * bool(reached)


def _steepness(across: Weights, lines: Mapping[int, Mapping[int, float]], cell: int) -> float:
    """How far two neighbouring lines of pixels are apart, weighed across."""
    return sum(
        (size(hat.value) + hat.slack) * abs(lines[cell + 1][place] - lines[cell][place])
        for place, hat in across.hats.items()
    )
