"""Planted faults of memory, of order and of size: the arithmetic is right, and the result is not.

Layouts mistaken for others, memory read past its end or never written, lost updates between threads, sums in a varying
order, and counters or offsets that are too narrow. Faults that need 2**31 elements to show use 12 bits in place of 32.
Faults that need more boxes than plain loops can handle wrap this project's own operator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from harness.faults.fault import CROP_AND_RESIZE, FORWARD, GRADIENTS, IMAGE, Fault, Rule
from harness.faults.reference.halves import ten_bits
from harness.judging.sample import with_boxes
from harness.operators import OPERATORS, operator_of
from harness.operators.arrays import DIRECTIONS, Array, Direction, channels_innermost
from harness.operators.crop_and_resize import reference as rule
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.crop_and_resize.reference import Scalar
from harness.operators.implementation import Backend
from harness.operators.sheet import INTEGERS

Wrap = Callable[[Backend[Any], Any, Direction], Array]
step, around = CROP_AND_RESIZE.step, CROP_AND_RESIZE.around


def _run_on(backend: Backend[Any], inputs: Any, direction: Direction, image: Array) -> Array:
    return backend.run(dataclasses.replace(inputs, image=image), direction)


def _in_rows(array: Array) -> Array:
    """The memory of a channels_last array, taken for a contiguous one; any other array as it is."""
    if not array.size or not channels_innermost(array):
        return array
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).reshape(array.shape)


def _as_contiguous(backend: Backend[Any], inputs: Any, direction: Direction) -> Array:
    """Reads channels_last pixels as if they were contiguous."""
    return _run_on(backend, inputs, direction, _in_rows(inputs.image))


def _without_offset(backend: Backend[Any], inputs: Any, direction: Direction) -> Array:
    """Reads a view from the beginning of its memory, ignoring the offset."""
    image = inputs.image
    parent = image.base
    if image.size and isinstance(parent, np.ndarray) and parent.ndim == 4 and parent.shape[2] > image.shape[2]:
        image = parent[:, :, : image.shape[2], : image.shape[3]].copy()
    return _run_on(backend, inputs, direction, image)


def _upstream_as_image(backend: Backend[Any], inputs: Any, direction: Direction) -> Array:
    """Reads a channels_last upstream gradient as if it were contiguous, like the image."""
    if not channels_innermost(inputs.image):
        inputs = dataclasses.replace(inputs, upstream=_in_rows(inputs.upstream))
    return backend.run(inputs, direction)


def _as_dense(name: str) -> Wrap:
    """Reads an input's values consecutively from its start, ignoring its strides."""

    def wrap(backend: Backend[Any], inputs: Any, direction: Direction) -> Array:
        array = getattr(inputs, name)
        memory = array.base if isinstance(array.base, np.ndarray) else array
        if not array.size or 0 in array.strides or not memory.flags.c_contiguous:
            return backend.run(inputs, direction)
        begin = (array.ctypes.data - memory.ctypes.data) // array.itemsize
        values = memory.reshape(-1)[begin : begin + array.size]
        dense = np.resize(values, array.size).reshape(array.shape)
        return backend.run(dataclasses.replace(inputs, **{name: dense}), direction)

    return wrap


def _cached_by_address(name: str) -> Wrap:
    """Caches an input's values by address, and uses stale ones."""
    cache: dict[tuple[int, tuple[int, ...], str], Array] = {}

    def wrap(backend: Backend[Any], inputs: Any, direction: Direction) -> Array:
        array = getattr(inputs, name)
        place = array.ctypes.data, array.shape, array.dtype.name
        return backend.run(dataclasses.replace(inputs, **{name: cache.setdefault(place, array.copy())}), direction)

    return wrap


def _first_boxes(count: int) -> Wrap:
    """Launches `count` threads: boxes beyond them get no result."""

    def wrap(backend: Backend[Any], inputs: Any, direction: Direction) -> Array:
        if len(inputs.boxes) <= count:
            return backend.run(inputs, direction)
        some = backend.run(with_boxes(inputs, slice(0, count)), direction)
        if direction == "grad_image":
            return some
        shape, dtype = operator_of(inputs).result_type(inputs, direction)
        result = np.zeros(shape, dtype)
        result[:count] = some
        return result

    return wrap


def _sixteen_bits(backend: Backend[Any], inputs: Any, direction: Direction) -> Array:
    """Numbers boxes in 16 bits: the one after 65,535 becomes the first."""
    return backend.run(with_boxes(inputs, np.arange(len(inputs.boxes)) % 65536), direction)


def _other_order_each_time() -> Wrap:
    """Adds boxes up in a random order, like threads that race."""
    calls = np.random.default_rng(0)

    def wrap(backend: Backend[Any], inputs: Any, direction: Direction) -> Array:
        return backend.run(with_boxes(inputs, calls.permutation(len(inputs.boxes))), direction)

    return wrap


