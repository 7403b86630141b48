"""roi_align by definition, sample by sample in NumPy scalars: slow, plain, and split into steps.

A planted fault replaces one of the steps (harness/faults/reference). The reference shares no code with the oracle, and
rounds after each operation in the pinned order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.operators.arrays import DIRECTIONS, FLOATS, LAYOUTS, SINGLE_AND_DOUBLE, Array, Direction, crops_dtype
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import MODES, RoiInputs
from harness.operators.sheet import EMPTY, INTEGERS, Sheet

Scalar = Any  # a NumPy scalar, which rounds to its own type after every operation
Tap = tuple[int, int, Scalar]


@dataclass(frozen=True)
class RoiAxis:
    """One axis of a box: bins of `size` from `start` on, `grid` samples each."""

    start: Scalar
    size: Scalar
    grid: int
    stretched: bool


def image_of(index: Scalar) -> int:
    return int(index)


def axis(first: Scalar, last: Scalar, scale: Scalar, aligned: bool, count: int, ratio: int) -> RoiAxis:
    to = type(first)
    offset = to(0.5 if aligned else 0)
    start, end = first * scale - offset, last * scale - offset
    length, stretched = extent(end - start, aligned)
    size = length / to(count)
    return RoiAxis(start, size, ratio if ratio > 0 else adaptive(size), stretched)


def extent(length: Scalar, aligned: bool) -> tuple[Scalar, bool]:
    stretched = bool(not aligned and length < 1)
    return (type(length)(1) if stretched else length), stretched


def adaptive(size: Scalar) -> int:
    return int(np.ceil(size)) if 0 < size < 2**31 - 1 else 0


def position(axis: RoiAxis, index: int, i: int) -> Scalar:
    to = type(axis.start)
    return axis.start + to(index) * axis.size + (to(i) + to(0.5)) * axis.size / to(axis.grid)


def inside(p: Scalar, length: int) -> bool:
    return bool(-1 <= p <= length)


def tap(p: Scalar, length: int) -> Tap:
    """The pixel below and above, and the weight of the latter, in the type of the position."""
    to = type(p)
    if p <= 0:
        return 0, 0, to(0)
    low = int(p)
    if low >= length - 1:
        return length - 1, length - 1, to(0)
    return low, low + 1 if p > low else low, p - to(low)


def blend(low: Scalar, high: Scalar, weight: Scalar) -> Scalar:
    """Interpolates between two values; a value whose weight is 0 after the cast is not read."""
    one = type(weight)(1)
    if weight in (0, one):
        return high if weight else low
    return (one - weight) * low + weight * high


def interpolate(tl: Scalar, tr: Scalar, bl: Scalar, br: Scalar, lx: Scalar, ly: Scalar) -> Scalar:
    return blend(blend(tl, bl, ly), blend(tr, br, ly), lx)


def mean(total: Scalar, samples: int) -> Scalar:
    return total / type(total)(max(samples, 1))


def better(value: Scalar, best: Scalar) -> bool:
    return bool(not np.isnan(best) and (value > best or np.isnan(value)))


def moves(axis: RoiAxis, scale: float, index: int, i: int, count: int) -> tuple[float, float]:
    if axis.stretched:
        return scale, 0.0
    share = (index + (i + 0.5) / axis.grid) / count
    return scale * (1 - share), scale * share


def finish(total: Array, dtype: np.dtype[Any]) -> Array:
    return total.astype(dtype)


@dataclass(frozen=True)
class Steps:
    """The steps that a planted fault may replace."""

    image_of: Callable[..., int] = image_of
    axis: Callable[..., RoiAxis] = axis
    position: Callable[..., Scalar] = position
    inside: Callable[..., bool] = inside
    tap: Callable[..., Tap] = tap
    interpolate: Callable[..., Scalar] = interpolate
    mean: Callable[..., Scalar] = mean
    better: Callable[..., bool] = better
    moves: Callable[..., tuple[float, float]] = moves
    finish: Callable[..., Array] = finish


@dataclass(frozen=True)
class _Box:
    """One box on one call's maps."""

    steps: Steps
    inputs: RoiInputs
    row: int
    image: int
    y: RoiAxis
    x: RoiAxis

    def taps(self, along: int, index: int, to: Callable[[Any], Scalar]) -> list[tuple[int, Tap | None]]:
        """The samples of a bin on an axis, None for one beyond the map."""
        of, length = (self.y, self.x)[along], self.inputs.image.shape[2 + along]
        taps: list[tuple[int, Tap | None]] = []
        for i in range(of.grid):
            p = self.steps.position(of, index, i)
            if self.steps.inside(p, length):
                low, high, weight = self.steps.tap(p, length)
                taps.append((i, (low, high, to(weight))))
            else:
                taps.append((i, None))
        return taps


