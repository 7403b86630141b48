"""Comparisons, including NaN, and selection by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.kernels.ptx.arithmetic import BITS, family, is_float
from harness.kernels.ptx.flow import Instruction
from harness.kernels.ptx.registers import Function, Slots, Step, assigning, modifiers, store
from harness.operators.arrays import Array

if TYPE_CHECKING:
    from harness.kernels.ptx.warp import Warp

_COMPARISONS: dict[str, Function] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip
_OPPOSITE = {"eq": "ne", "lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}


def comparison(word: str, kind: str) -> Function:
    """The comparison of a PTX word; for floats with a NaN, words without a u give false and words with a u give
    true."""
    if word in ("lo", "ls", "hi", "hs"):  # of unsigned numbers
        return _COMPARISONS[{"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}[word]]
    if not is_float(kind):
        return _COMPARISONS[word]
    if word == "nan":
        return lambda x, y: np.isnan(x) | np.isnan(y)
    if word == "num":
        return lambda x, y: ~(np.isnan(x) | np.isnan(y))
    if word == "ne":
        return lambda x, y: (x < y) | (x > y)
    if word == "equ":
        return lambda x, y: ~((x < y) | (x > y))
    if word == "neu":
        return np.not_equal
    if word.endswith("u"):
        opposite = _COMPARISONS[_OPPOSITE[word[:-1]]]
        return lambda x, y: ~opposite(x, y)
    return _COMPARISONS[word]


@family("setp")
def _compare(instruction: Instruction, slots: Slots) -> Step:
    """setp.lt.s32 p, a, b; setp.lt.and.s32 p|q, a, b, c: q is what the opposite of the comparison gives."""
    word, kind = instruction.parts[1], instruction.parts[-1]
    compare = comparison(word, kind)
    if len(instruction.parts) == 3 and "|" not in instruction.operands[0]:
        return assigning(instruction, slots, compare, (kind, kind), "pred")
    joining = BITS[instruction.parts[2]] if len(instruction.parts) == 4 else None
    targets = [slots.target(name, "pred")[0] for name in instruction.operands[0].split("|")]
    kinds = [kind, kind, "pred"][: len(instruction.operands) - 1]
    sources = [slots.source(text, each) for text, each in zip(instruction.operands[1:], kinds, strict=True)]

    def step(warp: Warp) -> None:
        arrays = [warp.registers[place] for place, _ in sources]
        values = [view(array) if view else array for array, (_, view) in zip(arrays, sources, strict=True)]
        whether = compare(*values[:2])
        for target, result in zip(targets, (whether, ~whether), strict=False):
            store(warp, target, joining(result, values[2]) if joining else result)

    return step


@family("selp")
def _select(instruction: Instruction, slots: Slots) -> Step:
    kind = instruction.parts[-1]
    modifiers(instruction, 1)

    def select(x: Array, y: Array, first: Array) -> Array:
        return np.where(first, x, y)

    return assigning(instruction, slots, select, (kind, kind, "pred"), kind)