def _lost_update(backend: Backend[Any], inputs: Any, direction: Direction) -> Array:
    """Splits the boxes between two threads: where both add to a pixel, the second overwrites the first."""
    middle = len(inputs.boxes) // 2
    first, second = (
        backend.run(with_boxes(inputs, part), direction) for part in (slice(0, middle), slice(middle, None))
    )
    return np.where(second != 0, second, first)


def _unwritten_outside() -> Callable[[Callable[[], Array], Inputs], Array]:
    """Leaves stale memory in crops where a sample is outside and its value is 0."""
    previous = [np.float32(7)]

    def wrap(call: Callable[[], Array], inputs: Inputs) -> Array:
        result = call()
        before, previous[0] = previous[0], np.float32(inputs.image.flat[0] if inputs.image.size else 0)
        if inputs.extrapolation_value == 0 and result.ndim == 4:
            result[result == 0] = before
        return result

    return wrap


def _narrow_offset(image: Array, place: tuple[int, ...], to: Callable[[Any], Scalar]) -> Scalar:
    flat = int(np.ravel_multi_index(place, image.shape)) % 2**12
    return to(image[np.unravel_index(flat, image.shape)])


def _one_further(p: Scalar, length: int) -> tuple[int, int]:
    low = int(np.floor(p))
    return low, low + 1


def _past_the_row(image: Array, place: tuple[int, int, int, int], to: Callable[[Any], Scalar]) -> Scalar:
    """Reads the memory after a row's or an image's end in place of the next pixel."""
    n, c, y, x = place
    _, channels, height, width = image.shape
    flat = ((n * channels + c) * height + y) * width + x
    return to(image[np.unravel_index(min(flat, image.size - 1), image.shape)])


def _weighing_all(tl: Scalar, tr: Scalar, bl: Scalar, br: Scalar, lx: Scalar, ly: Scalar) -> Scalar:
    one = type(lx)(1)
    return (one - ly) * ((one - lx) * tl + lx * tr) + ly * ((one - lx) * bl + lx * br)


_READS: tuple[Direction, ...] = ("forward", "grad_boxes")
_SUMS: tuple[Direction, ...] = ("grad_image",)
# The directions that read each input; the image's own gradient does not read the image.
_INPUTS = {"image": _READS, "boxes": DIRECTIONS, "box_indices": DIRECTIONS, "upstream": GRADIENTS}


def of_both(rule: Rule) -> tuple[Fault, ...]:
    """The faults that apply to both operators, wrapped around this project's own."""
    return (
        rule.instead("channels_last_as_rows", "the memory format is not looked at", _READS, _as_contiguous),
        rule.instead("view_from_its_parent", "the storage offset is not looked at", _READS, _without_offset),
        rule.instead("upstream_as_image", "one memory format for both", GRADIENTS, _upstream_as_image),
        rule.instead("first_1024_boxes", "one block of threads for all boxes", DIRECTIONS, _first_boxes(1024)),
        rule.instead("sixteen_bit_boxes", "boxes are counted in grid.y, or in 16 bits", DIRECTIONS, _sixteen_bits),
        rule.instead("order_of_arrival", "sums in no fixed order, undeclared", _SUMS, _other_order_each_time()),
        rule.instead("lost_update", "two threads add to a pixel without an atomic", _SUMS, _lost_update),
        *(
            rule.instead(f"{name}_taken_for_dense", f"{name} is read without its strides", places, _as_dense(name))
            for name, places in _read_by(rule)
            if name != "image"
        ),
        *(
            rule.instead(
                f"{name}_kept_by_address", f"{name} is cached by its pointer", places, _cached_by_address(name)
            )
            for name, places in _read_by(rule)
        ),
    )


def _read_by(rule: Rule) -> list[tuple[str, tuple[Direction, ...]]]:
    return [(name, _INPUTS[name]) for name in OPERATORS[rule.operator].arrays]


# The faults of crop_and_resize only.
FAULTS: tuple[Fault, ...] = (
    around("unwritten_outside", "nothing is written where a sample is outside", FORWARD, _unwritten_outside()),
    step("twelve_bit_offsets", "offsets too narrow: 12 bits stand for 32", _READS, read=_narrow_offset),
    step(
        "read_past_the_row",
        "the neighbour of the last pixel is read, and weighed with 0",
        FORWARD,
        pair=_one_further,
        read=_past_the_row,
        interpolate=_weighing_all,
    ),
    step(
        "ten_bit_weights",
        "weights as a tensor core takes them",
        fraction=lambda p, low: ten_bits(rule.fraction(p, low)),
    ),
    around(
        "double_in_single",
        "float64 images are rounded to float32",
        IMAGE,
        lambda call, inputs: call().astype(np.float32).astype(np.float64),
        ("float64",),
    ),
    around(
        "whole_numbers",
        "crops of integer images are rounded to integers",
        FORWARD,
        lambda call, inputs: np.rint(call()),
        INTEGERS,
    ),
)
