"""Numbers and arrays as the drivers of the CPU kernels read and write them (harness/sanitizing/cpu_threads.h).

A number is eight bytes in the machine's own order, an int64 or a float64. An array is the number of its dtype
(impl/csrc/common/view.h), its rank, its sizes, its strides in elements, and then the memory from its first element to
its last, including gaps between elements; none for an empty array.
"""

from __future__ import annotations

import struct

import numpy as np

from harness.operators.arrays import Array

# The dtypes that the CPU kernels accept, in the order of impl/csrc/common/view.h.
DTYPES = ("float32", "float64", "int32", "int64")


def pack(*values: Array | int | float) -> bytes:
    """The values, one after another; ValueError for an array of another dtype or with negative strides."""
    return b"".join(_pack(value) for value in values)


def _pack(value: Array | int | float) -> bytes:
    if isinstance(value, int):
        return struct.pack("=q", value)
    if isinstance(value, float):
        return struct.pack("=d", value)
    if value.dtype.name not in DTYPES:
        raise ValueError(f"The CPU kernels take no arrays of {value.dtype}; they take {', '.join(DTYPES)}.")
    strides = [stride // value.itemsize for stride in value.strides]
    if min(strides, default=0) < 0:
        raise ValueError(f"Strides are at least 0, not {tuple(strides)}.")
    head = struct.pack(f"={2 + 2 * value.ndim}q", DTYPES.index(value.dtype.name), value.ndim, *value.shape, *strides)
    return head + np.lib.stride_tricks.as_strided(value, (_span(value.shape, strides),), (value.itemsize,)).tobytes()


def unpack(data: bytes) -> list[list[Array]]:
    """Parses a driver's output: for each problem the number of result arrays, then the arrays.

    ValueError if the data end in the middle of one.
    """
    groups: list[list[Array]] = []
    at = 0

    def numbers(count: int) -> tuple[int, ...]:
        nonlocal at
        at += 8 * count
        if at > len(data):
            raise ValueError(f"The driver's results end after {len(data)} bytes, in the middle of an array.")
        return struct.unpack_from(f"={count}q", data, at - 8 * count)

    while at < len(data):
        (count,) = numbers(1)
        groups.append([])
        for _ in range(count):
            code, rank = numbers(2)
            shape, strides = numbers(rank), numbers(rank)
            dtype, span = np.dtype(DTYPES[code]), _span(shape, strides)
            if at + span * dtype.itemsize > len(data):
                raise ValueError(f"The driver's results end after {len(data)} bytes, in the middle of an array.")
            memory = np.frombuffer(data, dtype, span, at)
            at += memory.nbytes
            in_bytes = [stride * dtype.itemsize for stride in strides]
            groups[-1].append(np.lib.stride_tricks.as_strided(memory, shape, in_bytes, writeable=False))
    return groups


def _span(shape: tuple[int, ...], strides: tuple[int, ...] | list[int]) -> int:
    """From the first element to the last, in elements."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
