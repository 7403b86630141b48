"""The slope of the map at a sample of roi_align, from which the box gradients are computed.

Along an axis it is the difference of two pixels, weighted over the other axis. It differs from cell to cell, and is 0
on a pixel, in the band beside the map and beyond the map: an implementation that rounds positions in another order may
find a sample near a pixel in either cell, or on the pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.operators.expected import Number, Sum, size
from harness.operators.roi_align.call import RoiCall, Weights
from harness.operators.roi_align.positions import Point


@dataclass(frozen=True)
class Slope:
    """The derivative of the map along an axis: its value and the range that is equally right.

    sizes  of its terms before cancellation, each with the number of samples in its weight.
    jumps, broken, tainted, hopeless  as in Sum.
    """

    value: Number
    low: Number
    high: Number
    sizes: tuple[tuple[float, int], ...] = ()
    jumps: bool = False
    broken: bool = False
    tainted: bool = False
    hopeless: bool = False

    def add_to(self, call: RoiCall, total: Sum, g: float, move: Number) -> None:
        """Adds to a sum: the slope times the upstream value times the sample's share of an edge's movement.

        Its error: the weight, the difference, three products, and the share of at most seven roundings.
        """
        if self.hopeless or not call.exact((g,)):
            total.broken = total.hopeless = True
            return
        factor, scale = call.number(g) * move, abs(g) * size(move)
        ends = self.low * factor, self.high * factor
        magnitude = scale * sum(each for each, _ in self.sizes)
        error = scale * sum((samples + 13) * each for each, samples in self.sizes)
        if magnitude:
            total.add(self.value * factor, min(ends), max(ends), magnitude, error)
            total.terms += len(self.sizes) - 1
        total.jumps |= self.jumps
        total.broken |= self.broken
        total.tainted |= self.tainted


@dataclass(frozen=True)
class _Cell:
    """The slope in one cell; is_nan if it reads a non-finite pixel in every order of rounding, doubtful if in some."""

    value: Number
    off: float
    sizes: tuple[tuple[float, int], ...]
    is_nan: bool
    doubtful: bool


def slope_of(call: RoiCall, n: int, c: int, along: int, point: Point, across: Weights) -> Slope:
    """The slope at a sample along one axis, with the weights of the other."""
    zero = call.number(0.0)
    cells = {k: _cell(call, n, c, along, k, across) for k in point.cells}
    nominal = cells.get(point.low) if point.fraction > 0 else None
    finite = [cell for cell in cells.values() if not cell.is_nan]
    ends = [end for cell in finite for end in (cell.value - call.number(cell.off), cell.value + call.number(cell.off))]
    if point.may_rest or not cells:
        ends.append(zero)
    is_nan = len(finite) < len(cells)
    broken = nominal is not None and nominal.is_nan
    if not ends:
        return Slope(zero, zero, zero, broken=True, hopeless=True)
    return Slope(
        value=min(ends) if broken else nominal.value if nominal is not None else zero,
        low=min(ends),
        high=max(ends),
        sizes=max((cell.sizes for cell in finite), key=lambda sizes: sum(each for each, _ in sizes), default=()),
        jumps=len(cells) + point.may_rest > 1,
        broken=broken,
        tainted=is_nan or any(cell.doubtful for cell in finite),
    )


def _cell(call: RoiCall, n: int, c: int, along: int, k: int, across: Weights) -> _Cell:
    """The slope between the pixels k and k + 1 of an axis. A pixel whose weight is 0 after the cast is not read."""

    def step(at: int) -> tuple[float, float]:
        low, high = (call.pixel(n, c, *((of, at) if along == 0 else (at, of))) for of in (k, k + 1))
        return low, high

    value, sizes, doubtful = call.number(0.0), [], False
    differences: dict[int, float] = {}
    for at, hat in across.hats.items():
        pixels = step(at)
        differences[at] = 0.0
        if call.pinned and not hat.value:
            continue
        if not call.exact(pixels):
            if hat.read if call.pinned else hat.sure:
                return _Cell(math.nan, 0.0, (), True, False)
            doubtful = not call.pinned
            continue
        value += hat.value * (call.number(pixels[1]) - call.number(pixels[0]))
        differences[at] = pixels[1] - pixels[0]
        # A cast weight has an absolute error: it counts as a weight of 1.
        weight = hat.samples / across.grid if call.wide_boxes else size(hat.value) + (0.0 if call.pinned else hat.slack)
        sizes.append((weight * (abs(pixels[0]) + abs(pixels[1])), hat.samples))
    if across.samples == 1:
        sizes = [(sum(each for each, _ in sizes), len(sizes))]  # one term, with a sum of its own
    steps = () if call.pinned else across.steps
    off = sum(slack * abs(differences[at + 1] - differences[at]) for at, slack in steps)
    return _Cell(value, off, tuple(sizes), False, doubtful)
