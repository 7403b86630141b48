"""Reads the machine code of the CUDA kernels, on machines without a GPU.

The source promises that every operation is rounded separately, that loads are issued together, and that no access uses
a generic address; only the machine code shows whether the compiler keeps these promises.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.kernels.binaries import demangle, dump, without_namespaces

_UNIFORM = {"UFFMA": "FFMA", "UDFMA": "DFMA"}
_ENDS = ("EXIT", "RET", "BAR", "CALL", "BRX", "JMP")
_WRITES_NOTHING = ("ST", "RED", "BRA", "EXIT", "RET", "BAR", "CALL")


@dataclass(frozen=True)
class Instruction:
    """One instruction: opcode with its modifiers, such as "LDG.E.128", operands, and whether a predicate guards it."""

    opcode: str
    operands: tuple[str, ...]
    guarded: bool = False

    @property
    def operation(self) -> str:
        """The opcode without modifiers."""
        return self.opcode.partition(".")[0]

    def writes(self) -> frozenset[str]:
        """The registers that a load or a computation writes: several for 64 and 128 bits."""
        if self.operation.startswith(_WRITES_NOTHING) or not self.operands:
            return frozenset()
        first = re.fullmatch(r"R(\d+)", self.operands[0])
        if first is None:
            return frozenset()
        width = 4 if ".128" in self.opcode else 2 if ".64" in self.opcode else 1
        return frozenset(f"R{int(first[1]) + k}" for k in range(width))

    def reads(self) -> frozenset[str]:
        """The registers among its operands, except the one that it writes."""
        operands = self.operands[1:] if self.writes() else self.operands
        return frozenset(re.findall(r"\bR\d+\b", " ".join(operands)))


@dataclass(frozen=True)
class Function:
    """A kernel's instructions on one architecture, in the order of their addresses.

    symbol  its mangled name, as in PTX, without nvcc's digest of the file's path.
    """

    kernel: str
    symbol: str
    architecture: str
    instructions: tuple[Instruction, ...]

    def counts(self) -> Counter[str]:
        """The number of each operation, without modifiers; UFFMA, on a warp's uniform values, counts as FFMA."""
        return Counter(_UNIFORM.get(each.operation, each.operation) for each in self.instructions)

    def starting_with(self, *opcodes: str) -> list[Instruction]:
        return [each for each in self.instructions if each.opcode.startswith(opcodes)]


def functions(binary: Path, architecture: str) -> list[Function]:
    """The kernels in a library or an object, as they are for one architecture; MissingLibrary without cuobjdump."""
    parts = dump(binary, "-sass", "-arch", architecture).split("Function : ")[1:]
    listings = [part.partition("\n") for part in parts]
    names = demangle(symbol for symbol, *_ in listings)
    return [
        Function(without_namespaces(name), _plain(symbol), architecture, tuple(_instructions(code)))
        for name, (symbol, _, code) in zip(names, listings, strict=True)
    ]


def ptx(binary: Path) -> list[str]:
    """The PTX of each source in a library or an object."""
    return [f".version{text}" for text in dump(binary, "-ptx").split("\n.version")[1:]]


_LINE = re.compile(
    r"^\s+/\*[0-9a-f]{4,}\*/\s+(?P<guard>@!?U?P\w+\s+)?(?P<opcode>[A-Z0-9][\w.]*)\s*(?P<operands>[^;]*);"
)


def _instructions(listing: str) -> Iterator[Instruction]:
    for match in filter(None, map(_LINE.match, listing.splitlines())):
        operands = tuple(each.strip() for each in match["operands"].split(",") if each.strip())
        yield Instruction(match["opcode"], operands, match["guard"] is not None)


@functools.cache
def _plain(symbol: str) -> str:
    """A symbol without the digest of the file's path, which varies."""
    return re.sub(r"_GLOBAL__N__[0-9a-f]+_|__N__[0-9a-f]+_|_INTERNAL_[0-9a-f]+_", "", symbol.strip())


def loads_in_flight(of: Sequence[Instruction], opcode: str = "LDG") -> int:
    """The most loads issued before one of them is used, or before the threads of a block synchronise.

    A thread stalls at the first use of a pending load; it waits for all loads issued before that together.
    """
    most, pending = 0, set[frozenset[str]]()
    for each in of:
        if any(each.reads() & registers for registers in pending) or _ends(each):
            pending.clear()
        if each.opcode.startswith(opcode):
            pending.add(each.writes())
            most = max(most, len(pending))
    return most


def _ends(each: Instruction) -> bool:
    """Whether the next instruction is not the one that follows, or only runs after a wait."""
    return each.operation in _ENDS or (each.operation == "BRA" and not each.guarded)


@dataclass(frozen=True)
class RoundedOperations:
    """The numbers of a kernel's operations in PTX, by names such as "div.rn.f32"."""

    symbol: str
    operations: Counter[str]


# To the next entry: a library's PTX has no indentation, so a brace at the start of a line ends nothing.
_ENTRY = re.compile(r"\.entry (?P<symbol>\w+)\((?P<body>.*?)(?=\.entry |\Z)", re.DOTALL)
_ARITHMETIC = re.compile(
    r"^[\s{]*(?:@!?%p\d+\s+)?((?:add|sub|mul|fma|mad|div|sqrt|rcp|rsqrt)[\w.]*\.(?:f|bf)[\w]+)\s", re.M
)


def arithmetic(ptx: str) -> list[RoundedOperations]:
    """The floating-point arithmetic of every kernel in a PTX file."""
    return [
        RoundedOperations(_plain(each["symbol"]), Counter(_ARITHMETIC.findall(each["body"])))
        for each in _ENTRY.finditer(ptx)
    ]


def fusible_operations(arithmetic_of: RoundedOperations) -> list[str]:
    """The additions and products that ptxas may fuse, because they specify no rounding."""
    return [name for name in arithmetic_of.operations if re.match(r"(add|sub|mul)\.(?!rn\.)", name)]


_BLOCKS = re.compile(r"mov\.u32\s+(%r\d+), %nctaid\.x;")
_WIDENS = ("cvt.u64.u32", "mul.wide.u32")


def narrow_steps(ptx: str) -> list[str]:
    """The kernels that compute with the number of a grid's blocks in 32 bits: `unit += gridDim.x` wraps around there.

    With more than 2**31 units such a loop never ends, or leaves units out.
    """
    return [each["symbol"] for each in _ENTRY.finditer(ptx) if _steps_narrowly(each["body"])]


def _steps_narrowly(body: str) -> bool:
    registers = _BLOCKS.findall(body)
    uses = [line.split()[0] for line in body.splitlines() if set(re.findall(r"%r\d+\b", line)) & set(registers)]
    return any(use not in (*_WIDENS, "mov.u32") for use in uses)
