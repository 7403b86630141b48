"""Which blocks of a grid have read and written an allocation during a launch.

Blocks run in any order and concurrently, so no block may read or write memory that another block writes: the outcome
would be random. Only atomic operations of several blocks may overlap.
"""

from __future__ import annotations

import numpy as np

from harness.operators.arrays import Array

# The size of the smallest elements; a one-byte flag shares a grain with its neighbour.
_GRAIN = 2
_SEVERAL = -1


class Ownership:
    """For each grain the block that wrote it and the block that read it, counted from 1, 0 for none.

    -1 - number marks a block that has changed a grain by atomic operations only.
    """

    def __init__(self, size: int) -> None:
        self._writers = np.zeros(size // _GRAIN, np.int32)
        self._readers = np.zeros(size // _GRAIN, np.int32)

    def read(self, rows: Array, size: int, block: int) -> tuple[int, str] | None:
        """Records an access of `size` bytes at each row, or returns the row that conflicts with another block, and
        why."""
        rows, writers, readers = self._views(rows, size)
        if (clash := _others(writers[rows], block)) is not None:
            return clash
        before = readers[rows]
        readers[rows] = np.where((before == 0) | (before == block), block, _SEVERAL)
        return None

    def write(self, rows: Array, size: int, block: int) -> tuple[int, str] | None:
        rows, writers, readers = self._views(rows, size)
        clash = _others(writers[rows], block) or _others(readers[rows], block, "read")
        if clash is None:
            writers[rows] = block
        return clash

    def change(self, rows: Array, size: int, block: int) -> tuple[int, str] | None:
        rows, writers, readers = self._views(rows, size)
        before = writers[rows]
        clash = _others(np.maximum(before, 0), block) or _others(readers[rows], block, "read")
        if clash is None:
            alone = (before == 0) | (before == _atomic(block))
            # What the block wrote otherwise stays: another block's atomic operation may come before it.
            writers[rows] = np.where(before == block, block, np.where(alone, _atomic(block), _SEVERAL))
        return clash

    def _views(self, rows: Array, size: int) -> tuple[Array, Array, Array]:
        if size < _GRAIN:
            rows, size = rows * size // _GRAIN, _GRAIN
        writers, readers = (each.reshape(-1, size // _GRAIN) for each in (self._writers, self._readers))
        return rows, writers, readers


def _atomic(block: int) -> int:
    return -1 - block


def _others(owners: Array, block: int, did: str = "written") -> tuple[int, str] | None:
    """The first row that belongs to another block, with a description."""
    others = (owners != 0) & (owners != block) & (owners != _atomic(block))
    if not others.any():
        return None
    row, column = (int(each[0]) for each in np.nonzero(others))
    code = int(owners[row, column])
    if did == "written" and code < 0:
        return row, "which another block has changed by an atomic operation in the same launch"
    return row, f"which {'another block' if code == _SEVERAL else f'block {code - 1}'} has {did} in the same launch"
