"""One call of roi_align as its oracle sees it, as call.py is for crop_and_resize: its bins, its pixels, its arithmetic.

A mean over samples is had from the weights of pixels on the two axes, each the mean of what the samples of a bin weigh
them; they are made here, with how far another order of rounding may change them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from harness.operators.expected import Expected, Interval, Number, accumulated_in
from harness.operators.roi_align.case import RoiInputs
from harness.operators.roi_align.positions import BinAxis, Point, Variant, bin_axis, variants
from harness.operators.rounding import LARGE, SMALLEST, UNIT, rounder


@dataclass(frozen=True)
class RoiCall:
    """The inputs, and what follows from their dtypes; the fields are those of crop_and_resize's Call.

    axis     one axis, 0 (y) or 1 (x), of box m.
    bins     what that axis of one of its bins may hold.
    weights  how each of that weighs the pixels.
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

    def pixel(self, n: int, c: int, y: int, x: int) -> float:
        """The pixel in the accumulate type, which is how integers enter."""
        return rounder(self.accumulate)(float(self.inputs.image.item(n, c, y, x)))

    def image_of(self, m: int) -> int:
        return int(self.inputs.boxes.item(m, 0))

    def exact(self, values: Iterable[float]) -> bool:
        """Whether nothing computed from these values can overflow or be NaN."""
        large = LARGE[self.accumulate]
        return all(abs(value) < large for value in values)


def call_of(inputs: RoiInputs, pinned: bool) -> RoiCall:
    """What the oracle asks of these inputs; each bin is computed once."""
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

    call = RoiCall(
        inputs=inputs, pinned=pinned, accumulate=accumulate, unit=UNIT[accumulate], smallest=SMALLEST[accumulate],
        number=Fraction if accumulate == "float64" else float, wide_boxes=UNIT[dtype] < UNIT[accumulate], axis=axis,
        bins=bins, weights=weights,
    )  # fmt: skip
    return call


@dataclass(frozen=True)
class Hat:
    """The weight of a pixel in a bin, one axis: its value, how far it may be off, and how many samples made it.

    read  whether some sample's weight of it is more than 0 in the type that is accumulated in. A double just below 1
          is 1 there, and a pixel of weight 0 is not read.
    """

    value: Number
    slack: float
    samples: int
    read: bool


@dataclass
class Weights:
    """The pixels that one axis of a bin reads. `steps` are (cell, slack): a sample that may move by slack, its share of
    the mean included, within the pixels cell and cell + 1."""

    hats: dict[int, Hat] = field(default_factory=dict)
    steps: list[tuple[int, float]] = field(default_factory=list)
    samples: int = 0


def wobble(call: RoiCall, point: Point) -> float:
    """How far a weight may be off for reasons of its position: another order, or the cast of a double."""
    return point.slack + (call.unit * point.fraction if call.wide_boxes else 0.0)


def _weights(call: RoiCall, variant: Variant, length: int) -> Weights:
    """The mean of the samples' weights."""
    found = Weights(samples=len(variant.points))
    for point in variant.points:
        off = wobble(call, point)
        frac = call.number(point.fraction)
        reached: dict[int, Number] = {point.low: 1 - frac}
        if point.low + 1 < length:
            reached[point.low + 1] = frac
        # What it may move into is read by some, if with no weight here.
        low, high = max(point.position - off, 0.0), min(point.position + off, length - 1)
        for cell in range(math.floor(low), math.ceil(high)) if off else ():
            found.steps.append((cell, off / variant.grid))
            reached = {cell: call.number(0.0), cell + 1: call.number(0.0), **reached}
        read = reads(call, point)
        for pixel, weight in reached.items():
            if weight == 0 and not off:
                continue
            before = found.hats.get(pixel, Hat(call.number(0.0), 0.0, 0, False))
            found.hats[pixel] = Hat(
                before.value + weight / variant.grid,
                before.slack + off / variant.grid,
                before.samples + 1,
                before.read or pixel in read,
            )
    return found


def reads(call: RoiCall, point: Point) -> tuple[int, ...]:
    """The pixels that a sample reads on an axis: those whose weight is more than 0 once it is cast."""
    cast = rounder(call.accumulate)(point.fraction)
    return tuple(point.low + k for k, weight in enumerate((1 - cast, cast)) if weight)


def chosen(call: RoiCall, found: list[tuple[Number, float]]) -> Expected:
    """The first (value, bound), and the others as what another order of rounding may make of it."""
    others: list[Interval] = []
    for value, bound in found[1:]:
        if math.isfinite(value):
            others.append((value - call.number(bound), value + call.number(bound)))
        else:
            others.append((math.nan, math.nan))
    return Expected(*found[0], tuple(dict.fromkeys(others)), loose=not math.isfinite(found[0][0]))
