"""Where roi_align's samples sit: the pinned order in emulated arithmetic, and what another order may change.

Two implementations that round in different orders may part in two ways. A sample moves by a few ulps, which changes a
result by as much as the map is steep there; or it lands on the other side of a jump: of -1 or L, beyond which it counts
as 0, or of a whole number of pixels a bin, where an adaptive grid gains a sample. What can happen on one axis of a bin
is a list of Variants, the pinned order's first; where nothing can happen there is one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from harness.operators.rounding import rounder

# Roundings between a box and a position, counted for two orders at once: eleven each, rounded up.
ROUNDINGS = 24
# A grid larger than this is not walked through: only the part of it that can be in reach.
LARGE_GRID = 4096
MOST_SAMPLES = 2**31


@dataclass(frozen=True)
class BinAxis:
    """One axis of one box on a map of `length` pixels: `count` bins of `grid` samples.

    grids   what the grid may be in another order of rounding, itself among them.
    slack   how far another order may put a sample, in pixels.
    """

    start: float
    bin: float
    grid: int
    stretched: bool
    count: int
    length: int
    scale: float
    dtype: str
    grids: tuple[int, ...]
    slack: float


@dataclass(frozen=True)
class Point:
    """A sample in reach: its index in the bin, where it is, clamped to the map, and how far it may be off."""

    index: int
    position: float
    slack: float

    @property
    def low(self) -> int:
        return math.floor(self.position)

    @property
    def fraction(self) -> float:
        return self.position - self.low


@dataclass(frozen=True)
class Variant:
    """What one axis of one bin may hold: points in reach out of `grid` samples, in their order."""

    grid: int
    points: tuple[Point, ...]


def bin_axis(
    first: float, last: float, scale: float, aligned: bool, count: int, ratio: int, length: int, dtype: str, unit: float
) -> BinAxis:
    """The pinned order, each operation rounded in `dtype`; `unit` is 0 for an implementation that has it, or the unit
    roundoff of one that has another."""
    to = rounder(dtype)
    factor, offset = to(scale), 0.5 if aligned else 0.0
    start, end = to(to(first * factor) - offset), to(to(last * factor) - offset)
    size = to(end - start)
    stretched = not aligned and size < 1
    size = 1.0 if stretched else size
    step = to(size / to(count))
    magnitude = abs(first * factor) + abs(last * factor) + 1.0
    slack = ROUNDINGS * unit * magnitude if unit and math.isfinite(magnitude) else 0.0
    if ratio > 0:
        grids = [ratio]
    else:
        wobble = slack / count
        grids = [_adaptive(step), *(_adaptive(step + off) for off in (-wobble, wobble) if wobble)]
    return BinAxis(start, step, grids[0], stretched, count, length, factor, dtype, tuple(dict.fromkeys(grids)), slack)


def _adaptive(step: float) -> int:
    return math.ceil(step) if 0 < step < MOST_SAMPLES - 1 else 0


def position(axis: BinAxis, bin_index: int, i: int, grid: int) -> float:
    """Sample `i` of a bin, before it is clamped."""
    to = rounder(axis.dtype)
    base = to(axis.start + to(to(bin_index) * axis.bin))
    return to(base + to(to(to(to(i) + 0.5) * axis.bin) / to(grid)))


def variants(axis: BinAxis, bin_index: int) -> tuple[Variant, ...]:
    """What this axis of a bin may hold, the pinned order's own first."""
    found = [variant for grid in axis.grids for variant in _of_grid(axis, bin_index, grid)]
    return tuple(dict.fromkeys(found))


def _of_grid(axis: BinAxis, bin_index: int, grid: int) -> Iterator[Variant]:
    points: list[Point] = []
    choices: list[tuple[bool, ...]] = []
    for i in _candidates(axis, bin_index, grid):
        p = position(axis, bin_index, i, grid)
        inside = -1 <= p <= axis.length
        doubtful = min(abs(p + 1), abs(p - axis.length)) <= axis.slack and axis.slack > 0
        if inside or doubtful:
            points.append(Point(i, min(max(p, 0.0), float(axis.length - 1)), axis.slack))
            choices.append((inside, not inside) if doubtful else (True,))
    for chosen in itertools.product(*choices):
        yield Variant(grid, tuple(point for point, here in zip(points, chosen, strict=True) if here))


def _candidates(axis: BinAxis, bin_index: int, grid: int) -> range:
    """The samples that can be in reach, and a few more; all of them where they are not many."""
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


def shares(axis: BinAxis, bin_index: int, i: int) -> tuple[float, float]:
    """How far sample `i` moves, in pixels, when the first and when the last edge moves by one unit."""
    if axis.stretched:
        return axis.scale, 0.0
    share = (bin_index + (i + 0.5) / axis.grid) / axis.count
    return axis.scale * (1 - share), axis.scale * share
