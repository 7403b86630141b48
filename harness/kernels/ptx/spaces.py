"""The address spaces of a block: parameters, global memory, shared memory, and generic addresses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from harness.kernels.ptx.counts import Traffic
from harness.kernels.ptx.memory import SHARED_WINDOW, Access, GlobalMemory
from harness.kernels.ptx.registers import LANES
from harness.kernels.ptx.shared import SharedMemory
from harness.operators.arrays import Array

if TYPE_CHECKING:
    from harness.kernels.ptx.warp import Warp

# The effect of an atomic operation: (position among the active lanes, old row) -> new row.
Change = Callable[[int, Array], Array]


@dataclass
class Parameters:
    """A kernel's parameters as bytes. Most reads are uniform over lanes and repeated, so they are cached."""

    bytes: Array
    _uniform: dict[tuple[int, str, int], list[Array]] = field(default_factory=dict)

    def at(self, offset: int, access: Access) -> list[Array]:
        """An array of all lanes for each element."""
        key = (offset, access.dtype.str, access.count)
        if key not in self._uniform:
            values = self.bytes[offset : offset + access.bytes].view(access.dtype)
            self._uniform[key] = [np.full(LANES, value) for value in values]
        return self._uniform[key]

    def read(self, offsets: Array, access: Access, warp: Warp) -> Array:
        """Reads at a different offset in each lane, such as an array among the parameters; one row per lane."""
        if int(offsets.max()) + access.bytes > len(self.bytes):
            raise warp.fault_at(access.instruction, int(offsets.argmax()), "reads beyond the kernel's parameters")
        places = offsets.astype(np.intp)[:, None] + np.arange(access.bytes)
        rows: Array = self.bytes[places].view(access.dtype)
        return rows


@dataclass(frozen=True)
class Spaces:
    """The memory that a block can access, and its traffic if that is counted."""

    parameters: Parameters
    memory: GlobalMemory
    shared: SharedMemory
    traffic: Traffic | None

    def read(self, space: str, addresses: Array, access: Access, warp: Warp) -> Array:
        """The values at the addresses of the active lanes, one row per lane."""
        if space == "param":
            return self.parameters.read(addresses, access, warp)
        memory, addresses = self._resolve(space, addresses, access, warp)
        return memory.read(addresses, access, warp)

    def write(self, space: str, addresses: Array, values: Array, access: Access, warp: Warp) -> None:
        memory, addresses = self._resolve(space, addresses, access, warp)
        memory.write(addresses, values, access, warp)

    def change(self, space: str, addresses: Array, change: Change, access: Access, warp: Warp) -> None:
        """Updates memory one lane after another, in the launch's order of threads."""
        memory, addresses = self._resolve(space, addresses, access, warp)
        memory.change(addresses, change, access, warp)

    def in_shared(self, space: str, addresses: Array) -> bool:
        return space == "shared" or (space == "generic" and bool(addresses[0] >= SHARED_WINDOW))

    def _resolve(
        self, space: str, addresses: Array, access: Access, warp: Warp
    ) -> tuple[GlobalMemory | SharedMemory, Array]:
        """The memory of an access, and the addresses in it."""
        is_shared = self.in_shared(space, addresses)
        if space == "generic":
            inside = addresses >= SHARED_WINDOW
            if (inside != is_shared).any():
                raise access.instruction.unsupported(" where lanes access different memories")
            if is_shared:
                addresses = addresses - np.uint64(SHARED_WINDOW)
        if self.traffic is not None:
            self.traffic.count(addresses, access, warp.lanes, shared=is_shared)
        return (self.shared if is_shared else self.memory), addresses
