"""This project's CUDA kernels, run on the CPU by harness/cuda_on_host: slow, and right only where they are right.

`backend` adds the image gradient up by atomics, `gather` in the CPU's order, as the operator does by default and under
torch.use_deterministic_algorithms(True). The order in which threads run, forward, backward or at random, is picked by
the boxes of the call: cases meet all three, and the same call always meets the same one.
"""

from __future__ import annotations

import ctypes
import functools
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import cuda_on_host
from harness.backends import Backend
from harness.case import BOX_RULES, DIRECTIONS, FLOATS, HALVES, METHODS, Array, Direction, Inputs, crops_dtype

cuda_on_host.compiler()  # or this backend is not here

FORWARD, BACKWARD = 0, 1
_ALIGNED, _MARGIN = 512, 0xA5


class _Array(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("dtype", ctypes.c_char_p),
        ("size", ctypes.c_int64 * 4),
        ("stride", ctypes.c_int64 * 4),
    )


class _Call(ctypes.Structure):
    _fields_ = (
        ("image", _Array),
        ("crops", _Array),
        ("boxes", _Array),
        ("box_indices", _Array),
        ("box_gradient", _Array),
        ("box_rule", ctypes.c_int64),
        ("method", ctypes.c_int64),
        ("extrapolation_value", ctypes.c_double),
    )


@dataclass(frozen=True)
class Kernels:
    """The kernels of one library, with the image gradient by `atomics` or gathered, and threads in the given order."""

    library: Callable[[], Path]
    atomics: bool
    order: int | None = None

    def call(self, inputs: Inputs, direction: Direction) -> Array:
        result = self._fresh(inputs, direction)
        if inputs.upstream.size:  # else there are no samples or no channels, and the operator calls no kernel
            self._run(inputs, direction, result)
        if direction != "grad_image":
            return result
        with np.errstate(over="ignore"):  # a sum may be infinite as a half
            return result.astype(inputs.image.dtype)

    def _run(self, inputs: Inputs, direction: Direction, result: Array) -> None:
        call = _Call(
            _array(result if direction == "grad_image" else inputs.image),
            _array(result if direction == "forward" else inputs.upstream),
            _array(inputs.boxes),
            _array(inputs.box_indices),
            _array(result if direction == "grad_boxes" else inputs.boxes),
            BOX_RULES.index(inputs.box_rule),
            METHODS.index(inputs.method),
            inputs.extrapolation_value,
        )
        name: str = direction
        if direction == "grad_image":
            name += "_atomic" if self.atomics else "_gather"
        library = _load(self.library())
        library.set_order(self._order(inputs))
        function = library[name]
        function.restype = ctypes.c_char_p
        message = function(ctypes.byref(call))
        if message is not None:
            raise RuntimeError(message.decode())
        if _written_beside(result):
            raise RuntimeError(f"{name} has written outside of its result.")

    def _fresh(self, inputs: Inputs, direction: Direction) -> Array:
        """Where the result goes: zeros if it is added to or nothing is, else NaN, as fresh memory on a GPU may be."""
        image, upstream = inputs.image, inputs.upstream
        if direction == "forward":
            shape = (len(inputs.boxes), image.shape[1], *inputs.crop_size)
            return _dense(shape, crops_dtype(image.dtype.name), np.nan, like=image)
        fill = np.nan if upstream.size else 0
        if direction == "grad_boxes":
            return _full(inputs.boxes.shape, inputs.boxes.dtype.name, fill)
        if not self.atomics:
            return _dense(image.shape, image.dtype.name, fill, like=image)
        sums = "float32" if image.dtype.name in HALVES else image.dtype.name
        return _dense(image.shape, sums, 0, like=image)

    def _order(self, inputs: Inputs) -> int:
        if self.order is not None:
            return self.order
        picked = zlib.crc32(inputs.boxes.tobytes()) >> 1  # an int in C; from 2 on it is the seed of a random order
        return picked % 3 if picked % 3 in (FORWARD, BACKWARD) else picked


def _array(array: Array) -> _Array:
    four = ctypes.c_int64 * 4
    strides = (stride // array.itemsize for stride in array.strides)
    return _Array(array.ctypes.data, array.dtype.name.encode(), four(*array.shape), four(*strides))


def _dense(shape: tuple[int, ...], dtype: str, fill: float, *, like: Array) -> Array:
    """Channels innermost where they are in `like`: the operator's rule (impl/roi_align/library.py)."""
    if like.shape[1] > 1 and like.strides[1] == like.itemsize and max(like.shape[2:]) > 1:
        pixels: Array = _full(tuple(shape[axis] for axis in (0, 2, 3, 1)), dtype, fill).transpose(0, 3, 1, 2)
        return pixels
    return _full(shape, dtype, fill)


def _full(shape: tuple[int, ...], dtype: str, fill: float) -> Array:
    """Memory as a GPU's allocator gives it, aligned so that vectors can be used, between margins that nobody owns."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.full(size + 3 * _ALIGNED, _MARGIN, np.uint8)
    start = 2 * _ALIGNED - memory.ctypes.data % _ALIGNED
    result: Array = memory[start : start + size].view(dtype).reshape(shape)
    result.fill(fill)
    return result


def _written_beside(result: Array) -> bool:
    memory = result.base
    assert memory is not None
    start = result.ctypes.data - memory.ctypes.data
    return any((margin != _MARGIN).any() for margin in (memory[:start], memory[start + result.nbytes :]))


@functools.cache
def _load(library: Path) -> ctypes.PyDLL:
    """PyDLL keeps Python's lock during a call: the executor runs one launch at a time."""
    return ctypes.PyDLL(str(library))


def refuses(inputs: Inputs, direction: Direction) -> str | None:
    if inputs.image.dtype.name not in FLOATS:
        return f"images of {inputs.image.dtype} are not taken yet"
    return None


def make(
    *, atomics: bool, library: Callable[[], Path] = cuda_on_host.kernel_library, order: int | None = None
) -> Backend:
    """The kernels of a library as a backend, with the threads in one order if it is given."""
    kernels = Kernels(library, atomics, order)

    def prepare(inputs: Inputs, direction: Direction) -> Callable[[], Any]:
        return lambda: kernels.call(inputs, direction)

    return Backend(
        name="cuda_on_host" if atomics else "cuda_on_host_gather",
        title=f"roi_align (CUDA kernels on the CPU, {'atomics' if atomics else 'deterministic'})",
        refuses=refuses,
        prepare=prepare,
        to_numpy=lambda result: result,
        order_a=frozenset(DIRECTIONS),
        tensorflow_bits=frozenset({"forward"} if atomics else {"forward", "grad_image"}),
        layout_order=frozenset({"grad_boxes"}),
        unordered=frozenset({"grad_image"} if atomics else ()),
    )


backend = make(atomics=True)
gather = make(atomics=False)
