"""The instructions that read and write memory: parameters, global and shared memory, and atomic operations on both."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.kernels.ptx.arithmetic import family
from harness.kernels.ptx.bits import names_in
from harness.kernels.ptx.flow import Instruction
from harness.kernels.ptx.memory import Access
from harness.kernels.ptx.registers import DTYPES, Slots, Step, View, store
from harness.operators.arrays import Array

if TYPE_CHECKING:
    from harness.kernels.ptx.warp import Warp

# Modifiers that affect caching, not values.
_HINTS = ("nc", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "weak", "volatile", "relaxed", "cta", "gpu", "sys")
_VECTORS = {"v2": 2, "v4": 4}


def _access(instruction: Instruction, *operations: str) -> tuple[str, Access]:
    """The memory space, generic if none is named, and the access."""
    space, count = "generic", 1
    for word in instruction.parts[1:-1]:
        if word in ("global", "shared", "param"):
            space = word
        elif word in _VECTORS:
            count = _VECTORS[word]
        elif word not in (*_HINTS, *operations) and not word.startswith(("L1::", "L2::")):
            raise instruction.unsupported(f" with {word}")
    kind = instruction.parts[-1]
    if kind not in DTYPES or kind in ("f16", "bf16"):
        raise instruction.unsupported()
    return space, Access(instruction, DTYPES[kind], count)


def _address(operand: str, slots: Slots, space: str) -> tuple[int, View | None, np.uint64, bool]:
    """For an operand like `[%rd4+8]`: the slot of its base, its view, the offset, and whether it is uniform over
    lanes."""
    base, _, offset = operand.strip("[]").replace("+-", "+ -").partition("+")
    register = slots.is_register(base)
    narrow = register and slots.initial[slots.source(base, "b32")[0]].itemsize == 4
    place, view = slots.source(base, "u32" if narrow else "u64")
    widen: View | None = (lambda array: array.astype(np.uint64)) if narrow else view
    return place, widen, np.uint64(int(offset or 0) % 2**64), not register


@family("ld")
def _load(instruction: Instruction, slots: Slots) -> Step:
    space, access = _access(instruction)
    to, of = instruction.operands
    names = names_in(to)
    targets = [slots.target(name, instruction.parts[-1]) for name in names]
    place, view, offset, uniform = _address(of, slots, space)

    def give(warp: Warp, values: Array) -> None:
        """Stores values, a row per active lane, to registers, one per column."""
        for column, (target, after) in enumerate(targets):
            value = values[:, column]
            value = np.ascontiguousarray(after(value) if after else value)
            if not warp.full:
                all_lanes = warp.registers[target].copy()
                all_lanes[warp.active] = value
                value = all_lanes
            warp.registers[target] = value

    def step(warp: Warp) -> None:
        addresses = warp.registers[place]
        addresses = (view(addresses) if view else addresses) + offset
        if not warp.full:
            addresses = addresses[warp.active]
        give(warp, warp.block.spaces.read(space, addresses, access, warp))

    def of_parameter(warp: Warp) -> None:
        values = warp.block.spaces.parameters.at(int(warp.registers[place][0]) + int(offset), access)
        for column, (target, after) in enumerate(targets):
            store(warp, target, after(values[column]) if after else values[column])

    return of_parameter if space == "param" and uniform else step


@family("st")
def _store(instruction: Instruction, slots: Slots) -> Step:
    space, access = _access(instruction)
    to, of = instruction.operands
    sources = [slots.source(name, instruction.parts[-1]) for name in names_in(of)]
    place, view, offset, _ = _address(to, slots, space)

    def step(warp: Warp) -> None:
        registers = warp.registers
        addresses = registers[place]
        addresses = (view(addresses) if view else addresses) + offset
        columns = [take(registers[source]) if take else registers[source] for source, take in sources]
        values = np.stack(columns, axis=1)
        if not warp.full:
            addresses, values = addresses[warp.active], values[warp.active]
        warp.block.spaces.write(space, addresses, values, access, warp)

    return step


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda old, new: old + new,
    "min": min,
    "max": max,
    "and": lambda old, new: old & new,
    "or": lambda old, new: old | new,
    "xor": lambda old, new: old ^ new,
    "exch": lambda _, new: new,
}


@family("atom", "red")
def _atomic(instruction: Instruction, slots: Slots) -> Step:
    """Runs one lane after another. float32 sums in global memory flush subnormals, as PTX specifies."""
    space, access = _access(instruction, *_OPERATIONS, "cas")
    kind = instruction.parts[-1]
    returns = instruction.parts[0] == "atom"
    targets = [slots.target(name, kind) for name in names_in(instruction.operands[0])] if returns else []
    at, *operands = instruction.operands[1:] if returns else instruction.operands
    sources = [slots.source(name, kind) for operand in operands for name in names_in(operand)]
    place, view, offset, _ = _address(at, slots, space)
    operation = next((_OPERATIONS[word] for word in instruction.parts if word in _OPERATIONS), None)
    flush = _flush_subnormal if kind == "f32" and "add" in instruction.parts else lambda value: value
    if (operation is None) != ("cas" in instruction.parts) or (kind[0] == "f" and "add" not in instruction.parts):
        raise instruction.unsupported()

    def step(warp: Warp) -> None:
        registers = warp.registers
        addresses = registers[place]
        addresses = ((view(addresses) if view else addresses) + offset)[warp.active]
        columns = [take(registers[source]) if take else registers[source] for source, take in sources]
        values = np.stack(columns, axis=1)[warp.active]
        before = np.empty((len(addresses), access.count), access.dtype)
        in_global = not warp.block.spaces.in_shared(space, addresses)

        def change(lane: int, old: Array) -> Array:
            before[lane] = old
            if operation is None:
                return values[lane, 1:] if old[0] == values[lane, 0] else old
            pairs = zip(old, values[lane], strict=True)
            if in_global:
                pairs = ((flush(a), flush(b)) for a, b in pairs)  # type: ignore[assignment]
            results = np.array([operation(a, b) for a, b in pairs], access.dtype)
            return np.array([flush(each) for each in results], access.dtype) if in_global else results

        warp.block.spaces.change(space, addresses, change, access, warp)
        for column, (target, after) in enumerate(targets):
            all_lanes = registers[target].copy()
            all_lanes[warp.active] = after(before[:, column]) if after else before[:, column]
            registers[target] = all_lanes

    return step


def _flush_subnormal(value: Any) -> Any:
    return np.copysign(np.float32(0), value) if abs(value) < np.finfo(np.float32).tiny else value
