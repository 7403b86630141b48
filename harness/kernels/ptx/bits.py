"""Instructions on bits: moving, packing, counting, finding and permuting them, and converting numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.kernels.ptx.arithmetic import family, lanewise
from harness.kernels.ptx.flow import Instruction
from harness.kernels.ptx.memory import SHARED_WINDOW
from harness.kernels.ptx.registers import DTYPES, Function, Slots, Step, assigning, modifiers, store
from harness.operators.arrays import Array

if TYPE_CHECKING:
    from harness.kernels.ptx.warp import Warp


@family("mov")
def _move(instruction: Instruction, slots: Slots) -> Step:
    kind = instruction.parts[-1]
    modifiers(instruction, 1)
    to, of = instruction.operands
    if to.startswith("{"):
        return _unpack(to, of, kind, slots)
    if of.startswith("{"):
        return _pack(to, of, kind, slots)
    return assigning(instruction, slots, lambda x: x, (kind,), kind)


def names_in(braces: str) -> list[str]:
    """The registers of a vector operand."""
    return [name.strip() for name in braces.strip("{} ").split(",")]


def _unpack(to: str, of: str, kind: str, slots: Slots) -> Step:
    names = names_in(to)
    part = f"b{int(kind[1:]) // len(names)}"
    place, view = slots.source(of, f"b{kind[1:]}")
    targets = [(i, *slots.target(name, part)) for i, name in enumerate(names) if name != "_"]

    def step(warp: Warp) -> None:
        word = warp.registers[place]
        parts = np.ascontiguousarray(view(word) if view else word).view(DTYPES[part]).reshape(-1, len(names))
        for i, target, after in targets:
            value = parts[:, i].copy()
            store(warp, target, after(value) if after else value)

    return step


def _pack(to: str, of: str, kind: str, slots: Slots) -> Step:
    names = names_in(of)
    part = f"b{int(kind[1:]) // len(names)}"
    target, after = slots.target(to, f"b{kind[1:]}")
    sources = [slots.source(name, part) for name in names]

    def step(warp: Warp) -> None:
        pairs = [(warp.registers[place], view) for place, view in sources]
        parts = np.stack([view(array) if view else array for array, view in pairs], axis=1)
        value = parts.view(DTYPES[f"b{kind[1:]}"])[:, 0]
        store(warp, target, after(value) if after else value)

    return step


@family("cvta")
def _convert_address(instruction: Instruction, slots: Slots) -> Step:
    """Global addresses equal generic ones; shared addresses are moved into their window, or out of it."""
    words = modifiers(instruction, 1, "to", "global", "shared")
    shift = SHARED_WINDOW if "shared" in words else 0
    by = np.uint64(-shift % 2**64 if "to" in words else shift)
    return assigning(instruction, slots, lambda x: x + by, ("u64",), "u64")


@family("popc")
def _population(instruction: Instruction, slots: Slots) -> Step:
    count: Function = lambda x: np.bitwise_count(x).astype(np.uint32)  # noqa: E731
    return assigning(instruction, slots, count, (instruction.parts[-1],), "u32")


@family("clz", "brev", "bfind")
def _find(instruction: Instruction, slots: Slots) -> Step:
    name, kind = instruction.parts[0], instruction.parts[-1]
    bits = int(kind[1:])

    def highest(x: int) -> int:
        """The position of the highest bit that differs from the sign; -1 if there is none."""
        return (x if x >= 0 else ~x).bit_length() - 1

    if name == "brev":
        modifiers(instruction, 1)
        reverse = lanewise(lambda x: int(f"{x:0{bits}b}"[::-1], 2), kind)
        return assigning(instruction, slots, reverse, (kind,), kind)
    if name == "clz":
        modifiers(instruction, 1)
        return assigning(instruction, slots, lanewise(lambda x: bits - x.bit_length(), "u32"), (kind,), "u32")
    shift = "shiftamt" in modifiers(instruction, 1, "shiftamt")
    find = lanewise(lambda x: -1 if highest(x) < 0 else bits - 1 - highest(x) if shift else highest(x), "u32")
    return assigning(instruction, slots, find, (kind,), "u32")


@family("bfe", "bfi")
def _field(instruction: Instruction, slots: Slots) -> Step:
    """Extracts a field of `count` bits from `at` on, sign-extended for signed types, or inserts it."""
    name, kind = instruction.parts[0], instruction.parts[-1]
    modifiers(instruction, 1)
    bits = int(kind[1:])

    def extract(x: int, at: int, count: int) -> Any:
        at, count = at & 0xFF, count & 0xFF
        if count == 0:
            return 0
        field = (x % 2**bits >> at) & ((1 << count) - 1)
        sign = (x >> min(at + count - 1, bits - 1)) & 1 if kind[0] == "s" else 0
        return field - (sign << max(min(count, bits - at), 0))

    def insert(x: int, into: int, at: int, count: int) -> Any:
        at, count = at & 0xFF, count & 0xFF
        mask = (((1 << count) - 1) << at) % 2**bits
        return (into & ~mask) | ((x << at) & mask)

    if name == "bfe":
        return assigning(instruction, slots, lanewise(extract, kind), (kind, "u32", "u32"), kind)
    return assigning(instruction, slots, lanewise(insert, kind), (kind, kind, "u32", "u32"), kind)


@family("prmt")
def _permute(instruction: Instruction, slots: Slots) -> Step:
    modifiers(instruction, 1)
    return assigning(instruction, slots, _permute_bytes, ("b32", "b32", "b32"), "b32")


def _permute_bytes(x: Array, y: Array, selector: Array) -> Array:
    """Each nibble of the selector selects one of eight bytes; its highest bit replicates that byte's sign."""
    eight = np.stack([x, y], axis=1).view(np.uint8)
    nibbles = selector[:, None] >> np.arange(0, 16, 4, dtype=np.uint32)
    values = np.take_along_axis(eight, (nibbles & 7).astype(np.intp), axis=1)
    signs = np.where(values & 0x80, np.uint8(0xFF), np.uint8(0))
    return np.where(nibbles & 8, signs, values).view(np.uint32)[:, 0]