def boxes_of(steps: Steps, inputs: RoiInputs) -> Iterator[_Box]:
    """Every box of a call with its axes."""
    to = inputs.boxes.dtype.type
    scale = to(inputs.spatial_scale)
    for row, (index, x1, y1, x2, y2) in enumerate(inputs.boxes):
        y = steps.axis(y1, y2, scale, inputs.aligned, inputs.output_size[0], inputs.sampling_ratio)
        x = steps.axis(x1, x2, scale, inputs.aligned, inputs.output_size[1], inputs.sampling_ratio)
        yield _Box(steps, inputs, row, steps.image_of(index), y, x)


Sample = tuple[int, Tap, int, Tap]


def samples_of(box: _Box, i: int, j: int, to: Callable[[Any], Scalar]) -> list[Sample | None]:
    """The samples of a bin in their order, None for one beyond the map."""
    across = box.taps(1, j, to)
    return [
        (iy, ty, ix, tx) if ty is not None and tx is not None else None
        for iy, ty in box.taps(0, i, to)
        for ix, tx in across
    ]


def _value(steps: Steps, plane: Array, sample: Sample) -> Scalar:
    _, (top, bottom, ly), _, (left, right, lx) = sample
    return steps.interpolate(plane[top, left], plane[top, right], plane[bottom, left], plane[bottom, right], lx, ly)


def _winner(
    steps: Steps, plane: Array, samples: list[Sample | None], to: Callable[[Any], Scalar]
) -> tuple[Scalar, Any]:
    best: tuple[Scalar, Any] | None = None
    for sample in samples:
        value = _value(steps, plane, sample) if sample else to(0)
        if best is None or steps.better(value, best[0]):
            best = value, sample
    return best or (to(0), None)


def _largest_product(steps: Steps, plane: Array, samples: list[Sample | None], to: Callable[[Any], Scalar]) -> Scalar:
    """ONNX's maximum: the largest pixel times weight; samples beyond the map and pixels without weight are 0."""
    one, best = to(1), None
    for sample in samples:
        products = [to(0)]
        if sample:
            _, (top, bottom, ly), _, (left, right, lx) = sample
            weights = [
                (y, x, wy * wx)
                for y, wy in ((top, one - ly), (bottom, ly))
                for x, wx in ((left, one - lx), (right, lx))
            ]
            products = [weight * plane[y, x] if weight else to(0) for y, x, weight in weights]
        for product in products:
            if best is None or steps.better(product, best):
                best = product
    return to(0) if best is None else best


def _forward(steps: Steps, inputs: RoiInputs, maps: Array) -> Array:
    to = maps.dtype.type
    pooled = np.zeros((len(inputs.boxes), maps.shape[1], *inputs.output_size), maps.dtype)
    for box in boxes_of(steps, inputs):
        for i, j in np.ndindex(*inputs.output_size):
            samples = samples_of(box, i, j, to)
            for c in range(maps.shape[1]):
                plane = maps[box.image, c]
                if inputs.mode == "weighted_max":
                    pooled[box.row, c, i, j] = _largest_product(steps, plane, samples, to)
                    continue
                if inputs.mode == "max":
                    pooled[box.row, c, i, j] = _winner(steps, plane, samples, to)[0]
                    continue
                total = to(0)
                for sample in samples:
                    if sample:
                        total += _value(steps, plane, sample)
                pooled[box.row, c, i, j] = steps.mean(total, len(samples))
    return pooled


