"""Global memory: the allocations that a launch may access.

They are the process's own memory, so a kernel reads and writes the arrays of the call. Faults, each with the thread and
the line, are: an access outside of them or at a misaligned address, a write to an input, a read of uninitialised bytes,
and an access to memory that another block writes.
"""

from __future__ import annotations

import bisect
import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.kernels.ptx.faults import Fault
from harness.kernels.ptx.flow import Instruction
from harness.kernels.ptx.ownership import Ownership
from harness.operators.arrays import Array

if TYPE_CHECKING:
    from harness.kernels.ptx.warp import Warp

# The start of shared memory among generic addresses, beyond any address of a process.
SHARED_WINDOW = 1 << 60
# Views of an allocation's memory begin at a multiple of the widest access.
_WIDEST = 32


@dataclass(frozen=True)
class Access:
    """The memory access of an instruction in each lane: `count` adjacent elements of a dtype."""

    instruction: Instruction
    dtype: np.dtype[Any]
    count: int

    @property
    def bytes(self) -> int:
        return self.dtype.itemsize * self.count


@dataclass
class Allocation:
    """A named range of the process's memory.

    filled  whether all of it is initialised from the start; writes initialise bytes later.
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
        """The memory as rows of an access, and likewise the flags of initialised bytes, each 0 or 1."""
        key = (access.dtype.str, access.count)
        if key not in self._views:
            known = self.known.view(np.uint8).view(f"u{access.dtype.itemsize}")
            both = (self._memory.view(access.dtype), known)
            self._views[key] = tuple(each.reshape(-1, access.count) for each in both)  # type: ignore[assignment]
        return self._views[key]


class GlobalMemory:
    """The allocations of a launch, by their addresses.

    strict  whether reading uninitialised memory is a fault; not if only some blocks of a grid run.
    """

    def __init__(self, allocations: Sequence[Allocation], *, strict: bool = True) -> None:
        self._allocations = sorted(allocations, key=lambda each: each.start)
        self._starts = [each.start for each in self._allocations]
        self._strict = strict
        self._ownerships: dict[int, Ownership] = {}

    def read(self, addresses: Array, access: Access, warp: Warp) -> Array:
        """The values at the addresses of the active lanes, one row per lane."""
        result: Array = np.empty((len(addresses), access.count), access.dtype)
        for allocation, which, rows in self._locate(addresses, access, warp, "reads"):
            memory, known = allocation.views(access)
            self._check_initialised(known[rows], "reads", access, warp, addresses, which)
            if allocation.writable:
                clash = self._of(allocation).read(rows, access.bytes, warp.block.number)
                self._check(clash, "reads", access, warp, addresses, which)
            result[which] = memory[rows]
        return result

    def write(self, addresses: Array, values: Array, access: Access, warp: Warp) -> None:
        for allocation, which, rows in self._locate(addresses, access, warp, "writes"):
            clash = self._of(allocation).write(rows, access.bytes, warp.block.number)
            self._check(clash, "writes", access, warp, addresses, which)
            memory, known = allocation.views(access)
            memory[rows] = values[which]
            known[rows] = all_known(access.dtype.itemsize)
            if not (same := _bits(memory[rows]) == _bits(values[which])).all() and len(np.unique(rows)) < len(rows):
                lane = _numbers(addresses, which)[np.flatnonzero(~same.all(axis=1))[0]]
                raise self._fault("writes", access, warp, addresses, lane, "at the same time as another lane")

    def change(self, addresses: Array, change: Callable[[int, Array], Array], access: Access, warp: Warp) -> None:
        """Updates memory one lane after another: change(position among the active lanes, old row) gives the new row."""
        for allocation, which, rows in self._locate(addresses, access, warp, "writes"):
            clash = self._of(allocation).change(rows, access.bytes, warp.block.number)
            self._check(clash, "changes", access, warp, addresses, which)
            memory, known = allocation.views(access)
            self._check_initialised(known[rows], "changes", access, warp, addresses, which)
            known[rows] = all_known(access.dtype.itemsize)
            lanes = _numbers(addresses, which).tolist()
            for lane, row in list(zip(lanes, rows.tolist(), strict=True))[:: warp.block.direction]:
                memory[row] = change(lane, memory[row])

    def _of(self, allocation: Allocation) -> Ownership:
        if allocation.start not in self._ownerships:
            self._ownerships[allocation.start] = Ownership(len(allocation.known))
        return self._ownerships[allocation.start]

    def _check_initialised(
        self, known: Array, verb: str, access: Access, warp: Warp, addresses: Array, which: slice | Array
    ) -> None:
        """Every byte of every element has to be initialised."""
        initialised = known == all_known(access.dtype.itemsize)
        if self._strict and not initialised.all():
            lane = _numbers(addresses, which)[np.flatnonzero(~initialised.all(axis=1))[0]]
            raise self._fault(verb, access, warp, addresses, lane, "where nothing has been written")

    def _check(
        self,
        clash: tuple[int, str] | None,
        verb: str,
        access: Access,
        warp: Warp,
        addresses: Array,
        which: slice | Array,
    ) -> None:
        if clash is not None:
            row, why = clash
            raise self._fault(verb, access, warp, addresses, _numbers(addresses, which)[row], why)

    def _fault(self, verb: str, access: Access, warp: Warp, addresses: Array, lane: int, why: str) -> Fault:
        """A Fault of an active lane, by its position among the active lanes."""
        where = self.name(int(addresses[lane]))
        return warp.fault_at(access.instruction, int(lane), f"{verb} {access.bytes} bytes at {where}, {why}")

    def _locate(
        self, addresses: Array, access: Access, warp: Warp, verb: str
    ) -> Iterator[tuple[Allocation, slice | Array, Array]]:
        """The allocations of the addresses; for each, the positions of its addresses and the rows of its views."""
        if (stray := addresses & np.uint64(access.bytes - 1)).any():
            why = f"an address that is no multiple of {access.bytes}"
            raise self._fault(verb, access, warp, addresses, int(np.flatnonzero(stray)[0]), why)
        least, most = int(addresses.min()), int(addresses.max())
        allocation = self._at(least)
        pairs: list[tuple[Allocation, slice | Array]]
        if allocation is not None and most + access.bytes <= allocation.end:
            pairs = [(allocation, slice(None))]
        else:
            places = np.array([self._place(int(address), access.bytes) for address in addresses])
            if (places < 0).any():
                lane = int(np.flatnonzero(places < 0)[0])
                raise self._fault(verb, access, warp, addresses, lane, "outside of every allocation")
            pairs = [(self._allocations[place], np.flatnonzero(places == place)) for place in np.unique(places)]
        for allocation, which in pairs:
            if verb == "writes" and not allocation.writable:
                raise self._fault(verb, access, warp, addresses, _numbers(addresses, which)[0], "an input")
            rows = (addresses[which] - np.uint64(allocation.base)) // np.uint64(access.bytes)
            yield allocation, which, rows.astype(np.intp)

    def _at(self, address: int) -> Allocation | None:
        """The allocation that contains an address, or None."""
        place = self._place(address, 1)
        return None if place < 0 else self._allocations[place]

    def _place(self, address: int, size: int) -> int:
        place = bisect.bisect_right(self._starts, address) - 1
        return place if place >= 0 and address + size <= self._allocations[place].end else -1

    def name(self, address: int) -> str:
        """Describes an address by the allocation that contains it, or by the nearest one."""
        if not self._allocations or address >= SHARED_WINDOW:
            return f"0x{address:x}"
        nearest = min(self._allocations, key=lambda each: max(each.start - address, address - each.end, 0))
        if address < nearest.start:
            return f"{nearest.start - address} bytes before {nearest.name}"
        return f"byte {address - nearest.start} of {nearest.name}, which has {nearest.bytes}"


def _bits(rows: Array) -> Array:
    """Equal values with different bits are different writes; equal NaNs are equal."""
    contiguous = np.ascontiguousarray(rows)
    return contiguous.view(f"u{contiguous.itemsize}")


def _numbers(addresses: Array, which: slice | Array) -> Array:
    """The positions among the active lanes."""
    return np.arange(len(addresses))[which]


def all_known(size: int) -> int:
    """The flags of `size` initialised bytes, as one number."""
    return int.from_bytes(b"\x01" * size, "little")


def merge_overlaps(allocations: Sequence[Allocation]) -> list[Allocation]:
    """Merges allocations that share memory: an array may have two names."""
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
