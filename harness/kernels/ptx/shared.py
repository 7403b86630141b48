"""A block's shared memory, with the accesses of each thread since the last barrier.

Two threads race if one of them writes what the other reads or writes and nothing orders them: between warps that is a
barrier of the block, within a warp also __syncwarp. Lanes of a warp that happen to run together are not ordered, as in
CUDA since Volta; nor do a shuffle or a vote order them. Atomic additions race with other accesses, not with each other.

Reading uninitialised bytes is no fault: lanes without a channel read too, and their values are discarded. What they
read depends on the order of warps, so a result that depends on it differs between the two orders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from harness.kernels.ptx.memory import Access
from harness.operators.arrays import Array

if TYPE_CHECKING:
    from harness.kernels.ptx.warp import Warp

READ, WRITE, ATOMIC = range(3)
_KINDS = (READ, WRITE, ATOMIC)
_DID = ("has read", "has written", "has changed by an atomic operation")
# The kinds of access that race with each kind.
_AGAINST = {READ: (WRITE, ATOMIC), WRITE: _KINDS, ATOMIC: (READ, WRITE)}
# The uninitialised bytes in forward order (NaN as a float, -1 as an index) and in backward order (3.4e38 and
# 2,139,062,143). A kernel may mark a missing value by -1 itself, and then only the other byte shows what it forgot.
GARBAGE = {1: 0xFF, -1: 0x7F}


class SharedMemory:
    """Shared memory of one block.

    grain    the size of the kernel's smallest access, a power of two: the resolution of race detection.
    garbage  the byte of which uninitialised memory consists.
    """

    def __init__(self, size: int, warps: int, grain: int, garbage: int) -> None:
        self.bytes = size
        self._memory = np.full(-(-size // 32) * 32, garbage, np.uint8)
        self._grain = grain
        grains = len(self._memory) // grain
        # Bit masks of lanes, by warp, and of warps; and the last instruction that accessed each grain.
        self._lanes = np.zeros((len(_KINDS), warps, grains), np.uint32)
        self._warps = np.zeros((len(_KINDS), grains), np.uint32)
        self._last = np.zeros((len(_KINDS), grains), np.int32)

    def pass_barrier(self) -> None:
        """Called when all threads of the block have reached a barrier."""
        self._lanes.fill(0)
        self._warps.fill(0)

    def pass_warp_barrier(self, warp: int) -> None:
        self._lanes[:, warp].fill(0)

    def read(self, offsets: Array, access: Access, warp: Warp) -> Array:
        rows = self._rows(offsets, access, warp, "reads")
        self._order(READ, offsets, access, warp)
        values: Array = self._view(access)[rows]
        return values

    def write(self, offsets: Array, values: Array, access: Access, warp: Warp) -> None:
        rows = self._rows(offsets, access, warp, "writes")
        self._order(WRITE, offsets, access, warp)
        self._view(access)[rows] = values

    def change(self, offsets: Array, change: Callable[[int, Array], Array], access: Access, warp: Warp) -> None:
        """Updates memory one lane after another: change(position among the active lanes, old row) gives the new row."""
        rows = self._rows(offsets, access, warp, "changes")
        self._order(ATOMIC, offsets, access, warp)
        memory = self._view(access)
        for lane, row in list(enumerate(rows.tolist()))[:: warp.block.direction]:
            memory[row] = change(lane, memory[row])

    def _view(self, access: Access) -> Array:
        return self._memory.view(access.dtype).reshape(-1, access.count)

    def _rows(self, offsets: Array, access: Access, warp: Warp, verb: str) -> Array:
        stray = (offsets & np.uint64(access.bytes - 1)) != 0
        if stray.any():
            lane = int(np.flatnonzero(stray)[0])
            raise warp.fault_at(
                access.instruction, lane, f"{verb} {access.bytes} bytes at byte {int(offsets[lane])} of shared memory, "
                f"which is no multiple of {access.bytes}"
            )  # fmt: skip
        if int(offsets.max()) + access.bytes > self.bytes:
            lane = int(offsets.argmax())
            raise warp.fault_at(
                access.instruction, lane, f"{verb} {access.bytes} bytes at byte {int(offsets[lane])} of shared memory, "
                f"of which the block has {self.bytes}"
            )  # fmt: skip
        rows: Array = (offsets // np.uint64(access.bytes)).astype(np.intp)
        return rows

    def _order(self, kind: int, offsets: Array, access: Access, warp: Warp) -> None:
        """Records an access; stops the kernel if it races with an earlier one."""
        lanes = warp.lanes
        own = np.uint32(1) << lanes.astype(np.uint32)
        grains = (offsets // np.uint64(self._grain)).astype(np.intp)
        if access.bytes > self._grain:
            parts = access.bytes // self._grain
            grains = (grains[:, None] + np.arange(parts)).ravel()
            own, lanes = np.repeat(own, parts), np.repeat(lanes, parts)
        others = ~(np.uint32(1 << warp.index))
        for before in _AGAINST[kind]:
            in_warp = self._lanes[before, warp.index, grains] & ~own
            elsewhere = self._warps[before, grains] & others
            if in_warp.any() or elsewhere.any():
                self._race(kind, before, grains, lanes, in_warp, elsewhere, access, warp)
        words = self._lanes[kind, warp.index]
        if kind == WRITE:
            self._last[kind, grains] = lanes
            if (clash := self._last[kind, grains] != lanes).any():
                self._clash(int(np.flatnonzero(clash)[0]), grains, lanes, access, warp)
        np.bitwise_or.at(words, grains, own)
        self._warps[kind, grains] |= np.uint32(1 << warp.index)
        self._last[kind, grains] = access.instruction.index

    def _race(
        self, kind: int, before: int, grains: Array, lanes: Array, in_warp: Array, elsewhere: Array, access: Access,
        warp: Warp,
    ) -> None:  # fmt: skip
        at = int(np.flatnonzero(in_warp | elsewhere)[0])
        grain = int(grains[at])
        if in_warp[at]:
            of, bits = warp.index, int(in_warp[at])
            missing = "no barrier and no __syncwarp"
        else:
            of = int(elsewhere[at]).bit_length() - 1
            bits, missing = int(self._lanes[before, of, grain]), "no barrier"
            # If the other warp has passed a __syncwarp since, any of its lanes may be named.
            bits = bits or 1
        other = warp.block.coordinates(32 * of + bits.bit_length() - 1)
        place = warp.block.code.instruction(int(self._last[before, grain])).place
        verb = {READ: "reads", WRITE: "writes", ATOMIC: "changes"}[kind]
        raise warp.fault_of(
            access.instruction, int(lanes[at]), f"{verb} byte {grain * self._grain} of shared memory, which thread "
            f"{other} {_DID[before]} ({place}), with {missing} between"
        )  # fmt: skip

    def _clash(self, at: int, grains: Array, lanes: Array, access: Access, warp: Warp) -> None:
        other = warp.block.coordinates(32 * warp.index + int(self._last[WRITE, grains[at]]))
        raise warp.fault_of(
            access.instruction, int(lanes[at]), f"writes byte {int(grains[at]) * self._grain} of shared memory at the "
            f"same time as thread {other}"
        )  # fmt: skip
