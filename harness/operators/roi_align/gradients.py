"""What both gradients of roi_align must be; the sums, their ranges and their bounds are expected.py's.

An upstream value times the weights of a pixel on two axes: a weight of n samples is n roundings and a division, or the
product of two and of 1-l for each sample; with the products that is n_y + n_x + 6 for a term that stands for n_y * n_x
samples, and sums over samples as over terms.

The gradient of a box is that of the samples that its edges move: the slope of the map where a sample is, which is a
difference of two pixels weighed over the other axis, times the sample's share. On a pixel, in a band beside the map and
beyond it is 0, and none is summed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from harness.operators.expected import Expected, Number, Place, Sum, gathered, no_terms, size
from harness.operators.roi_align.call import Hat, RoiCall
from harness.operators.roi_align.maximum import candidates
from harness.operators.roi_align.positions import shares


@dataclass(frozen=True)
class _Weight:
    """A pixel's weight in one bin on one axis, in whatever variants there are; the first is the nominal one."""

    index: int
    value: Number
    low: Number
    high: Number
    samples: int
    jumps: bool


def grad_image(call: RoiCall) -> Callable[[Place], Expected]:
    """The expectation at a pixel."""
    return _grad_image_max(call) if call.inputs.mode == "max" else gathered(call, _weights, _contribute)


def _weights(call: RoiCall, m: int, along: int) -> list[tuple[int, _Weight]]:
    found, absent = [], Hat(call.number(0.0), 0.0, 0, False)
    for index in range(call.inputs.output_size[along]):
        made = call.weights(m, along, index)
        for pixel in sorted({pixel for each in made for pixel in each.hats}):
            hats = [each.hats.get(pixel, absent) for each in made]
            lows, highs = [hat.value for hat in hats], [hat.value for hat in hats]
            for k, hat in enumerate(hats):
                if hat.slack:
                    lows[k] = max(absent.value, hat.value - call.number(hat.slack))
                    highs[k] = hat.value + call.number(hat.slack)
            samples = max(hat.samples for hat in hats)
            found.append((pixel, _Weight(index, hats[0].value, min(lows), max(highs), samples, len(made) > 1)))
    return found


def _contribute(call: RoiCall, total: Sum, g: float, wy: _Weight, wx: _Weight) -> None:
    if not call.exact((g,)):
        total.broken = total.hopeless = True
        return
    upstream = call.number(g)
    ends = (wy.low * wx.low * upstream, wy.high * wx.high * upstream)
    reached = float(wy.high) * float(wx.high) * abs(g)
    total.add(wy.value * wx.value * upstream, min(ends), max(ends), reached, (wy.samples + wx.samples + 6) * reached)
    total.terms += wy.samples * wx.samples - 1
    total.jumps |= wy.jumps or wx.jumps


def _grad_image_max(call: RoiCall) -> Callable[[Place], Expected]:
    """Each bin gives its upstream value to what its largest sample reads; where several may be it, a range."""
    terms: dict[Place, list[tuple[float, list[float]]]] = defaultdict(list)
    inputs = call.inputs
    for m in range(len(inputs.boxes)):
        for c in range(inputs.image.shape[1]):
            for i in range(inputs.output_size[0]):
                for j in range(inputs.output_size[1]):
                    g, found = float(inputs.upstream.item(m, c, i, j)), candidates(call, m, c, i, j)
                    for y, x in {place for each in found for place in each.taps}:
                        read = [float(each.taps.get((y, x), 0.0)) for each in found]
                        terms[call.image_of(m), c, y, x].append((g, read))

    def at(place: Place) -> Expected:
        total = no_terms(call)
        for g, read in terms.get(place, ()):
            ends = [call.number(g) * call.number(min(read)), call.number(g) * call.number(max(read))]
            reached = abs(g) * max(read)
            absolute = abs(g) * 2.0 if call.wide_boxes else 0.0
            total.add(call.number(g) * call.number(read[0]), min(ends), max(ends), reached, 6 * reached + absolute)
            total.jumps |= min(read) < max(read)
        return total.expected(call)

    return at


