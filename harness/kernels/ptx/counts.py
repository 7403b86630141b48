"""The cost of a launch in instructions and memory accesses: not time, but what determines time.

A request is one instruction of a warp that accesses global memory; its sectors are the units of 32 bytes that the
second-level cache delivers, each counted once per request. A wavefront is one cycle of shared memory: one word from
each of its 32 banks. Accesses of 8 and 16 bytes are served by half and quarter warps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from harness.kernels.ptx.memory import Access
from harness.operators.arrays import Array

_SECTOR, _WORD, _BANKS = 32, 4, 32
_KIND = {"ld": "loads", "st": "stores", "atom": "atomics", "red": "atomics"}


@dataclass(frozen=True)
class Counts:
    """The counts of the blocks that ran, possibly only part of the grid; instructions are per warp, not per lane.

    instructions        by opcode.
    requests, sectors   of global memory, by "loads", "stores" and "atomics".
    wavefronts          of shared memory, likewise; shared_requests: the wavefronts without bank conflicts and wide
                        accesses.
    """

    kernel: str
    blocks: int
    blocks_run: int
    threads: int
    shared_bytes: int
    warps_run: int
    instructions: Mapping[str, int]
    branches: int
    divergent_branches: int
    requests: Mapping[str, int]
    sectors: Mapping[str, int]
    shared_requests: Mapping[str, int]
    wavefronts: Mapping[str, int]

    @property
    def instructions_a_warp(self) -> float:
        return sum(self.instructions.values()) / self.warps_run

    def of_grid(self, count: float) -> float:
        """Extrapolates a count from the blocks that ran to the whole grid."""
        return count * self.blocks / self.blocks_run

    def instructions_for(self, values: int) -> float:
        """PTX instructions of the whole grid, counted per lane, divided by a number of values."""
        return self.of_grid(32 * sum(self.instructions.values())) / values

    def __str__(self) -> str:
        return (
            f"{self.kernel}: {self.blocks_run} of {self.blocks} blocks of {self.threads} threads, "
            f"{self.instructions_a_warp:,.0f} PTX instructions a warp"
        )


@dataclass
class Traffic:
    """Counters of a launch's memory accesses."""

    requests: Counter[str] = field(default_factory=Counter)
    sectors: Counter[str] = field(default_factory=Counter)
    shared_requests: Counter[str] = field(default_factory=Counter)
    wavefronts: Counter[str] = field(default_factory=Counter)

    def count(self, addresses: Array, access: Access, lanes: Array, *, shared: bool) -> None:
        kind = _KIND[access.instruction.parts[0]]
        if shared:
            self.shared_requests[kind] += 1
            self.wavefronts[kind] += _wavefronts(addresses, access.bytes, lanes)
        else:
            self.requests[kind] += 1
            self.sectors[kind] += len(np.unique(addresses // np.uint64(_SECTOR)))


def _wavefronts(offsets: Array, size: int, lanes: Array) -> int:
    words = (offsets // np.uint64(_WORD)).astype(np.intp)
    if size <= _WORD:
        return _conflicts(words)
    wide = size // _WORD
    together = lanes * wide // _BANKS
    words = words[:, None] + np.arange(wide)
    return sum(_conflicts(words[together == part].ravel()) for part in np.unique(together))


def _conflicts(words: Array) -> int:
    return int(np.bincount(np.unique(words) % _BANKS).max())
