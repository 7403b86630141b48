"""The expected gradients of roi_align; expected.py has the sums with their ranges and bounds.

A term is an upstream value times a pixel's weights on the two axes. A weight of n samples is n roundings and a
division, or the product of two and of 1-l for each sample; with the products that is n_y + n_x + 6 for a term of n_y *
n_x samples, which also count as terms of the sum.

The gradient of a box follows its samples: the slope of the map at a sample (slopes.py) times the sample's share of the
edge's movement. A bin with several variants in other orders of rounding adds the range over them.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from harness.operators.expected import Expected, Number, Place, Sum, gathered, no_terms, one_of
from harness.operators.roi_align.call import Hat, RoiCall, may_be_anywhere
from harness.operators.roi_align.maximum import Candidate, candidates
from harness.operators.roi_align.positions import shares
from harness.operators.roi_align.slopes import slope_of


@dataclass(frozen=True)
class _Weight:
    """A pixel's weight in one bin on one axis, over all variants; `value` is that of the first, the nominal one."""

    index: int
    value: Number
    low: Number
    high: Number
    samples: int
    jumps: bool


def grad_image(call: RoiCall) -> Callable[[Place], Expected]:
    """The expected value at a pixel, as a function of its place."""
    return _grad_image_max(call) if call.inputs.mode == "max" else gathered(call, _weights, _contribute)


def _weights(call: RoiCall, m: int, along: int) -> list[tuple[int, _Weight]]:
    weights, absent = [], Hat(call.number(0.0), 0.0, 0, False)
    for index in range(call.inputs.output_size[along]):
        variants = call.weights(m, along, index)
        if not variants:  # its samples may be anywhere
            zero, one = call.number(0.0), call.number(1.0)
            weights += [
                (at, _Weight(index, zero, zero, one, 1, True)) for at in range(call.inputs.image.shape[2 + along])
            ]
        for pixel in sorted({pixel for each in variants for pixel in each.hats}):
            hats = [each.hats.get(pixel, absent) for each in variants]
            lows, highs = zip(*(_ends(call, hat) for hat in hats), strict=True)
            samples = max(hat.samples for hat in hats)
            weights.append((pixel, _Weight(index, hats[0].value, min(lows), max(highs), samples, len(variants) > 1)))
    return weights


def _contribute(call: RoiCall, total: Sum, g: float, wy: _Weight, wx: _Weight) -> None:
    if not call.exact((g,)):
        total.broken = total.hopeless = True
        return
    upstream = call.number(g)
    ends = (wy.low * wx.low * upstream, wy.high * wx.high * upstream)
    magnitude = float(wy.high) * float(wx.high) * abs(g)
    total.add(
        wy.value * wx.value * upstream, min(ends), max(ends), magnitude, (wy.samples + wx.samples + 6) * magnitude
    )
    total.terms += wy.samples * wx.samples - 1
    total.jumps |= wy.jumps or wx.jumps


def _grad_image_max(call: RoiCall) -> Callable[[Place], Expected]:
    """Each bin adds its upstream value to the pixels of its largest sample; a range if several may be the largest."""
    inputs, zero, one = call.inputs, call.number(0.0), call.number(1.0)
    unread, anywhere = _Weight(0, zero, zero, zero, 0, False), _Weight(0, zero, zero, one, 1, True)
    bins = functools.cache(functools.partial(_bins_by_pixel, call))

    @functools.cache
    def samples(m: int, c: int, i: int, j: int) -> list[dict[Place, _Weight]]:
        return [_weights_of(call, each) for each in candidates(call, m, c, i, j)]

    def at(place: Place) -> Expected:
        n, c, y, x = place
        total = no_terms(call)
        for m in (m for m in range(len(inputs.boxes)) if call.image_of(m) == n):
            for i, j in itertools.product(bins(m, 0)[y], bins(m, 1)[x]):
                weights = [anywhere]
                if not may_be_anywhere(call, m, i, j):
                    weights = [each.get((y, x), unread) for each in samples(m, c, i, j)]
                if any(each is not unread for each in weights):
                    _add_largest(call, total, float(inputs.upstream.item(m, c, i, j)), weights)
        return total.expected(call)

    return at


def _bins_by_pixel(call: RoiCall, m: int, along: int) -> dict[int, list[int]]:
    """For each pixel on an axis, the bins of box m that may read it there; all, if some samples may be anywhere."""
    bins: dict[int, list[int]] = defaultdict(list)
    is_bounded = all(call.bins(m, axis, k) for axis in (0, 1) for k in range(call.inputs.output_size[axis]))
    for index in range(call.inputs.output_size[along]):
        read = {pixel for each in call.weights(m, along, index) for pixel in each.hats}
        for pixel in read if is_bounded else range(call.inputs.image.shape[2 + along]):
            bins[pixel].append(index)
    return bins


def _add_largest(call: RoiCall, total: Sum, g: float, weights: list[_Weight]) -> None:
    """Adds the term of a bin: a pixel's weights in the samples that may be the largest, first the largest."""
    lows, highs = min(each.low for each in weights), max(each.high for each in weights)
    upstream, magnitude = call.number(g), abs(g) * float(highs)
    ends = upstream * lows, upstream * highs
    total.add(upstream * weights[0].value, min(ends), max(ends), magnitude, 6 * magnitude)
    total.jumps |= any(each.jumps for each in weights) or len({each.value for each in weights}) > 1