def grad_boxes(call: RoiCall) -> Callable[[Place], Expected]:
    """The expectation at (box, column); the index, column 0, has none."""
    if not call.pinned:
        raise ValueError("Gradients of boxes are judged in the pinned order of rounding only.")
    kept: dict[int, list[Sum]] = {}

    def at(place: Place) -> Expected:
        m, column = place
        if m not in kept:
            kept[m] = _sums_max(call, m) if call.inputs.mode == "max" else _sums(call, m)
        return kept[m][column].expected(call)

    return at


def _fresh(call: RoiCall) -> list[Sum]:
    return [no_terms(call) for _ in range(5)]


# The columns (first, last) of a box on the y axis and on the x axis.
_COLUMNS = ((2, 4), (1, 3))


def _sums(call: RoiCall, m: int) -> list[Sum]:
    inputs, sums = call.inputs, _fresh(call)
    shape = inputs.image.shape
    for along in (0, 1):
        axis = call.axis(m, along)
        for index in range(inputs.output_size[along]):
            (variant,) = call.bins(m, along, index)
            moving = [point for point in variant.points if point.fraction > 0]
            for other in range(inputs.output_size[1 - along]):
                (variant_across,) = call.bins(m, 1 - along, other)
                (across,) = call.weights(m, 1 - along, other)
                place = (index, other) if along == 0 else (other, index)
                for point in moving if across.hats else ():
                    moves = [call.number(share) / variant.grid for share in shares(axis, index, point.index)]
                    for c in range(shape[1]):
                        g = float(inputs.upstream.item(m, c, *place))
                        for at, hat in across.hats.items():
                            pixels = [_pixel(call, m, c, along, point.low + k, at) for k in (0, 1)]
                            # A cast weight is off by an absolute amount: it is sized as a weight of 1.
                            weight = hat.samples / variant_across.grid if call.wide_boxes else size(hat.value)
                            if not hat.read and not call.exact(pixels):
                                continue  # a pixel whose weight is 0 once it is cast is not read
                            for column, move in zip(_COLUMNS[along], moves, strict=True):
                                _add_slope(call, sums[column], g, pixels, hat.value, weight, hat.samples, move)
    return sums


def _pixel(call: RoiCall, m: int, c: int, along: int, of: int, across: int) -> float:
    y, x = (of, across) if along == 0 else (across, of)
    return call.pixel(call.image_of(m), c, y, x)


def _add_slope(
    call: RoiCall, total: Sum, g: float, pixels: list[float], hat: Number, weight: float, samples: int, move: Number
) -> None:
    if not call.exact((g, *pixels)):
        total.broken = total.hopeless = True
        return
    value = call.number(g) * hat * move * (call.number(pixels[1]) - call.number(pixels[0]))
    reached = abs(g) * weight * size(move) * (abs(pixels[0]) + abs(pixels[1]))
    # The weight, the difference, three products and the share, which itself is at most seven roundings.
    total.add(value, value, value, reached, (samples + 13) * reached)


def _sums_max(call: RoiCall, m: int) -> list[Sum]:
    inputs, sums = call.inputs, _fresh(call)
    for c in range(inputs.image.shape[1]):
        for i in range(inputs.output_size[0]):
            for j in range(inputs.output_size[1]):
                g, found = float(inputs.upstream.item(m, c, i, j)), candidates(call, m, c, i, j)
                for along in (0, 1):
                    lost = not call.exact((g, *(each.sizes[along] for each in found)))
                    for k, column in enumerate(_COLUMNS[along]):
                        if lost:
                            sums[column].broken = sums[column].hopeless = True
                            continue
                        values = [call.number(g) * each.slopes[along] * each.moves[along][k] for each in found]
                        reached = max(abs(g) * each.sizes[along] * size(each.moves[along][k]) for each in found)
                        if reached:
                            sums[column].add(values[0], min(values), max(values), reached, 16 * reached)
                            sums[column].jumps |= min(values) < max(values)
    return sums