@family("lop3")
def _logic(instruction: Instruction, slots: Slots) -> Step:
    """Any function of three bits, as a truth table: bit abc of the table is the result for the bits a, b and c."""
    modifiers(instruction, 1)
    table = int(instruction.operands[4], 0)

    def function(a: Array, b: Array, c: Array, _: Array) -> Array:
        result = np.zeros_like(a)
        for row in (each for each in range(8) if table >> each & 1):
            result |= (a if row & 4 else ~a) & (b if row & 2 else ~b) & (c if row & 1 else ~c)
        return result

    return assigning(instruction, slots, function, ("b32",) * 4, "b32")


@family("shf")
def _funnel(instruction: Instruction, slots: Slots) -> Step:
    """The upper word of b:a shifted left, or the lower one shifted right, by a wrapped or clamped number."""
    words = modifiers(instruction, 1, "l", "r", "wrap", "clamp")

    def shift_words(a: int, b: int, by: int) -> int:
        by = by & 31 if "wrap" in words else min(by, 32)
        both = b << 32 | a
        return both << by >> 32 if "l" in words else both >> by

    return assigning(instruction, slots, lanewise(shift_words, "b32"), ("b32", "b32", "u32"), "b32")


_TO_INTEGER: dict[str, Callable[[Array], Array]] = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


@family("cvt")
def _convert(instruction: Instruction, slots: Slots) -> Step:
    to, of = instruction.parts[-2:]
    if to in ("f16x2", "bf16x2"):
        return _convert_two(instruction, slots)
    words = modifiers(instruction, 2, "rn", "sat", *_TO_INTEGER)
    function = _conversion(instruction, to, of, words)
    return assigning(instruction, slots, function, (of,), to)


def _conversion(instruction: Instruction, to: str, of: str, words: set[str]) -> Function:
    is_float, was_float = "f" in to, "f" in of
    rounds = next((function for word, function in _TO_INTEGER.items() if word in words), None)
    target = DTYPES[to]
    if not was_float and not is_float and not words - {"sat"}:
        return _saturate(to) if words else lambda x: x.astype(target)
    if was_float and not is_float and rounds is not None and of != "bf16":
        return _integer(to, of, rounds)
    if not was_float and words == {"rn"} and to in ("f32", "f64"):
        return lambda x: x.astype(target)
    if was_float and is_float:
        if to == of and rounds is not None and words <= set(_TO_INTEGER) and to != "bf16":
            return rounds
        if (of, to) in _FLOATS and words == ({"rn"} if DTYPES[to].itemsize < DTYPES[of].itemsize else set()):
            return _FLOATS[of, to]
    raise instruction.unsupported()


def _saturate(to: str) -> Function:
    limits = np.iinfo(DTYPES[to])
    return lambda x: np.array([min(max(each, limits.min), limits.max) for each in x.tolist()], DTYPES[to])


def _integer(to: str, of: str, rounds: Callable[[Array], Array]) -> Function:
    """Rounded and saturated. PTX: a NaN is 0, but 1 followed by zeros where the source or the result has 64 bits."""
    target = DTYPES[to]
    limits = np.iinfo(target)
    least, beyond = float(limits.min), 2.0 ** (limits.bits - (target.kind == "i"))
    of_nan = np.array([1 << limits.bits - 1], f"u{target.itemsize}").view(target)[0]
    if of != "f64" and limits.bits < 64:
        of_nan = target.type(0)

    def function(x: Array) -> Array:
        whole = rounds(x.astype(np.float64))
        fits = (whole >= least) & (whole < beyond)
        limited = np.where(whole >= beyond, limits.max, np.where(np.isnan(whole), of_nan, limits.min)).astype(target)
        return np.where(fits, np.where(fits, whole, 0).astype(target), limited)

    return function


def _to_half(x: Array) -> Array:
    half = x.astype(np.float16)
    bits: Array = np.where(np.isnan(x), np.uint16(0x7FFF), half.view(np.uint16))
    return bits.view(np.float16)


def _to_bfloat16(x: Array) -> Array:
    bits = x.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    result: Array = np.where(np.isnan(x), np.uint32(0x7FFF), rounded).astype(np.uint16)
    return result


_FLOATS: dict[tuple[str, str], Function] = {
    ("f32", "f64"): lambda x: x.astype(np.float64),
    ("f64", "f32"): lambda x: x.astype(np.float32),
    ("f16", "f32"): lambda x: x.astype(np.float32),
    ("f32", "f16"): _to_half,
    ("f32", "bf16"): _to_bfloat16,
    ("bf16", "f32"): lambda x: (x.astype(np.uint32) << np.uint32(16)).view(np.float32),
}


def _convert_two(instruction: Instruction, slots: Slots) -> Step:
    """Two floats as two halves in a word: the first operand in its upper half."""
    if modifiers(instruction, 2, "rn") != {"rn"} or instruction.parts[-1] != "f32":
        raise instruction.unsupported()
    one = _FLOATS["f32", instruction.parts[-2].removesuffix("x2")]

    def both(upper: Array, lower: Array) -> Array:
        return np.stack([one(lower).view(np.uint16), one(upper).view(np.uint16)], axis=1).view(np.uint32)[:, 0]

    return assigning(instruction, slots, both, ("f32", "f32"), "b32")