def _weights_of(call: RoiCall, sample: Candidate) -> dict[Place, _Weight]:
    """The weights of one sample by pixel (y, x)."""
    lines = [[(at, *_ends(call, hat), hat.value) for at, hat in each.hats.items()] for each in sample.weights]
    return {
        (y, x): _Weight(0, a * b, low_y * low_x, high_y * high_x, 1, False)
        for (y, low_y, high_y, a), (x, low_x, high_x, b) in itertools.product(*lines)
    }


def _ends(call: RoiCall, hat: Hat) -> tuple[Number, Number]:
    """The smallest and the largest weight that is equally right."""
    slack = call.number(hat.slack)
    return max(call.number(0.0), hat.value - slack), hat.value + slack


def grad_boxes(call: RoiCall) -> Callable[[Place], Expected]:
    """The expected value at (box, column), as a function of that place; column 0, the index, has no gradient."""
    sums: dict[int, list[Sum]] = {}

    def at(place: Place) -> Expected:
        m, column = place
        if m not in sums:
            sums[m] = _box_sums(call, m)
        return sums[m][column].expected(call)

    return at


# The columns (first, last) of a box on the y axis and on the x axis.
_COLUMNS = ((2, 4), (1, 3))


def _box_sums(call: RoiCall, m: int) -> list[Sum]:
    """The sums of a box's columns. If it is uncertain whether the box is stretched to a pixel, each branch applies to
    all of its terms."""
    sums = [no_terms(call) for _ in range(5)]
    largest = functools.cache(functools.partial(candidates, call, m))
    for along, columns in enumerate(_COLUMNS):
        stretches = call.axis(m, along).stretches
        branches = [_axis_sums(call, m, along, stretched, largest) for stretched in stretches]
        for column, branch in zip(columns, zip(*branches, strict=True), strict=True):
            sums[column] = one_of(list(branch))
    return sums


def _axis_sums(
    call: RoiCall, m: int, along: int, stretched: bool, largest: Callable[[int, int, int], list[Candidate]]
) -> tuple[Sum, Sum]:
    """The sums of the first and of the last edge of a box on an axis."""
    inputs, sums = call.inputs, (no_terms(call), no_terms(call))
    for c, i, j in itertools.product(*map(range, inputs.upstream.shape[1:])):
        g = float(inputs.upstream.item(m, c, i, j))
        if may_be_anywhere(call, m, i, j):
            parts = _anywhere(call, m, c, along, g)
        elif inputs.mode == "max":
            parts = _of_largest(call, m, (c, i, j), along, stretched, g, largest(c, i, j))
        else:
            parts = _of_mean(call, m, (c, i, j), along, stretched, g)
        for total, part in zip(sums, parts, strict=True):
            total.include(part)
    return sums


def _anywhere(call: RoiCall, m: int, c: int, along: int, g: float) -> tuple[Sum, Sum]:
    """The terms of a bin whose samples may be anywhere: at most the steepest step of the map."""
    plane, part = call.plane(call.image_of(m), c), no_terms(call)
    if plane is None:
        return (Sum(tainted=True, low=-math.inf, high=math.inf),) * 2
    most = abs(g) * plane[2][along] * abs(call.axis(m, along).scale)
    part.add(call.number(0.0), -call.number(most), call.number(most), most, 2.0**-10 / call.unit * most)
    part.jumps = True
    return part, part


def _of_mean(
    call: RoiCall, m: int, place: tuple[int, int, int], along: int, stretched: bool, g: float
) -> tuple[Sum, Sum]:
    """The terms of a bin in mode avg."""
    c, *bins = place
    index, other = bins[along], bins[1 - along]
    axis, n = call.axis(m, along), call.image_of(m)
    options = []
    for variant in call.bins(m, along, index):
        for across in call.weights(m, 1 - along, other):
            parts = no_terms(call), no_terms(call)
            for point in variant.points if across.hats else ():
                slope = slope_of(call, n, c, along, point, across)
                moves = shares(axis, index, point.index, variant.grid, stretched)
                for part, move in zip(parts, moves, strict=True):
                    slope.add_to(call, part, g, call.number(move) / variant.grid)
            options.append(parts)
    if not options:
        return no_terms(call), no_terms(call)
    return one_of([first for first, _ in options]), one_of([last for _, last in options])


def _of_largest(
    call: RoiCall,
    m: int,
    place: tuple[int, int, int],
    along: int,
    stretched: bool,
    g: float,
    samples: list[Candidate],
) -> tuple[Sum, Sum]:
    """The terms of a bin in mode max: those of any sample that may be the largest."""
    c, *bins = place
    axis, n = call.axis(m, along), call.image_of(m)
    parts: list[tuple[Sum, Sum]] = []
    for each in samples:
        part = no_terms(call), no_terms(call)
        if each.points:
            point, grid = each.points[along], each.grids[along]
            slope = slope_of(call, n, c, along, point, each.weights[1 - along])
            for total, move in zip(part, shares(axis, bins[along], point.index, grid, stretched), strict=True):
                slope.add_to(call, total, g, call.number(move))
        parts.append(part)
    return one_of([first for first, _ in parts]), one_of([last for _, last in parts])
