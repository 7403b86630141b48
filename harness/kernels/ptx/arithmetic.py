"""Arithmetic instructions on 32 lanes at once, integers and floats. Each family of instructions is a function.

Floats are IEEE's, rounded to nearest, with subnormals: NumPy's own. Approximations (.approx, .full) and other roundings
have no reproducible bits and are not emulated. The one exception starts a division's iteration in the toolkit's
logarithm.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.kernels.ptx.flow import Instruction
from harness.kernels.ptx.registers import DTYPES, Function, Slots, Step, assigning, modifiers
from harness.operators.arrays import Array

if TYPE_CHECKING:
    from harness.kernels.ptx.warp import Warp

Family = Callable[[Instruction, Slots], Step]
FAMILIES: dict[str, Family] = {}


def family(*names: str) -> Callable[[Family], Family]:
    def register(make: Family) -> Family:
        FAMILIES.update(dict.fromkeys(names, make))
        return make

    return register


def is_float(kind: str) -> bool:
    return kind in ("f32", "f64")


def _sign_free(kind: str) -> str:
    """The type without its sign, for operations on which the sign has no effect."""
    return f"b{kind[1:]}" if kind[0] in "su" else kind


_SAME_FOR_ALL: dict[str, Function] = {"add": np.add, "sub": np.subtract, "mul": np.multiply}
BITS: dict[str, Function] = {
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert,
}  # fmt: skip


@family("add", "sub")
def _sum(instruction: Instruction, slots: Slots) -> Step:
    name, kind = instruction.parts[0], instruction.parts[-1]
    modifiers(instruction, 1, *(("rn",) if is_float(kind) else ()))
    kind = _sign_free(kind)
    return assigning(instruction, slots, _SAME_FOR_ALL[name], (kind, kind), kind)


@family("mul")
def _product(instruction: Instruction, slots: Slots) -> Step:
    kind = instruction.parts[-1]
    if is_float(kind):
        modifiers(instruction, 1, "rn")
        return assigning(instruction, slots, np.multiply, (kind, kind), kind)
    (part,) = modifiers(instruction, 1, "lo", "hi", "wide")
    function, kinds, result = _multiplication(kind, part)
    return assigning(instruction, slots, function, kinds, result)


@family("mad")
def _product_and_sum(instruction: Instruction, slots: Slots) -> Step:
    kind = instruction.parts[-1]
    if is_float(kind):
        return _fma(instruction, slots)
    (part,) = modifiers(instruction, 1, "lo", "hi", "wide")
    function, kinds, result = _multiplication(kind, part)
    return assigning(instruction, slots, lambda x, y, z: function(x, y) + z, (*kinds, result), result)


def _multiplication(kind: str, part: str) -> tuple[Function, tuple[str, str], str]:
    if part == "lo":
        kind = _sign_free(kind)
        return np.multiply, (kind, kind), kind
    bits = int(kind[1:])
    if part == "wide" or bits < 64:
        double = f"{kind[0]}{2 * bits}"
        wide = DTYPES[double]

        def product(x: Array, y: Array) -> Array:
            both: Array = x.astype(wide) * y.astype(wide)
            return both

        if part == "wide":
            return product, (kind, kind), double
        return lambda x, y: (product(x, y) >> bits).astype(DTYPES[kind]), (kind, kind), kind
    return lanewise(lambda x, y: x * y >> bits, kind), (kind, kind), kind


def lanewise(function: Callable[..., Any], kind: str) -> Function:
    """Applies a function of Python integers lane by lane, for rare operations that are clearest this way."""
    dtype, bits = DTYPES[kind], 8 * DTYPES[kind].itemsize
    unsigned = np.dtype(f"u{dtype.itemsize}")

    def of_lanes(*arrays: Array) -> Array:
        values = [function(*lane) % 2**bits for lane in zip(*(array.tolist() for array in arrays), strict=True)]
        return np.array(values, unsigned).view(dtype)

    return of_lanes


@family("fma")
def _fma(instruction: Instruction, slots: Slots) -> Step:
    kind = instruction.parts[-1]
    modifiers(instruction, 1, "rn")
    return assigning(instruction, slots, fma_function(kind), (kind, kind, kind), kind)


@functools.cache
def fma_function(kind: str) -> Function:
    """x*y+z, rounded once; from the C library, because NumPy has none."""
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    function, number = (library.fmaf, ctypes.c_float) if kind == "f32" else (library.fma, ctypes.c_double)
    function.restype, function.argtypes = number, (number,) * 3
    dtype = DTYPES[kind]
    return lambda x, y, z: np.array(list(map(function, x.tolist(), y.tolist(), z.tolist())), dtype)


@family("div", "rem")
def _quotient(instruction: Instruction, slots: Slots) -> Step:
    name, kind = instruction.parts[0], instruction.parts[-1]
    if is_float(kind):
        modifiers(instruction, 1, "rn")
        if name == "rem" or "rn" not in instruction.parts:
            raise instruction.unsupported()
        return assigning(instruction, slots, np.divide, (kind, kind), kind)
    modifiers(instruction, 1)
    place, view = slots.source(instruction.operands[2], kind)
    divide = assigning(instruction, slots, _truncating_quotient if name == "div" else _remainder, (kind, kind), kind)

    def step(warp: Warp) -> None:
        divisor = warp.registers[place]
        zero = warp.active & ((view(divisor) if view else divisor) == 0)
        if zero.any():
            raise warp.fault(instruction, zero, "divides an integer by zero")
        divide(warp)

    return step


def _truncating_quotient(x: Array, y: Array) -> Array:
    """The quotient rounded towards zero, as in C; inactive lanes may divide by 0."""
    y = np.where(y == 0, 1, y).astype(y.dtype)
    quotient: Array = x // y
    if y.dtype.kind == "i":  # NumPy rounds down
        quotient = (quotient + ((x % y != 0) & ((x < 0) != (y < 0)))).astype(x.dtype)
    return quotient


def _remainder(x: Array, y: Array) -> Array:
    remainder: Array = (x - _truncating_quotient(x, y) * y).astype(x.dtype)
    return remainder


@family("min", "max")
def _extreme(instruction: Instruction, slots: Slots) -> Step:
    name, kind = instruction.parts[0], instruction.parts[-1]
    if not is_float(kind):
        modifiers(instruction, 1)
        return assigning(instruction, slots, np.minimum if name == "min" else np.maximum, (kind, kind), kind)
    words = modifiers(instruction, 1, "NaN")
    return assigning(instruction, slots, _float_extreme(name, propagates="NaN" in words), (kind, kind), kind)


def _float_extreme(name: str, *, propagates: bool) -> Function:
    """The minimum or maximum: a NaN loses, or wins if it propagates; -0 is below +0."""
    pick: Function
    if name == "min":
        pick, of_zeros = (np.minimum if propagates else np.fmin), BITS["or"]
    else:
        pick, of_zeros = (np.maximum if propagates else np.fmax), BITS["and"]

    def function(x: Array, y: Array) -> Array:
        bits = np.dtype(f"u{x.itemsize}")
        return np.where(x == y, of_zeros(x.view(bits), y.view(bits)).view(x.dtype), pick(x, y))

    return function


@family("abs", "neg")
def _sign(instruction: Instruction, slots: Slots) -> Step:
    name, kind = instruction.parts[0], instruction.parts[-1]
    modifiers(instruction, 1)
    return assigning(instruction, slots, np.abs if name == "abs" else np.negative, (kind,), kind)


@family("sqrt")
def _square_root(instruction: Instruction, slots: Slots) -> Step:
    kind = instruction.parts[-1]
    if modifiers(instruction, 1, "rn") != {"rn"}:
        raise instruction.unsupported()
    return assigning(instruction, slots, np.sqrt, (kind,), kind)


@family("rcp")
def _reciprocal(instruction: Instruction, slots: Slots) -> Step:
    kind = instruction.parts[-1]
    if instruction.opcode == "rcp.approx.ftz.f64":
        return assigning(instruction, slots, _gross_reciprocal, (kind,), kind)
    if modifiers(instruction, 1, "rn") != {"rn"}:
        raise instruction.unsupported()
    return assigning(instruction, slots, lambda x: (1 / x).astype(x.dtype), (kind,), kind)


def _gross_reciprocal(x: Array) -> Array:
    """The reciprocal to 20 bits, with a zero lower half: the start of an iteration in the toolkit's own functions."""
    upper: Array = ((1 / x).view(np.uint64) & np.uint64(0xFFFFFFFF00000000)).view(np.float64)
    return upper


@family("and", "or", "xor", "not")
def _bitwise(instruction: Instruction, slots: Slots) -> Step:
    name, kind = instruction.parts[0], instruction.parts[-1]
    modifiers(instruction, 1)
    return assigning(instruction, slots, BITS[name], (kind,) * (len(instruction.operands) - 1), kind)


@family("shl", "shr")
def _shift(instruction: Instruction, slots: Slots) -> Step:
    """Shifts by the width or more shift all bits out; a signed right shift leaves the sign."""
    name, kind = instruction.parts[0], instruction.parts[-1]
    modifiers(instruction, 1)
    dtype, bits = DTYPES[kind], 8 * DTYPES[kind].itemsize

    def left(x: Array, by: Array) -> Array:
        return np.where(by < bits, x << np.minimum(by, bits - 1).astype(dtype), 0).astype(dtype)

    def right(x: Array, by: Array) -> Array:
        result: Array = x >> np.minimum(by, bits - 1).astype(dtype)
        return result if dtype.kind == "i" else np.where(by < bits, result, 0).astype(dtype)

    return assigning(instruction, slots, left if name == "shl" else right, (kind, "u32"), kind)
