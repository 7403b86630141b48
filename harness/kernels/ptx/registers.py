"""A warp's values: a list of arrays of 32 lanes, one for each register, constant and special register.

When a kernel is prepared, every operand becomes an index into that list, so operands need not be distinguished at run
time. An array in the list is never modified, only replaced: two registers may share one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.kernels.ptx.faults import UnsupportedInstruction
from harness.kernels.ptx.flow import Instruction
from harness.kernels.ptx.program import Kernel
from harness.operators.arrays import Array

if TYPE_CHECKING:
    from harness.kernels.ptx.warp import Warp

LANES = 32
# An instruction as a function of a warp.
Step = Callable[["Warp"], None]
Function = Callable[..., Array]
View = Callable[[Array], Array]

# The types of instructions. Halves are bits until they are converted; b is untyped, here unsigned.
DTYPES: dict[str, Any] = {
    **{f"{kind}{bits}": np.dtype(f"uint{bits}") for kind in "bu" for bits in (8, 16, 32, 64)},
    **{f"s{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"f{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    "bf16": np.dtype("uint16"),
    "pred": np.dtype(bool),
}
SPECIAL = tuple(f"%{name}.{axis}" for name in ("tid", "ntid", "ctaid", "nctaid") for axis in "xyz")
SPECIAL += ("%laneid", "%warpid")


class Slots:
    """The slots of a kernel's values: the index of each operand, and the initial contents.

    shared  the offset of each array in shared memory.
    """

    def __init__(self, kernel: Kernel, shared: dict[str, int]) -> None:
        self._symbols = {**shared, **{name: offset for name, (offset, _) in kernel.parameters.items()}}
        self.initial: list[Array] = []
        self._places: dict[tuple[str, str], int] = {}
        self._dtypes: dict[str, np.dtype[Any]] = {}
        zeros = {kind: np.zeros(LANES, dtype) for kind, dtype in DTYPES.items()}
        for name, kind in kernel.registers.items():
            self._add(name, zeros[kind])
        for name in SPECIAL:
            self._add(name, np.zeros(LANES, np.uint32))
        self.special = {name: self._places[name, ""] for name in SPECIAL}

    def source(self, text: str, kind: str) -> tuple[int, View | None]:
        """The slot of a source operand, and the view that converts its array to the instruction's type."""
        dtype = DTYPES[kind]
        if text.startswith("!"):
            return self._places[text[1:], ""], np.logical_not
        if text in self._dtypes:
            return self._places[text, ""], reading(self._dtypes[text], dtype)
        return self._constant(text, dtype), None

    def target(self, text: str, kind: str) -> tuple[int, View | None]:
        """The slot of a result, and the view that converts from the instruction's type to the register's."""
        if text == "_":
            return self._add_once("_", DTYPES[kind]), None
        return self._places[text, ""], writing(DTYPES[kind], self._dtypes[text])

    def is_register(self, text: str) -> bool:
        return text in self._dtypes

    def _add(self, name: str, array: Array) -> None:
        self._places[name, ""] = len(self.initial)
        self._dtypes[name] = array.dtype
        self.initial.append(array)

    def _add_once(self, name: str, dtype: np.dtype[Any]) -> int:
        key = (name, dtype.str)
        if key not in self._places:
            self._places[key] = len(self.initial)
            self.initial.append(np.zeros(LANES, dtype))
        return self._places[key]

    def _constant(self, text: str, dtype: np.dtype[Any]) -> int:
        place = self._add_once(text, dtype)
        value = self._symbols[text] if text in self._symbols else literal(text, dtype)
        self.initial[place] = np.full(LANES, value).astype(dtype)
        return place


def literal(text: str, dtype: np.dtype[Any]) -> Any:
    """A PTX literal: 0f3F800000 and 0d3FF0000000000000 are bits of floats, others are integers."""
    if text[:2] in ("0f", "0F", "0d", "0D"):
        bits, kind = int(text[2:], 16), "f4" if text[1] in "fF" else "f8"
        return np.array([bits], kind.replace("f", "u")).view(kind)[0]
    try:
        number = int(text.rstrip("U"), 0)
    except ValueError:
        raise UnsupportedInstruction(
            f"The operand {text} is not emulated: it is no register, number, parameter or array."
        ) from None
    if dtype == np.bool_:
        return number != 0
    bits = 8 * dtype.itemsize
    return np.array([number % 2**bits], np.uint64).astype(f"u{dtype.itemsize}").view(dtype)[0]


