"""A block of threads: its warps run one after another, each up to a barrier or its end.

In forward order earlier warps run ahead of later ones, in backward order the reverse: a correct kernel gives the same
result in both, and accesses without an order are reported as a race in either.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.kernels.binaries import short_name
from harness.kernels.ptx.code import Code
from harness.kernels.ptx.faults import Fault
from harness.kernels.ptx.registers import LANES
from harness.kernels.ptx.spaces import Spaces
from harness.kernels.ptx.warp import Warp

Triple = tuple[int, int, int]


class Block:
    """
    number     the block's number in its grid, from 1.
    runs       how often each basic block has run, over all blocks of the launch.
    direction  1 forward, -1 backward: of warps, of the sides of a branch, and of lanes at an atomic operation.
    """

    def __init__(
        self, code: Code, grid: Triple, threads: Triple, index: Triple, spaces: Spaces, runs: list[int], direction: int
    ) -> None:
        self.code, self.grid, self.threads, self.index = code, grid, threads, index
        self.spaces, self.runs, self.direction = spaces, runs, direction
        self.divergent_branches = 0
        x, y, z = index
        self.number = x + grid[0] * (y + grid[1] * z) + 1

    def run(self) -> None:
        """Runs all threads; Fault if a thread does something that a GPU would not do."""
        count = int(np.prod(self.threads))
        numbers = np.arange(-(-count // LANES) * LANES).reshape(-1, LANES)
        warps = [Warp(self, index, row < count) for index, row in enumerate(numbers)]
        while True:
            for warp in warps[:: self.direction]:
                if not warp.is_done:
                    warp.run()
            if all(warp.is_done for warp in warps):
                return
            self._meet(warps)
            self.spaces.shared.pass_barrier()

    def _meet(self, warps: Sequence[Warp]) -> None:
        """Fault unless all threads of the block wait at the same barrier."""
        first = next(warp for warp in warps if warp.waits is not None)
        assert first.waits is not None
        for warp in warps:
            if warp.waits is not first.waits or not warp.complete:
                where = f"waits at {warp.waits.place}" if warp.waits is not None else "has returned"
                if warp.waits is first.waits:
                    where = "has returned in part"
                raise Fault(
                    f"{first.waits.opcode} ({first.waits.place}): a divergent barrier, where warp {first.index} waits, "
                    f"but warp {warp.index} {where}. In {self}."
                )

    def coordinates(self, thread: int) -> str:
        x, y, _ = self.threads
        return str((thread % x, thread // x % y, thread // (x * y)))

    def __str__(self) -> str:
        return f"block {self.index} of {short_name(self.code.kernel.name)}"
