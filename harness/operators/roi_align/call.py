"""One call of roi_align as its oracle sees it, like call.py for crop_and_resize: bins, pixels, arithmetic.

A mean over samples is a product of pixel weights on the two axes, each the mean of a bin's sample weights. They are
computed here, with the largest change that another order of rounding can cause.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from harness.operators.expected import Expected, Interval, Number, accumulated_in, size
from harness.operators.roi_align.case import RoiInputs
from harness.operators.roi_align.positions import BinAxis, Point, Variant, bin_axis, variants
from harness.operators.rounding import LARGE, SMALLEST, UNIT, rounder


@dataclass(frozen=True)
class RoiCall:
    """The inputs, and the quantities that follow from their dtypes; fields as in crop_and_resize's Call.

    axis     one axis, 0 (y) or 1 (x), of box m.
    bins     the variants of one bin on that axis; () if its samples may be anywhere.
    weights  the pixel weights of each variant.
    alone    the pixel weights of a single sample, on an axis of this length.
    plane    the smallest and largest pixel of an image's channel, and the largest step between neighbours along each
             axis; None if a pixel is not finite.
    """

    inputs: RoiInputs
    pinned: bool
    accumulate: str
    unit: float
    smallest: float
    number: Callable[[float], Number]
    wide_boxes: bool
    axis: Callable[[int, int], BinAxis]
    bins: Callable[[int, int, int], tuple[Variant, ...]]
    weights: Callable[[int, int, int], tuple[Weights, ...]]
    alone: Callable[[Point, int], Weights]
    plane: Callable[[int, int], Plane | None]

    def pixel(self, n: int, c: int, y: int, x: int) -> float:
        """The pixel in the accumulate type, which is how integers enter."""
        return rounder(self.accumulate)(float(self.inputs.image.item(n, c, y, x)))

    def finite(self, n: int, c: int, y: int, x: int) -> float:
        """The pixel, or 0 if it is not finite."""
        pixel = self.pixel(n, c, y, x)
        return pixel if self.exact((pixel,)) else 0.0

    def image_of(self, m: int) -> int:
        return int(self.inputs.boxes.item(m, 0))

    def exact(self, values: Iterable[float]) -> bool:
        """Whether nothing computed from these values can overflow or be NaN."""
        large = LARGE[self.accumulate]
        return all(abs(value) < large for value in values)


def call_of(inputs: RoiInputs, pinned: bool) -> RoiCall:
    """The call of these inputs; each bin is computed once and cached."""
    accumulate, dtype = accumulated_in(inputs), inputs.boxes.dtype.name
    unit = 0.0 if pinned else max(UNIT[dtype], UNIT[accumulate])

    @functools.cache
    def axis(m: int, along: int) -> BinAxis:
        first, last = (float(inputs.boxes.item(m, column)) for column in ((2, 4), (1, 3))[along])
        return bin_axis(
            first, last, inputs.spatial_scale, inputs.aligned, inputs.output_size[along], inputs.sampling_ratio,
            int(inputs.image.shape[2 + along]), dtype, unit,
        )  # fmt: skip

    @functools.cache
    def bins(m: int, along: int, index: int) -> tuple[Variant, ...]:
        return variants(axis(m, along), index)

    @functools.cache
    def weights(m: int, along: int, index: int) -> tuple[Weights, ...]:
        length = int(inputs.image.shape[2 + along])
        return tuple(_weights(call, variant, length) for variant in bins(m, along, index))

    @functools.cache
    def alone(point: Point, length: int) -> Weights:
        return _weights(call, Variant(1, (point,)), length)

    @functools.cache
    def plane(n: int, c: int) -> Plane | None:
        return _plane(call, n, c)

    call = RoiCall(
        inputs=inputs, pinned=pinned, accumulate=accumulate, unit=UNIT[accumulate], smallest=SMALLEST[accumulate],
        number=Fraction if accumulate == "float64" else float, wide_boxes=UNIT[dtype] < UNIT[accumulate], axis=axis,
        bins=bins, weights=weights, alone=alone, plane=plane,
    )  # fmt: skip
    return call


@dataclass(frozen=True)
class Hat:
    """The weight of a pixel in a bin on one axis: its value, its slack, and the number of contributing samples.

    read  whether a sample's weight for it is above 0 in the accumulate dtype. A double just below 1 is 1 there, and a
          pixel of weight 0 is not read.
    sure  whether that holds in any order of rounding.
    """

    value: Number
    slack: float
    samples: int
    read: bool
    sure: bool = False


@dataclass
class Weights:
    """The pixels that one axis of a bin reads: a `grid` of samples, of which `samples` are in reach. `steps` are (cell,
    slack): a sample that may move by slack, times its share of the mean, between the pixels cell and cell + 1."""

    hats: dict[int, Hat] = field(default_factory=dict)
    steps: list[tuple[int, float]] = field(default_factory=list)
    samples: int = 0
    grid: int = 1


def wobble(call: RoiCall, point: Point) -> float:
    """The error of a weight due to its position: another order of rounding, or the cast of a double."""
    return point.slack + (call.unit * point.fraction if call.wide_boxes else 0.0)


def _weights(call: RoiCall, variant: Variant, length: int) -> Weights:
    """The mean of the samples' weights."""
    mean = Weights(samples=len(variant.points), grid=variant.grid)
    for point in variant.points:
        off = wobble(call, point)
        frac = call.number(point.fraction)
        shares: dict[int, Number] = {point.low: 1 - frac}
        if point.low + 1 < length:
            shares[point.low + 1] = frac
        # A cell that the sample may move into is read in some orders, though with weight 0 here; a cast changes no
        # cell.
        for cell in point.cells:
            mean.steps.append((cell, off / variant.grid))
            shares = {cell: call.number(0.0), cell + 1: call.number(0.0), **shares}
        pixels = reads(call, point)
        for pixel, weight in shares.items():
            if weight == 0 and not off:
                continue
            hat = mean.hats.get(pixel, Hat(call.number(0.0), 0.0, 0, False))
            mean.hats[pixel] = Hat(
                hat.value + weight / variant.grid,
                hat.slack + off / variant.grid,
                hat.samples + 1,
                hat.read or pixel in pixels,
                hat.sure or weight > off,
            )
    return mean