def reading(register_dtype: np.dtype[Any], operand_dtype: np.dtype[Any]) -> View | None:
    """The view from a register's array to an instruction's type: the same bits, or the lower ones of a wider
    register."""
    if register_dtype == operand_dtype:
        return None
    if register_dtype.itemsize == operand_dtype.itemsize:
        return operator.methodcaller("view", operand_dtype)
    if register_dtype.itemsize < operand_dtype.itemsize:
        raise UnsupportedInstruction(f"An operand of {operand_dtype} is not read of a register of {register_dtype}.")
    bits, narrow = np.dtype(f"u{register_dtype.itemsize}"), np.dtype(f"u{operand_dtype.itemsize}")
    return lambda array: array.view(bits).astype(narrow).view(operand_dtype)


def writing(result_dtype: np.dtype[Any], register_dtype: np.dtype[Any]) -> View | None:
    """The view from a result to its register's type: the same bits, sign- or zero-extended for a wider register."""
    if result_dtype == register_dtype:
        return None
    if result_dtype.itemsize == register_dtype.itemsize:
        return operator.methodcaller("view", register_dtype)
    if result_dtype.itemsize > register_dtype.itemsize or result_dtype.kind == "f":
        raise UnsupportedInstruction(f"A result of {result_dtype} is not written to a register of {register_dtype}.")
    wide = np.dtype(f"{result_dtype.kind}{register_dtype.itemsize}")
    return lambda array: array.astype(wide).view(register_dtype)


def compose(function: Function, views: Sequence[View | None], after: View | None) -> Function:
    """Composes a function with its views; identity views are left out, because they would cost at every step."""
    inner = _after_views(function, views)
    if after is None:
        return inner
    return lambda *arrays: after(inner(*arrays))


def _after_views(function: Function, views: Sequence[View | None]) -> Function:
    if all(view is None for view in views):
        return function
    of = [view or (lambda array: array) for view in views]
    if len(of) == 1:
        first = of[0]
        return lambda x: function(first(x))
    if len(of) == 2:
        first, second = of
        return lambda x, y: function(first(x), second(y))
    return lambda *arrays: function(*(view(array) for view, array in zip(of, arrays, strict=True)))


def assigning(instruction: Instruction, slots: Slots, function: Function, kinds: Sequence[str], result: str) -> Step:
    """The step that stores function(sources) to the first operand, with these types, in the active lanes."""
    target, after = slots.target(instruction.operands[0], result)
    sources = [slots.source(text, kind) for text, kind in zip(instruction.operands[1:], kinds, strict=True)]
    compute = compose(function, [view for _, view in sources], after)
    places = [place for place, _ in sources]
    if len(places) == 1:
        return _of_one(compute, target, *places)
    if len(places) == 2:
        return _of_two(compute, target, *places)
    return _of_many(compute, target, places)


def _of_one(compute: Function, target: int, a: int) -> Step:
    def step(warp: Warp) -> None:
        registers = warp.registers
        value = compute(registers[a])
        registers[target] = value if warp.whole else np.where(warp.active, value, registers[target])

    return step


def _of_two(compute: Function, target: int, a: int, b: int) -> Step:
    def step(warp: Warp) -> None:
        registers = warp.registers
        value = compute(registers[a], registers[b])
        registers[target] = value if warp.whole else np.where(warp.active, value, registers[target])

    return step


def _of_many(compute: Function, target: int, places: Sequence[int]) -> Step:
    def step(warp: Warp) -> None:
        registers = warp.registers
        value = compute(*[registers[place] for place in places])
        registers[target] = value if warp.whole else np.where(warp.active, value, registers[target])

    return step


def store(warp: Warp, target: int, value: Array) -> None:
    """Stores an array of 32 lanes to a register, in the active lanes."""
    warp.registers[target] = value if warp.whole else np.where(warp.active, value, warp.registers[target])


def modifiers(instruction: Instruction, types: int, *supported: str) -> set[str]:
    """The opcode's modifiers between its family and its types; UnsupportedInstruction if one is not in `supported`."""
    words = set(instruction.parts[1 : len(instruction.parts) - types])
    if unknown := words - set(supported):
        raise instruction.unsupported(f" with {', '.join(sorted(unknown))}")
    return words
