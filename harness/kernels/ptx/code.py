"""Prepares a kernel: each instruction becomes a function of a warp, each operand an index into the warp's list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.kernels.ptx import accesses, bits, collective, comparisons  # noqa: F401  they register their families
from harness.kernels.ptx.arithmetic import FAMILIES
from harness.kernels.ptx.flow import BasicBlock, Instruction, ends_block
from harness.kernels.ptx.program import Kernel
from harness.kernels.ptx.registers import DTYPES, Slots, Step, View
from harness.operators.arrays import Array

if TYPE_CHECKING:
    from harness.kernels.ptx.warp import Warp


@dataclass(frozen=True)
class Part:
    """A basic block: its steps, and the condition of its last instruction.

    condition  the slot and view of its last instruction's predicate.
    """

    of: BasicBlock
    steps: tuple[Step, ...]
    ends: str
    condition: tuple[int, View | None] | None


@dataclass(frozen=True)
class Code:
    """grain: the smallest access to shared memory, in bytes."""

    kernel: Kernel
    parts: Sequence[Part]
    initial: Sequence[Array]
    special: Mapping[str, int]
    fixed_shared_bytes: int
    grain: int

    def instruction(self, index: int) -> Instruction:
        for block in self.kernel.blocks:
            if block.last.index >= index:
                return block.instructions[index - block.instructions[0].index]
        raise IndexError(index)

    def opcodes(self, runs: Sequence[int]) -> Counter[str]:
        """How often each opcode runs, from how often each basic block runs."""
        total: Counter[str] = Counter()
        for block, times in zip(self.kernel.blocks, runs, strict=True):
            for instruction in block.instructions if times else ():
                total[instruction.opcode] += times
        return total


# Halves are loaded, stored, moved and converted; nothing is computed or compared in them.
_HALVES = frozenset(("f16", "bf16", "f16x2", "bf16x2"))
_OF_HALVES = ("cvt", "mov", "ld", "st")


def prepare(kernel: Kernel) -> Code:
    """Prepares a kernel; UnsupportedInstruction if any of its instructions is unknown, even if it never runs."""
    shared, size = _shared_offsets(kernel)
    slots = Slots(kernel, shared)
    parts = tuple(_part(block, slots) for block in kernel.blocks)
    grains = [_grain(each) for block in kernel.blocks for each in block.instructions]
    return Code(kernel, parts, slots.initial, slots.special, size, min(filter(None, grains), default=4))


def _shared_offsets(kernel: Kernel) -> tuple[dict[str, int], int]:
    """The offsets of the arrays in shared memory, and their total size: those of fixed size first, then the dynamic
    one."""
    offsets, size = {}, 0
    for name, array in sorted(kernel.shared.items(), key=lambda each: each[1].bytes == 0):
        size += -size % array.align
        offsets[name] = size
        size += array.bytes
    return offsets, size


def _part(block: BasicBlock, slots: Slots) -> Part:
    last = block.last
    inside = block.instructions[:-1] if ends_block(last) else block.instructions
    if not ends_block(last):
        return Part(block, tuple(_step(each, slots) for each in inside), "", None)
    ends = {"exit": "ret", "barrier": "bar"}.get(last.parts[0], last.parts[0])
    if ends == "bar" and (
        last.opcode not in ("bar.sync", "barrier.sync", "barrier.sync.aligned") or last.operands != ("0",)
    ):
        raise last.unsupported()
    if ends == "bar" and last.predicate is not None:
        raise last.unsupported(" under a predicate")
    condition = None
    if last.predicate is not None:
        place, _ = slots.source(last.predicate, "pred")
        condition = (place, slots.source(f"!{last.predicate}", "pred")[1] if last.negated else None)
    return Part(block, tuple(_step(each, slots) for each in inside), ends, condition)


def _step(instruction: Instruction, slots: Slots) -> Step:
    make = FAMILIES.get(instruction.parts[0])
    if make is None or (_HALVES.intersection(instruction.parts) and instruction.parts[0] not in _OF_HALVES):
        raise instruction.unsupported()
    step = make(instruction, slots)
    if instruction.predicate is None:
        return step
    place, _ = slots.source(instruction.predicate, "pred")
    negated = instruction.negated

    def guarded(warp: Warp) -> None:
        predicate = warp.registers[place]
        with warp.only(~predicate if negated else predicate) as some:
            if some:
                step(warp)

    return guarded


def _grain(instruction: Instruction) -> int | None:
    """The size of an element that an instruction may access in shared memory, None if it accesses none."""
    if instruction.parts[0] not in ("ld", "st", "atom", "red") or {"global", "param"} & set(instruction.parts):
        return None
    return int(DTYPES[instruction.parts[-1]].itemsize)
