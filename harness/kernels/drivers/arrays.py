"""Arrays for kernels that run on the host: their C descriptions, and result memory with guarded margins."""

from __future__ import annotations

import ctypes
import math
import zlib

import numpy as np

from harness.operators.arrays import Array, channels_innermost

FORWARD, BACKWARD = 0, 1
_ALIGNMENT, _MARGIN = 512, 0xA5


class ArrayDescription(ctypes.Structure):
    """An array in the layout of driver.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("dtype", ctypes.c_char_p),
        ("size", ctypes.c_int64 * 4),
        ("stride", ctypes.c_int64 * 4),
    )


def describe(array: Array) -> ArrayDescription:
    four = ctypes.c_int64 * 4
    strides = (stride // array.itemsize for stride in array.strides)
    return ArrayDescription(array.ctypes.data, array.dtype.name.encode(), four(*array.shape), four(*strides))


def dense(shape: tuple[int, ...], dtype: str, fill: float, *, like: Array) -> Array:
    """A result in the layout of `like`."""
    if channels_innermost(like):
        pixels: Array = full(tuple(shape[axis] for axis in (0, 2, 3, 1)), dtype, fill).transpose(0, 3, 1, 2)
        return pixels
    return full(shape, dtype, fill)


def full(shape: tuple[int, ...], dtype: str, fill: float) -> Array:
    """A result aligned like a GPU allocation, so that vector accesses work, between guard margins."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.full(size + 3 * _ALIGNMENT, _MARGIN, np.uint8)
    start = 2 * _ALIGNMENT - memory.ctypes.data % _ALIGNMENT
    result: Array = memory[start : start + size].view(dtype).reshape(shape)
    result.fill(fill)
    return result


def margins_changed(result: Array) -> bool:
    """Whether a kernel has written into the margins around a result of `full` or `dense`."""
    memory = result.base
    assert memory is not None
    start = result.ctypes.data - memory.ctypes.data
    return any((margin != _MARGIN).any() for margin in (memory[:start], memory[start + result.nbytes :]))


def picked_order(boxes: Array) -> int:
    """FORWARD, BACKWARD or, from 2 on, the seed of a random order: cases cover all three, and a call always gets the
    same."""
    seed = zlib.crc32(boxes.tobytes()) >> 1  # an int in C
    return seed % 3 if seed % 3 in (FORWARD, BACKWARD) else seed
