"""Global memory: the allocations that a launch may touch, and nothing beside them.

They are the process's own memory, so that a kernel reads and writes the arrays that it was given. What lies outside of
them, an address that is not a multiple of the access's size, a write to what is only read, and a read of bytes that
nobody has written are faults, each with the thread and the line.
"""

from __future__ import annotations

import bisect
import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.kernels.ptx.flow import Instruction
from harness.operators.arrays import Array

if TYPE_CHECKING:
    from harness.kernels.ptx.warp import Warp

# Where shared memory begins among generic addresses: beyond all that a process can have.
SHARED_WINDOW = 1 << 60
# Views of an allocation's memory begin at a multiple of the widest access.
_WIDEST = 32


@dataclass(frozen=True)
class Access:
    """What an instruction asks of memory in each lane: `count` elements of a type that lie next to each other."""

    instruction: Instruction
    dtype: np.dtype[Any]
    count: int

    @property
    def bytes(self) -> int:
        return self.dtype.itemsize * self.count


@dataclass
class Allocation:
    """A range of the process's memory that has a name.

    filled  whether all of it holds values from the start; what is written later is known too.
    """

    name: str
    start: int
    bytes: int
    writable: bool
    filled: bool = False
    known: Array = field(init=False)
    _views: dict[tuple[str, int], tuple[Array, Array]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.base = self.start - self.start % _WIDEST
        size = -(-(self.end - self.base) // _WIDEST) * _WIDEST
        self._memory = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(self.base))
        self.known = np.full(size, self.filled)

    @property
    def end(self) -> int:
        return self.start + self.bytes

    def views(self, access: Access) -> tuple[Array, Array]:
        """The memory as what an access reads, a row for each place, and likewise what is known of it, 0 or ~0."""
        key = (access.dtype.str, access.count)
        if key not in self._views:
            known = self.known.view(np.uint8).view(f"u{access.dtype.itemsize}")
            both = (self._memory.view(access.dtype), known)
            self._views[key] = tuple(each.reshape(-1, access.count) for each in both)  # type: ignore[assignment]
        return self._views[key]


class GlobalMemory:
    """The allocations of a launch, by their addresses.

    strict  whether reading what nobody has written is a fault. It is none where only some blocks of a grid run.
    """

    def __init__(self, allocations: Sequence[Allocation], *, strict: bool = True) -> None:
        self._allocations = sorted(allocations, key=lambda each: each.start)
        self._starts = [each.start for each in self._allocations]
        self._strict = strict

    def read(self, addresses: Array, access: Access, warp: Warp) -> Array:
        """What lies at the addresses of the active lanes: a row for each."""
        result: Array = np.empty((len(addresses), access.count), access.dtype)
        for allocation, which in self._found(addresses, access, warp, "reads"):
            memory, known = allocation.views(access)
            rows = ((addresses[which] - np.uint64(allocation.base)) // np.uint64(access.bytes)).astype(np.intp)
            if self._strict and not known[rows].all():
                self._unknown(allocation, addresses, which, access, warp)
            result[which] = memory[rows]
        return result

    def write(self, addresses: Array, values: Array, access: Access, warp: Warp) -> None:
        for allocation, which in self._found(addresses, access, warp, "writes"):
            memory, known = allocation.views(access)
            rows = ((addresses[which] - np.uint64(allocation.base)) // np.uint64(access.bytes)).astype(np.intp)
            memory[rows] = values[which]
            known[rows] = all_known(access.dtype.itemsize)

    def change(self, addresses: Array, change: Callable[[int, Array], Array], access: Access, warp: Warp) -> None:
        """One lane after another: of what is there, change(which of the active lanes, row) makes what is written."""
        self.read(addresses, access, warp)  # for its checks
        for allocation, which in self._found(addresses, access, warp, "writes"):
            memory, known = allocation.views(access)
            rows = ((addresses[which] - np.uint64(allocation.base)) // np.uint64(access.bytes)).astype(np.intp)
            known[rows] = all_known(access.dtype.itemsize)
            lanes = np.arange(len(addresses))[which]
            for lane, row in list(zip(lanes.tolist(), rows.tolist(), strict=True))[:: warp.block.direction]:
                memory[row] = change(lane, memory[row])

    def _found(
        self, addresses: Array, access: Access, warp: Warp, verb: str
    ) -> Iterator[tuple[Allocation, slice | Array]]:
        """The allocations that the addresses lie in, and which of them each holds."""
        if (addresses & np.uint64(access.bytes - 1)).any():
            lane = int(np.flatnonzero(addresses & np.uint64(access.bytes - 1))[0])
            raise warp.fault_at(
                access.instruction, lane, f"{verb} {access.bytes} bytes at {self.name(int(addresses[lane]))}, "
                f"an address that is no multiple of {access.bytes}"
            )  # fmt: skip
        least, most = int(addresses.min()), int(addresses.max())
        allocation = self._at(least)
        if allocation is not None and most + access.bytes <= allocation.end:
            self._check_writable(allocation, 0, addresses, access, warp, verb)
            yield allocation, slice(None)
            return
        places = np.array([self._place(int(address), access.bytes) for address in addresses])
        if (places < 0).any():
            lane = int(np.flatnonzero(places < 0)[0])
            where = self.name(int(addresses[lane]))
            raise warp.fault_at(
                access.instruction, lane, f"{verb} {access.bytes} bytes at {where}, outside of every allocation"
            )
        for place in np.unique(places):
            which = np.flatnonzero(places == place)
            self._check_writable(self._allocations[place], int(which[0]), addresses, access, warp, verb)
            yield self._allocations[place], which

    def _check_writable(
        self, allocation: Allocation, lane: int, addresses: Array, access: Access, warp: Warp, verb: str
    ) -> None:
        if verb == "writes" and not allocation.writable:
            where = self.name(int(addresses[lane]))
            raise warp.fault_at(access.instruction, lane, f"writes {access.bytes} bytes at {where}, an input")

    def _at(self, address: int) -> Allocation | None:
        """The allocation that an address lies in."""
        place = self._place(address, 1)
        return None if place < 0 else self._allocations[place]

    def _place(self, address: int, size: int) -> int:
        place = bisect.bisect_right(self._starts, address) - 1
        return place if place >= 0 and address + size <= self._allocations[place].end else -1

    def _unknown(
        self, allocation: Allocation, addresses: Array, which: slice | Array, access: Access, warp: Warp
    ) -> None:
        _, known = allocation.views(access)
        rows = ((addresses[which] - np.uint64(allocation.base)) // np.uint64(access.bytes)).astype(np.intp)
        first = int(np.flatnonzero(~known[rows].all(axis=1))[0])
        lane = first if isinstance(which, slice) else int(which[first])
        where = self.name(int(addresses[lane]))
        raise warp.fault_at(
            access.instruction, lane, f"reads {access.bytes} bytes at {where}, where nothing has been written"
        )

    def name(self, address: int) -> str:
        """An address by the allocation that it lies in or nearest to."""
        if not self._allocations or address >= SHARED_WINDOW:
            return f"0x{address:x}"
        nearest = min(self._allocations, key=lambda each: max(each.start - address, address - each.end, 0))
        if address < nearest.start:
            return f"{nearest.start - address} bytes before {nearest.name}"
        return f"byte {address - nearest.start} of {nearest.name}, which has {nearest.bytes}"


def all_known(size: int) -> int:
    """That so many bytes are known, as one number."""
    return int.from_bytes(b"\x01" * size, "little")


def merged(allocations: Sequence[Allocation]) -> list[Allocation]:
    """Those that share memory as one: an array may be given under two names."""
    apart: list[Allocation] = []
    for each in sorted(allocations, key=lambda each: each.start):
        if not apart or each.start >= apart[-1].end:
            apart.append(each)
            continue
        last = apart[-1]
        names = last.name if each.name in last.name.split(" or ") else f"{last.name} or {each.name}"
        both = Allocation(names, last.start, max(last.end, each.end) - last.start, last.writable or each.writable)
        for part in (last, each):
            begin = part.base - both.base
            room = min(len(part.known), len(both.known) - begin)
            both.known[begin : begin + room] |= part.known[:room]
        apart[-1] = both
    return apart
