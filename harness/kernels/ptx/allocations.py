"""The arrays of a call as allocations, kept apart.

Arrays may be neighbours on the heap. An access beyond the end of one would then be inside of another, and whether it is
a fault would depend on what the process did before. While a call runs, each array is therefore a copy between margins
that belong to no allocation.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from harness.kernels.drivers.arrays import ArrayDescription
from harness.kernels.ptx.memory import Allocation, merge_overlaps
from harness.operators.arrays import Array

# Copies have their arrays' remainders by this, so that an access is aligned or misaligned as it was.
_ALIGNMENT = 512
# The bytes of a margin, beside as many as the array has itself.
_MARGIN = 4096


@contextmanager
def apart(arguments: ctypes.Structure, results: Sequence[Array]) -> Iterator[list[Allocation]]:
    """Lends the call copies of its arrays, with margins between them; results are copied back, even after an error.

    Yields the allocations. Results are writable, and initialised only if they contain no NaN.
    """
    starts = {result.ctypes.data: result for result in results}
    arrays = dict(_descriptions(arguments, ""))
    originals = merge_overlaps([_allocation(name, array, starts) for name, array in arrays.items()])
    memories = [np.zeros(3 * original.bytes + 2 * _MARGIN + _ALIGNMENT, np.uint8) for original in originals]
    copies = [_copy(*pair) for pair in zip(originals, memories, strict=True)]
    moves = {}
    for name, array in arrays.items():
        place = next(k for k, each in enumerate(originals) if each.start <= array.data < each.end)
        moves[name] = copies[place].start - originals[place].start
        array.data += moves[name]
    try:
        yield copies
    finally:
        for name, array in arrays.items():
            array.data -= moves[name]
        for original, copy in zip(originals, copies, strict=True):
            if original.writable:
                ctypes.memmove(original.start, copy.start, original.bytes)


def _copy(original: Allocation, memory: Array) -> Allocation:
    least = memory.ctypes.data + _MARGIN + original.bytes
    start = least + (original.start - least) % _ALIGNMENT
    ctypes.memmove(start, original.start, original.bytes)
    copy = Allocation(original.name, start, original.bytes, original.writable)
    copy.known[:] = original.known
    return copy


def _descriptions(value: Any, name: str) -> Iterator[tuple[str, ArrayDescription]]:
    if isinstance(value, ArrayDescription):
        if value.data and all(_shape(value)):
            yield name, value
    elif isinstance(value, ctypes.Structure):
        for field_name, *_ in value._fields_:
            yield from _descriptions(getattr(value, field_name), field_name)
    elif isinstance(value, ctypes.Array) and issubclass(value._type_, ctypes.Structure):
        for index, each in enumerate(value):
            yield from _descriptions(each, f"{name}[{index}]")


def _shape(array: ArrayDescription) -> tuple[int, ...]:
    """Its sizes, without the trailing zeros for missing dimensions."""
    sizes = list(array.size)
    while sizes and sizes[-1] == 0:
        sizes.pop()
    return tuple(sizes) or (0,)


def _allocation(name: str, array: ArrayDescription, results: dict[int, Array]) -> Allocation:
    itemsize = np.dtype(array.dtype.decode() if array.dtype != b"bfloat16" else "uint16").itemsize
    shape = _shape(array)
    extent = sum((size - 1) * stride for size, stride in zip(shape, array.stride, strict=False))
    size, result = (extent + 1) * itemsize, results.get(array.data)
    if result is not None:  # zeros to add to, or uninitialised
        return Allocation(name, array.data, size, writable=True, filled=not np.isnan(result).any())
    allocation = Allocation(name, array.data, size, writable=False)
    known = allocation.known[allocation.start - allocation.base :][:size]
    strides = [stride * itemsize for stride in array.stride[: len(shape)]]
    elements = np.lib.stride_tricks.as_strided(known, (*shape, itemsize), (*strides, 1))
    elements[...] = True
    return allocation