def _terms(steps: Steps, inputs: RoiInputs, maps: Array) -> Iterator[tuple[_Box, int, int, int, Scalar, Sample]]:
    """Every sample that has a gradient: its box, bin and channel, its upstream gradient, and its position."""
    to = maps.dtype.type
    for box in boxes_of(steps, inputs):
        for i, j in np.ndindex(*inputs.output_size):
            samples = samples_of(box, i, j, to)
            for c in range(maps.shape[1]):
                g = to(inputs.upstream[box.row, c, i, j])
                if inputs.mode == "max":
                    winner = _winner(steps, maps[box.image, c], samples, to)[1]
                    if winner:
                        yield box, i, j, c, g, winner
                    continue
                share = steps.mean(g, len(samples))
                for sample in samples:
                    if sample:
                        yield box, i, j, c, share, sample


def _grad_input(steps: Steps, inputs: RoiInputs, maps: Array) -> Array:
    gradient = np.zeros(maps.shape, maps.dtype)
    one = maps.dtype.type(1)
    for box, _, _, c, g, (_, (top, bottom, ly), _, (left, right, lx)) in _terms(steps, inputs, maps):
        for y, wy in ((top, one - ly), (bottom, ly)):
            for x, wx in ((left, one - lx), (right, lx)):
                if wy and wx:
                    gradient[box.image, c, y, x] += wy * wx * g
    return gradient


def _grad_boxes(steps: Steps, inputs: RoiInputs, maps: Array) -> Array:
    gradient = np.zeros((len(inputs.boxes), 5))
    scale = float(inputs.boxes.dtype.type(inputs.spatial_scale))
    for box, i, j, c, g, (iy, (top, bottom, ly), ix, (left, right, lx)) in _terms(steps, inputs, maps):
        plane = maps[box.image, c]
        if top != bottom:
            low = blend(plane[top, left], plane[top, right], lx)
            high = blend(plane[bottom, left], plane[bottom, right], lx)
            first, last = steps.moves(box.y, scale, i, iy, inputs.output_size[0])
            gradient[box.row, (2, 4)] += np.float64(g * (high - low)) * np.array([first, last])
        if left != right:
            low = blend(plane[top, left], plane[bottom, left], ly)
            high = blend(plane[top, right], plane[bottom, right], ly)
            first, last = steps.moves(box.x, scale, j, ix, inputs.output_size[1])
            gradient[box.row, (1, 3)] += np.float64(g * (high - low)) * np.array([first, last])
    return gradient


_DIRECTIONS = {"forward": _forward, "grad_image": _grad_input, "grad_boxes": _grad_boxes}
_MOST_SAMPLES = 100


SHEET = Sheet(
    operator="roi_align", directions=DIRECTIONS, image_dtypes=(*FLOATS, *INTEGERS), boxes_dtypes=SINGLE_AND_DOUBLE,
    layouts=LAYOUTS, bad_input=("boxes",), empty=EMPTY, special_values=DIRECTIONS, modes=MODES,
    grids=("fixed", "adaptive"), pinned=DIRECTIONS, layout_bits=DIRECTIONS, list_bits=DIRECTIONS,
)  # fmt: skip


def avoids(inputs: RoiInputs, direction: Direction) -> str | None:
    with np.errstate(all="ignore"):
        sides = np.abs(inputs.boxes[:, 1:].astype(np.float64) * inputs.spatial_scale)
        if not (sides < _MOST_SAMPLES).all():
            return f"boxes beyond {_MOST_SAMPLES} pixels would take too many samples here"
    return None


def build(steps: Steps, name: str = "reference", title: str = "NumPy, sample by sample") -> Backend[RoiInputs]:
    """The reference with these steps."""

    def prepare(inputs: RoiInputs, direction: Direction) -> Callable[[], Array]:
        def call() -> Array:
            wide = np.float64 if inputs.image.dtype.name == "float64" else np.float32
            with np.errstate(all="ignore"):
                result = _DIRECTIONS[direction](steps, inputs, inputs.image.astype(wide))
                if direction == "grad_boxes":
                    return steps.finish(result, inputs.boxes.dtype)
                of = inputs.image.dtype if direction == "grad_image" else np.dtype(crops_dtype(inputs.image.dtype.name))
                return steps.finish(result, of)

        return call

    return Backend(name, title, SHEET, prepare, np.asarray, avoids)


STEPS = Steps()
