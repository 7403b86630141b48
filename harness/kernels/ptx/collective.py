"""Collective instructions of a warp: shuffles, votes, reductions and synchronisation.

Each has a mask of the participating lanes, and all of them must be present: if some have diverged, returned or never
existed, a GPU would hang or exchange undefined values. A kernel whose lanes arrive from different places, one after
another, is stopped too, although CUDA allows it: no kernel of this project needs it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from harness.kernels.ptx.arithmetic import family
from harness.kernels.ptx.flow import Instruction
from harness.kernels.ptx.registers import DTYPES, LANES, Slots, Step, modifiers, store
from harness.operators.arrays import Array

if TYPE_CHECKING:
    from harness.kernels.ptx.warp import Warp

_LANE = np.arange(LANES, dtype=np.uint32)
_BIT = np.uint32(1) << _LANE


def _meeting(instruction: Instruction, slots: Slots, mask: str) -> Step:
    """Stops the kernel unless the active lanes are exactly those in the mask."""
    place, _ = slots.source(mask, "b32")

    def meet(warp: Warp) -> None:
        masks = warp.registers[place][warp.active]
        bits = warp.bits
        if (masks == bits).all():
            return
        strangers = np.flatnonzero(masks & _BIT[warp.lanes] == 0)
        position = int((strangers if len(strangers) else np.flatnonzero(masks != bits))[0])
        mask, lane = int(masks[position]), int(warp.lanes[position])
        if len(strangers):
            raise warp.fault_of(instruction, lane, f"is not among the lanes of its own mask, 0x{mask:08x}")
        if missing := mask & ~bits:
            other = missing.bit_length() - 1
            raise warp.fault_of(
                instruction, lane, f"waits with the mask 0x{mask:08x} for lane {other}, which {warp.whereabouts(other)}"
            )
        raise warp.fault_of(instruction, lane, f"has the mask 0x{mask:08x}, and lanes beside it come along")

    return meet


@family("vote")
def _vote(instruction: Instruction, slots: Slots) -> Step:
    (word,) = modifiers(instruction, 1, "sync", "ballot", "any", "all", "uni") - {"sync"}
    ballot = word == "ballot"
    target, after = slots.target(instruction.operands[0], "b32" if ballot else "pred")
    place, view = slots.source(instruction.operands[1], "pred")
    meet = _meeting(instruction, slots, instruction.operands[2])
    decide: dict[str, Callable[[Array], object]] = {
        "ballot": lambda votes: np.uint32(_BIT[votes].sum(dtype=np.uint32)),
        "any": lambda votes: votes.any(),
    }

    def step(warp: Warp) -> None:
        meet(warp)
        array = warp.registers[place]
        votes = (view(array) if view else array) & warp.active
        if word in decide:
            result = np.full(LANES, decide[word](votes))
        else:
            all_of, none_of = (votes == warp.active).all(), not votes.any()
            result = np.full(LANES, all_of or (none_of and word == "uni"), bool)
        store(warp, target, after(result) if after else result)

    return step


@family("shfl")
def _shuffle(instruction: Instruction, slots: Slots) -> Step:
    """As PTX defines it: the fourth operand has the last lane of a segment, and the mask that divides a warp into
    segments."""
    (mode,) = modifiers(instruction, 1, "sync", "up", "down", "bfly", "idx") - {"sync"}
    names = instruction.operands[0].split("|")
    target, after = slots.target(names[0], "b32")
    inside = slots.target(names[1], "pred")[0] if len(names) == 2 else None
    value, by, clamp = (slots.source(text, "b32") for text in instruction.operands[1:4])
    meet = _meeting(instruction, slots, instruction.operands[4])

    def step(warp: Warp) -> None:
        meet(warp)
        registers = warp.registers
        values, amount, limits = (view(registers[at]) if view else registers[at] for at, view in (value, by, clamp))
        source, within = _sources(mode, amount & np.uint32(31), limits)
        silent = ~warp.active[source] & warp.active
        if silent.any():
            lane = int(np.flatnonzero(silent)[0])
            raise warp.fault_of(instruction, lane, f"reads from lane {int(source[lane])}, which is not in the mask")
        result = values[source]
        store(warp, target, after(result) if after else result)
        if inside is not None:
            store(warp, inside, within)

    return step


def _sources(mode: str, amount: Array, limits: Array) -> tuple[Array, Array]:
    """The source lane of each lane (its own if the source is outside its segment), and whether the source is inside."""
    clamp, segment = limits & np.uint32(31), limits >> np.uint32(8) & np.uint32(31)
    first = (_LANE & segment).astype(np.int64)
    last = first | (clamp & ~segment)
    lane, by = _LANE.astype(np.int64), amount.astype(np.int64)
    source = {
        "up": lane - by,
        "down": lane + by,
        "bfly": lane ^ by,
        "idx": first | (amount & ~segment & np.uint32(31)),
    }[mode]
    within = source >= last if mode == "up" else source <= last
    return np.where(within, source, lane).astype(np.intp), within


_REDUCTIONS = {
    "add": np.add, "min": np.minimum, "max": np.maximum,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
}  # fmt: skip


@family("redux")
def _reduce(instruction: Instruction, slots: Slots) -> Step:
    kind = instruction.parts[-1]
    (word,) = modifiers(instruction, 1, "sync", *_REDUCTIONS) - {"sync"}
    target, after = slots.target(instruction.operands[0], kind)
    place, view = slots.source(instruction.operands[1], kind)
    meet = _meeting(instruction, slots, instruction.operands[2])
    dtype = DTYPES[kind]

    def step(warp: Warp) -> None:
        meet(warp)
        array = warp.registers[place]
        values = (view(array) if view else array)[warp.active]
        result = np.full(LANES, functools.reduce(_REDUCTIONS[word], values), dtype)
        store(warp, target, after(result) if after else result)

    return step


@family("bar")
def _wait_for_warp(instruction: Instruction, slots: Slots) -> Step:
    """__syncwarp: orders the lanes' accesses to shared memory before it and after it."""
    if instruction.opcode != "bar.warp.sync":
        raise instruction.unsupported()
    meet = _meeting(instruction, slots, instruction.operands[0])

    def step(warp: Warp) -> None:
        meet(warp)
        if not warp.whole:
            raise instruction.unsupported(" where only some of a warp's lanes take part")
        warp.block.spaces.shared.pass_warp_barrier(warp.index)

    return step


@family("activemask")
def _active_mask(instruction: Instruction, slots: Slots) -> Step:
    target, after = slots.target(instruction.operands[0], "b32")

    def step(warp: Warp) -> None:
        mask = np.full(LANES, warp.bits, np.uint32)
        store(warp, target, after(mask) if after else mask)

    return step


@family("membar", "fence")
def _fence(instruction: Instruction, slots: Slots) -> Step:
    """A no-op: one block runs at a time, and all its threads see each access at once."""
    return lambda warp: None


@family("trap")
def _trap(instruction: Instruction, slots: Slots) -> Step:
    def step(warp: Warp) -> None:
        raise warp.fault_at(instruction, 0, "stops the kernel")

    return step
