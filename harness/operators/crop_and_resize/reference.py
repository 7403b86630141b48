"""crop_and_resize by definition, one rounded step after another: read this to learn the rule.

Plain loops over NumPy scalars: every operation rounds to its dtype, nothing is contracted, and operations run in the
order on the page. Slow, and bit-equal to TensorFlow wherever TensorFlow has the operation. The rule is cut into small
steps that can be replaced one at a time: harness/faults/reference plants its faults here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.operators.arrays import DIRECTIONS, FLOATS, LAYOUTS, SINGLE_AND_DOUBLE, Array, Direction, crops_dtype
from harness.operators.crop_and_resize.case import BOX_RULES, METHODS, Inputs
from harness.operators.implementation import Backend
from harness.operators.sheet import EMPTY, INTEGERS, Sheet

Scalar = Any  # an np.float32 or np.float64: every operation on it is rounded once
Pair = tuple[Scalar, Scalar]


def columns(rule: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """The columns (first, last) of a box on y and on x."""
    return ((0, 2), (1, 3)) if rule == "normalized" else ((1, 3), (0, 2))


def normalize(rule: str, first: Scalar, last: Scalar, count: int, length: int) -> Pair:
    """The two normalised coordinates of a pixel box; a normalised box passes through. length > 1."""
    to = type(first)
    if rule == "normalized":
        return first, last
    if rule == "corners":
        return first / to(length - 1), last / to(length - 1)
    step = (last - first) / to(count)
    start = (first + step / to(2) - to(0.5)) / to(length - 1)
    return start, start + step * to(count - 1) / to(length - 1)


def position(first: Scalar, last: Scalar, i: int, count: int, length: int) -> Scalar:
    """Order A: the position of sample i of count between two normalised coordinates, in pixel indices."""
    to = type(first)
    if count == 1:
        return to(np.float64(0.5) * np.float64(first + last) * np.float64(length - 1))
    scale = (last - first) * to(length - 1) / to(count - 1)
    return first * to(length - 1) + to(i) * scale


def single_pixel(rule: str, first: Scalar, last: Scalar, i: int, count: int) -> Scalar:
    """The position of a pixel box on an axis of one pixel, where nothing can be normalised."""
    to = type(first)
    if rule == "bin_centres":
        step = (last - first) / to(count)
        return first + step / to(2) - to(0.5) + to(i) * step
    if count == 1:
        return to(np.float64(0.5) * np.float64(first + last))
    return first + to(i) * ((last - first) / to(count - 1))


def inside(p: Scalar, length: int) -> bool:
    """Tested before anything is cast to an integer, so that NaN and overflow are outside; -0.0 is inside."""
    return bool(p >= 0 and p <= type(p)(length - 1))


def pair(p: Scalar, length: int) -> tuple[int, int]:
    """The two pixels around p, the same one twice if p is on it: then the neighbour is not read."""
    return min(int(np.floor(p)), length - 1), min(int(np.ceil(p)), length - 1)


def fraction(p: Scalar, low: int) -> Scalar:
    """The weight of the second pixel, exact."""
    return p - type(p)(low)


def nearest(p: Scalar) -> int:
    """C's roundf: halves away from zero."""
    low = np.floor(p)
    return int(low) + int(p - low >= 0.5)


def interpolate(tl: Scalar, tr: Scalar, bl: Scalar, br: Scalar, lx: Scalar, ly: Scalar) -> Scalar:
    top = tl + (tr - tl) * lx
    bottom = bl + (br - bl) * lx
    return top + (bottom - top) * ly


def spread(g: Scalar, lx: Scalar, ly: Scalar) -> tuple[Scalar, Scalar, Scalar, Scalar]:
    """The terms that one upstream gradient adds to TL, TR, BL, BR."""
    one = type(g)(1)
    dt, db = (one - ly) * g, ly * g
    return (one - lx) * dt, lx * dt, (one - lx) * db, lx * db


def slopes(tl: Scalar, tr: Scalar, bl: Scalar, br: Scalar, lx: Scalar, ly: Scalar) -> Pair:
    """The derivatives of `interpolate` in y and in x, by the pixel."""
    one = type(tl)(1)
    return (one - lx) * (bl - tl) + lx * (br - tr), (one - ly) * (tr - tl) + ly * (br - bl)


