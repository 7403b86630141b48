"""roi_align's sample positions: the pinned order in emulated arithmetic, and what another order may change.

Implementations that round in different orders may differ in two ways. A sample moves by a few ulps, which changes a
result in proportion to the slope of the map; or it crosses a jump: at -1 or L, beyond which it counts as 0; at a pixel,
where the slope changes; at a size of one pixel, below which a box is stretched; or at a whole number of pixels per bin,
where an adaptive grid gains a sample. The possible outcomes on one axis of a bin are a list of Variants, the pinned
order's first; usually there is only one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from harness.operators.rounding import rounder

# Roundings between a box and a position, counted for two orders at once: eleven each, rounded up.
ROUNDINGS = 24
# In a grid larger than this only the samples that can be in reach are visited.
LARGE_GRID = 4096
MOST_SAMPLES = 2**31
# If another order can move a sample by this many pixels, or more than so many samples of a bin across the map's ends,
# variants are not enumerated: any sample may be anywhere.
FAR = 0.5
MOST_DOUBTFUL = 4


@dataclass(frozen=True)
class BinAxis:
    """One axis of one box on a map of `length` pixels: `count` bins.

    grids      the possible numbers of samples per bin, the pinned order's first.
    stretches  the possible answers to whether the box is stretched to one pixel, the pinned order's first.
    slack      how far another order may move a sample, in pixels.
    """

    start: float
    bin: float
    count: int
    length: int
    scale: float
    dtype: str
    grids: tuple[int, ...]
    stretches: tuple[bool, ...]
    slack: float


@dataclass(frozen=True)
class Point:
    """A sample in reach: its index in the bin, and its position, clamped to the map.

    least, largest  the range of its position over all orders of rounding, clamped as well.
    """

    index: int
    position: float
    least: float
    largest: float

    @property
    def low(self) -> int:
        return math.floor(self.position)

    @property
    def fraction(self) -> float:
        return self.position - self.low

    @property
    def slack(self) -> float:
        """The largest distance of its position in another order."""
        return max(self.largest - self.position, self.position - self.least)

    @property
    def cells(self) -> range:
        """The cells [k, k + 1] that it may lie in, as values of k."""
        return range(math.floor(self.least), math.ceil(self.largest))

    @property
    def may_rest(self) -> bool:
        """Whether it may lie on a pixel, or in the band beside the map, where its slope is 0."""
        return math.ceil(self.least) <= self.largest


@dataclass(frozen=True)
class Variant:
    """One possible outcome on one axis of a bin: the points in reach out of `grid` samples, in order."""

    grid: int
    points: tuple[Point, ...]


def bin_axis(
    first: float, last: float, scale: float, aligned: bool, count: int, ratio: int, length: int, dtype: str, unit: float
) -> BinAxis:
    """The axis in the pinned order, each operation rounded in `dtype`. `unit` is 0 for an implementation in the pinned
    order, else its unit roundoff."""
    to = rounder(dtype)
    factor, offset = to(scale), 0.5 if aligned else 0.0
    start, end = to(to(first * factor) - offset), to(to(last * factor) - offset)
    size = to(end - start)
    magnitude = abs(first * factor) + abs(last * factor) + 1.0
    slack = ROUNDINGS * unit * magnitude if unit and math.isfinite(magnitude) else 0.0
    stretched = not aligned and size < 1
    stretches = (stretched, not stretched) if slack and not aligned and abs(size - 1) <= slack else (stretched,)
    size = 1.0 if stretched else size
    step = to(size / to(count))
    if ratio > 0:
        grids = [ratio]
    else:
        wobble = slack / count
        grids = [_adaptive(step), *(_adaptive(step + off) for off in (-wobble, wobble) if wobble)]
    return BinAxis(start, step, count, length, factor, dtype, tuple(dict.fromkeys(grids)), stretches, slack)


def _adaptive(step: float) -> int:
    return math.ceil(step) if 0 < step < MOST_SAMPLES - 1 else 0


def position(axis: BinAxis, bin_index: int, i: int, grid: int) -> float:
    """Sample `i` of a bin, before it is clamped."""
    to = rounder(axis.dtype)
    base = to(axis.start + to(to(bin_index) * axis.bin))
    return to(base + to(to(to(to(i) + 0.5) * axis.bin) / to(grid)))


def variants(axis: BinAxis, bin_index: int) -> tuple[Variant, ...]:
    """The variants of this axis of a bin, the pinned order's first; () if there are too many to enumerate."""
    if axis.slack >= FAR:
        return ()
    options: dict[Variant, None] = {}
    for grid in axis.grids:
        points, doubtful = _in_reach(axis, bin_index, grid)
        if len(doubtful) > MOST_DOUBTFUL:
            return ()
        options |= dict.fromkeys(_of_grid(grid, points, doubtful))
    return tuple(options)


def _in_reach(axis: BinAxis, bin_index: int, grid: int) -> tuple[list[Point], dict[Point, bool]]:
    """The samples that may be in reach, and for the uncertain ones whether they are in the pinned order."""
    points: list[Point] = []
    doubtful: dict[Point, bool] = {}
    for i in _candidates(axis, bin_index, grid):
        p = position(axis, bin_index, i, grid)
        low, high = p - axis.slack, p + axis.slack
        if high >= -1 and low <= axis.length:  # NaN is neither
            point = Point(i, *(min(max(each, 0.0), float(axis.length - 1)) for each in (p, low, high)))
            points.append(point)
            if low < -1 or high > axis.length:
                doubtful[point] = -1 <= p <= axis.length
    return points, doubtful


def _of_grid(grid: int, points: list[Point], doubtful: dict[Point, bool]) -> Iterator[Variant]:
    for choice in itertools.product(*((inside, not inside) for inside in doubtful.values())):
        absent = {point for point, here in zip(doubtful, choice, strict=True) if not here}
        yield Variant(grid, tuple(point for point in points if point not in absent))


def _candidates(axis: BinAxis, bin_index: int, grid: int) -> range:
    """The indices of the samples that can be in reach, and a few more; all of them in a small grid."""
    if grid <= LARGE_GRID:
        return range(grid)
    base = axis.start + bin_index * axis.bin
    if not math.isfinite(base) or axis.bin == 0:
        return range(grid if math.isfinite(base) else 0)
    ends = sorted((edge - base) * grid / axis.bin for edge in (-2.0 - axis.slack, axis.length + 1.0 + axis.slack))
    # Rounding moves a position by no more than its neighbourhood: the ulps of the box itself.
    margin = 4 + math.ceil(abs(base) * 2.0**-20 * grid / abs(axis.bin))
    first, last = max(0, math.floor(ends[0]) - margin), min(grid, math.ceil(ends[1]) + margin)
    return range(first, max(first, last))


def shares(axis: BinAxis, bin_index: int, i: int, grid: int, stretched: bool) -> tuple[float, float]:
    """How far sample `i` of a grid moves, in pixels, when the first and when the last edge moves by one unit.

    stretched: whether the box is stretched to one pixel, one of the axis's `stretches`.
    """
    if stretched:
        return axis.scale, 0.0
    share = (bin_index + (i + 0.5) / grid) / axis.count
    return axis.scale * (1 - share), axis.scale * share