def reads(call: RoiCall, point: Point) -> tuple[int, ...]:
    """The pixels that a sample reads on an axis: those with a weight above 0 after the cast."""
    cast = rounder(call.accumulate)(point.fraction)
    return tuple(point.low + k for k, weight in enumerate((1 - cast, cast)) if weight)


Plane = tuple[float, float, tuple[float, float]]


def _plane(call: RoiCall, n: int, c: int) -> Plane | None:
    height, width = call.inputs.image.shape[2:]
    rows = [[call.pixel(n, c, y, x) for x in range(width)] for y in range(height)]
    if not call.exact(itertools.chain(*rows)):
        return None
    steps = (
        max(
            (abs(b - a) for one, other in itertools.pairwise(each) for a, b in zip(one, other, strict=True)),
            default=0.0,
        )
        for each in (rows, list(zip(*rows, strict=True)))
    )
    return min(map(min, rows)), max(map(max, rows)), (next(steps), next(steps))


def may_be_anywhere(call: RoiCall, m: int, i: int, j: int) -> bool:
    """Whether samples of a bin may be anywhere, unless the other axis puts them all beyond the map."""
    axes = call.bins(m, 0, i), call.bins(m, 1, j)
    silent = any(each and not any(variant.points for variant in each) for each in axes)
    return not all(axes) and not silent


def anywhere(call: RoiCall, n: int, c: int) -> Expected:
    """The expectation of a bin whose samples may be anywhere: between the smallest and the largest pixel, or 0."""
    plane = call.plane(n, c)
    if plane is None:
        return Expected(0.0, math.inf, ((math.nan, math.nan),))
    # Whatever the number of samples, the result stays between the ends, except for its roundings.
    ends = (min(plane[0], 0.0), max(plane[1], 0.0))
    slack = 2.0**-10 * max(-ends[0], ends[1])
    return Expected(call.number(0.0), 0.0, ((ends[0] - slack, ends[1] + slack),))


def are_finite(call: RoiCall, n: int, c: int, wy: Weights, wx: Weights) -> bool:
    """Whether all pixels with a weight on both axes are finite."""
    return call.exact(call.pixel(n, c, y, x) for y in wy.hats for x in wx.hats)


def drop_unread(weights: Weights, sure: bool = False) -> Weights:
    """Without the pixels that are not read (with `sure`: not read in every order), and without steps into them."""
    hats = {pixel: hat for pixel, hat in weights.hats.items() if (hat.sure if sure else hat.read)}
    return replace(weights, hats=hats, steps=[step for step in weights.steps if {step[0], step[0] + 1} <= hats.keys()])


def weighted_sum(call: RoiCall, n: int, c: int, wy: Weights, wx: Weights) -> tuple[Number, float, float]:
    """The sum of pixels weighted on both axes, the sum of the terms' sizes, and how far moving samples may change it.

    Non-finite pixels count as 0.
    """
    rows = {y: {x: call.finite(n, c, y, x) for x in wx.hats} for y in wy.hats}
    columns = {x: {y: row[x] for y, row in rows.items()} for x in wx.hats}
    number, magnitude = call.number, 0.0
    value: Number = number(0.0)
    for y, hat_y in wy.hats.items():
        for x, hat_x in wx.hats.items():
            term = hat_y.value * hat_x.value * number(rows[y][x])
            value += term
            magnitude += size(term)
    shift = sum(slack * _steepness(wx, rows, cell) for cell, slack in wy.steps)
    shift += sum(slack * _steepness(wy, columns, cell) for cell, slack in wx.steps)
    return value, magnitude, shift


def _steepness(across: Weights, lines: Mapping[int, Mapping[int, float]], cell: int) -> float:
    """The weighted difference between two neighbouring lines of pixels."""
    return sum(
        (size(hat.value) + hat.slack) * abs(lines[cell + 1][place] - lines[cell][place])
        for place, hat in across.hats.items()
    )


def expectation(call: RoiCall, branches: list[tuple[Number, float]]) -> Expected:
    """An expectation from (value, bound) pairs: the first is nominal (0 if there is none), the others are
    alternatives."""
    branches = branches or [(call.number(0.0), 0.0)]
    others: list[Interval] = []
    for value, bound in branches[1:]:
        if math.isfinite(value):
            others.append((value - call.number(bound), value + call.number(bound)))
        else:
            others.append((math.nan, math.nan))
    return Expected(*branches[0], tuple(dict.fromkeys(others)), loose=not math.isfinite(branches[0][0]))