def shares(rule: str, i: int, count: int, length: int, to: Callable[[Any], Scalar]) -> Pair:
    """The derivatives of position i in the first and in the last coordinate of the box."""
    if rule == "bin_centres":
        last = (to(i) + to(0.5)) / to(count)
        return to(1) - last, last
    extent = to(1) if rule == "corners" else to(length - 1)
    if count == 1:
        return to(0.5) * extent, to(0.5) * extent
    last = to(i) * (extent / to(count - 1))
    return extent - last, last


def add(total: Array, place: tuple[int, ...], term: Scalar) -> None:
    """Accumulation, one rounded addition at a time."""
    total[place] += term


def finish(total: Array, dtype: np.dtype[Any]) -> Array:
    """The result in its own dtype: the one rounding of a half, to nearest even."""
    return total.astype(dtype)


def image_of(index: Any, image_count: int) -> int:
    return int(index)


def read(image: Array, place: tuple[int, int, int, int], to: Callable[[Any], Scalar]) -> Scalar:
    return to(image[place])


@dataclass(frozen=True)
class Steps:
    """The rule in parts; each field is the function of that name above."""

    columns: Callable[..., Any] = columns
    normalize: Callable[..., Any] = normalize
    position: Callable[..., Any] = position
    single_pixel: Callable[..., Any] = single_pixel
    inside: Callable[..., Any] = inside
    pair: Callable[..., Any] = pair
    fraction: Callable[..., Any] = fraction
    nearest: Callable[..., Any] = nearest
    interpolate: Callable[..., Any] = interpolate
    spread: Callable[..., Any] = spread
    slopes: Callable[..., Any] = slopes
    shares: Callable[..., Any] = shares
    add: Callable[..., Any] = add
    finish: Callable[..., Any] = finish
    image_of: Callable[..., Any] = image_of
    read: Callable[..., Any] = read
    blank: Callable[..., Any] = lambda value, to: to(value)
    crop_size: Callable[..., Any] = lambda size: size


STEPS = Steps()


def positions(steps: Steps, inputs: Inputs, m: int, axis: int, count: int) -> list[Scalar]:
    """The positions of the samples of box m on one axis, in the dtype of the boxes."""
    length = inputs.image.shape[2 + axis]
    first, last = (inputs.boxes[m, k] for k in steps.columns(inputs.box_rule)[axis])
    if inputs.box_rule != "normalized" and length == 1:
        return [steps.single_pixel(inputs.box_rule, first, last, i, count) for i in range(count)]
    first, last = steps.normalize(inputs.box_rule, first, last, count, length)
    return [steps.position(first, last, i, count, length) for i in range(count)]


def samples(steps: Steps, inputs: Inputs) -> Iterator[tuple[int, int, int, Scalar | None, Scalar | None]]:
    """Every sample as (box, i, j, py, px) in the order box, y, x; None and None where it is outside."""
    height, width = inputs.image.shape[2:]
    rows, cols = steps.crop_size(inputs.crop_size)
    for m in range(len(inputs.boxes)):
        ys, xs = positions(steps, inputs, m, 0, rows), positions(steps, inputs, m, 1, cols)
        for i, py in enumerate(ys):
            for j, px in enumerate(xs):
                here = steps.inside(py, height) and steps.inside(px, width)
                yield (m, i, j, py, px) if here else (m, i, j, None, None)


def forward(steps: Steps, inputs: Inputs) -> Array:
    """Crops (M,C,h,w)."""
    to, shape = accumulate(inputs), inputs.image.shape
    crops = np.zeros((len(inputs.boxes), shape[1], *steps.crop_size(inputs.crop_size)), dtype=to)
    for m, i, j, py, px in samples(steps, inputs):
        n = steps.image_of(inputs.box_indices[m], shape[0])
        for c in range(shape[1]):
            if py is None or px is None:
                crops[m, c, i, j] = steps.blank(inputs.extrapolation_value, to)
            elif inputs.method == "nearest":
                crops[m, c, i, j] = steps.read(inputs.image, (n, c, steps.nearest(py), steps.nearest(px)), to)
            else:
                corners, lx, ly = taps(steps, inputs, py, px, to)
                values = (steps.read(inputs.image, (n, c, y, x), to) for y, x in corners)
                crops[m, c, i, j] = steps.interpolate(*values, lx, ly)
    result: Array = steps.finish(crops, np.dtype(crops_dtype(inputs.image.dtype.name)))
    return result


def grad_image(steps: Steps, inputs: Inputs) -> Array:
    """The image's gradient (N,C,H,W), added up in the order box, y, x, channel, TL, TR, BL, BR."""
    to, shape = accumulate(inputs), inputs.image.shape
    total = np.zeros(shape, dtype=to)
    for m, i, j, py, px in samples(steps, inputs):
        if py is None or px is None:
            continue
        n = steps.image_of(inputs.box_indices[m], shape[0])
        for c in range(shape[1]):
            g = to(inputs.upstream[m, c, i, j])
            if inputs.method == "nearest":
                steps.add(total, (n, c, steps.nearest(py), steps.nearest(px)), g)
                continue
            corners, lx, ly = taps(steps, inputs, py, px, to)
            for (y, x), term in zip(corners, steps.spread(g, lx, ly), strict=True):
                steps.add(total, (n, c, y, x), term)
    result: Array = steps.finish(total, inputs.image.dtype)
    return result


def grad_boxes(steps: Steps, inputs: Inputs) -> Array:
    """The boxes' gradient (M,4), by the bilinear formula whatever the method."""
    to, shape = accumulate(inputs), inputs.image.shape
    rows, cols = steps.crop_size(inputs.crop_size)
    total = np.zeros((len(inputs.boxes), 4), dtype=to)
    for m, i, j, py, px in samples(steps, inputs):
        if py is None or px is None:
            continue
        n = steps.image_of(inputs.box_indices[m], shape[0])
        corners, lx, ly = taps(steps, inputs, py, px, to)
        by_axis = (
            steps.shares(inputs.box_rule, i, rows, shape[2], to),
            steps.shares(inputs.box_rule, j, cols, shape[3], to),
        )
        for c in range(shape[1]):
            g = to(inputs.upstream[m, c, i, j])
            values = (steps.read(inputs.image, (n, c, y, x), to) for y, x in corners)
            for axis, slope in enumerate(steps.slopes(*values, lx, ly)):
                for column, share in zip(steps.columns(inputs.box_rule)[axis], by_axis[axis], strict=True):
                    steps.add(total, (m, column), slope * g * share)
    result: Array = steps.finish(total, inputs.boxes.dtype)
    return result


def accumulate(inputs: Inputs) -> type[np.floating[Any]]:
    """float64 for float64 images, float32 for all others, halves among them."""
    return np.float64 if inputs.image.dtype == np.float64 else np.float32


def taps(
    steps: Steps, inputs: Inputs, py: Scalar, px: Scalar, to: Callable[[Any], Scalar]
) -> tuple[tuple[tuple[int, int], ...], Scalar, Scalar]:
    """The places of TL, TR, BL, BR, and lx and ly in the accumulate dtype."""
    t, b = steps.pair(py, inputs.image.shape[2])
    left, right = steps.pair(px, inputs.image.shape[3])
    lx, ly = to(steps.fraction(px, left)), to(steps.fraction(py, t))
    return ((t, left), (t, right), (b, left), (b, right)), lx, ly


FUNCTIONS = {"forward": forward, "grad_image": grad_image, "grad_boxes": grad_boxes}
# About ten microseconds per output: calls of more than a second are refused.
_MOST_OUTPUTS = 100_000
SHEET = Sheet(
    operator="crop_and_resize", directions=DIRECTIONS, image_dtypes=(*FLOATS, *INTEGERS),
    boxes_dtypes=SINGLE_AND_DOUBLE, index_dtypes=("int32", "int64"), layouts=LAYOUTS, bad_input=("boxes",), empty=EMPTY,
    special_values=DIRECTIONS, methods=METHODS, box_rules=BOX_RULES, pinned=DIRECTIONS,
    layout_bits=DIRECTIONS, list_bits=DIRECTIONS, tensorflow_bits=("forward", "grad_image"),
)  # fmt: skip


def avoids(inputs: Inputs, direction: Direction) -> str | None:
    if inputs.upstream.size > _MOST_OUTPUTS:
        return f"{inputs.upstream.size:,} outputs are too many for plain loops; at most {_MOST_OUTPUTS:,} are taken."
    return None


def build(
    steps: Steps, *, name: str = "reference", title: str = "the rule, step by step (NumPy scalars)"
) -> Backend[Inputs]:
    """The backend that follows these steps."""

    def prepare(inputs: Inputs, direction: Direction) -> Callable[[], Any]:
        def call() -> Array:
            with np.errstate(all="ignore"):  # NaN, inf and overflow are inputs here, not accidents
                return FUNCTIONS[direction](steps, inputs)

        return call

    return Backend(name, title, SHEET, prepare, np.asarray, avoids)
