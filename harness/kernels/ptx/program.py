"""Parses the output of `nvcc -ptx` into kernels: parameters, shared arrays, registers, and basic blocks.

Only nvcc's own output is supported. Any other statement raises UnsupportedInstruction with its text, because skipping a
statement would make all that follows a guess. Kernels are parsed one at a time, when they are launched: a file has
dozens of them, and a test needs two or three.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.kernels.compiling import short
from harness.kernels.ptx.faults import Place, UnsupportedInstruction
from harness.kernels.ptx.flow import BasicBlock, Instruction, basic_blocks
from harness.repository import ROOT

SIZES = {"8": 1, "16": 2, "32": 4, "64": 8}
_ENTRY = re.compile(r"^(?:\.visible |\.weak )*\.entry (\S+)\(", re.MULTILINE)
_FILE = re.compile(r'^\s*\.file\s+(\d+) "([^"]*)"', re.MULTILINE)
_SHARED = re.compile(r"^(?:\.\w+ )*?\.shared \.align (\d+) \.b8 (\S+?)\[(\d*)\];", re.MULTILINE)
_LOC = re.compile(r"\.loc\s+(\d+) (\d+) \d+(?:.*inlined_at (\d+) (\d+))?")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True)
class SharedArray:
    """An array of shared memory that a file declares; its bytes are 0 if the launch sets the size."""

    align: int
    bytes: int


@dataclass(frozen=True)
class Kernel:
    """An entry point. Parameter offsets and sizes are in bytes; registers map to their types, such as b32."""

    name: str
    parameters: Mapping[str, tuple[int, int]]  # offset, size
    most_threads: int | None
    registers: Mapping[str, str]
    shared: Mapping[str, SharedArray]
    blocks: Sequence[BasicBlock]

    @property
    def parameter_bytes(self) -> int:
        return max((offset + size for offset, size in self.parameters.values()), default=0)


@dataclass(frozen=True)
class Module:
    """A compiled file: its text, and the start of each kernel in it."""

    text: str
    starts: Mapping[str, int]

    @functools.cached_property
    def files(self) -> Mapping[int, str]:
        return {int(number): path for number, path in _FILE.findall(self.text)}

    @functools.cached_property
    def shared(self) -> Mapping[str, SharedArray]:
        return {name: SharedArray(int(align), int(count or 0)) for align, name, count in _SHARED.findall(self.text)}

    def kernel(self, name: str) -> Kernel:
        """The kernel of this name; KeyError if there is none."""
        return _kernel(self, name)


def module(text: str) -> Module:
    return Module(text, {match[1]: match.end() for match in _ENTRY.finditer(text)})


def _kernel(of: Module, name: str) -> Kernel:
    start = of.starts[name]
    parameters, begin = _parameters(of.text, start)
    lines, head = _body(of.text, begin)
    most = re.search(r"\.maxntid (\d+), (\d+), (\d+)", head)
    reader = _Reader(of.files)
    for line in lines:
        reader.read(line)
    return Kernel(
        name=name,
        parameters=parameters,
        most_threads=int(most[1]) * int(most[2]) * int(most[3]) if most else None,
        registers=reader.registers,
        shared={name: array for name, array in {**of.shared, **reader.shared}.items() if name in reader.names},
        blocks=basic_blocks(reader.instructions, reader.labels),
    )


def _parameters(text: str, start: int) -> tuple[dict[str, tuple[int, int]], int]:
    """The offset and size of each parameter, laid out like a C struct, and the end of the list."""
    end = text.index(")", start)
    parameters, offset = {}, 0
    for each in filter(None, (part.strip() for part in text[start:end].split(","))):
        words = each.split()
        align = int(words[words.index(".align") + 1]) if ".align" in words else 0
        name, _, count = words[-1].partition("[")
        kind = next(word for word in words[1:] if word[1:2] in "bsuf" and word[2:] in SIZES)
        size = SIZES[kind[2:]]
        align, size = align or size, size * int(count.rstrip("]") or 1)
        offset += -offset % align
        parameters[name] = (offset, size)
        offset += size
    return parameters, end + 1


def _body(text: str, begin: int) -> tuple[list[str], str]:
    """The lines between a kernel's braces, and the text before them."""
    opening = text.index("{", begin)
    depth, lines, at = 1, [], opening + 1
    while depth:
        end = text.index("\n", at)
        line = text[at:end]
        depth += line.count("{") - line.count("}")
        lines.append(line if depth else line[: line.rindex("}")])
        at = end + 1
    return lines, text[begin:opening]


class _Reader:
    """The contents of a kernel's lines read so far. names: all names in operands, including shared arrays."""

    def __init__(self, files: Mapping[int, str]) -> None:
        self.instructions: list[Instruction] = []
        self.labels: dict[str, int] = {}
        self.registers: dict[str, str] = {}
        self.shared: dict[str, SharedArray] = {}
        self.names: set[str] = set()
        paths = {number: Path(path).resolve() for number, path in files.items()}
        self._files = {number: short(path) for number, path in paths.items()}
        own = {number for number, path in paths.items() if path.is_relative_to(ROOT)}
        self._own = own or set(paths)
        self._place = Place("", 0)
        self._pending_text = ""

    def read(self, line: str) -> None:
        line = line.partition("//")[0].strip()
        if line.startswith((".loc ", ".loc\t")):
            self._locate(line)
        elif line.endswith(":") and " " not in line:
            self.labels[line[:-1]] = len(self.instructions)
        else:
            *statements, self._pending_text = f"{self._pending_text} {line}".split(";")
            for statement in statements:
                self._statement(statement.lstrip(" {}\t").rstrip())
            self._pending_text = self._pending_text.strip(" {}\t")

    def _locate(self, line: str) -> None:
        """Tracks the innermost line of this project: code inlined from the toolkit's headers counts for its caller's
        line.

        For nested functions of the toolkit, that is the previous line of this project.
        """
        match = _LOC.match(line)
        if match is None:
            raise UnsupportedInstruction(f"The place {line} is not in nvcc's format.")
        file, number, caller, calls = (int(each or 0) for each in match.groups())
        if caller and file not in self._own:
            file, number = caller, calls
        if number and file in self._own:  # 0: no particular line
            self._place = Place(self._files[file], number)

    def _statement(self, statement: str) -> None:
        if statement.startswith(".reg"):
            self._declare(*statement.split(None, 2)[1:])
        elif match := _SHARED.match(statement + ";"):
            self.shared[match[2]] = SharedArray(int(match[1]), int(match[3] or 0))
        elif statement.startswith(".") and not statement.startswith(".pragma"):
            raise UnsupportedInstruction(f"{statement} ({self._place}) is not emulated.")
        elif statement and statement[0] != ".":
            self._add(statement)

    def _declare(self, kind: str, names: str) -> None:
        kind = kind.removeprefix(".")
        for name in (each.strip() for each in names.split(",")):
            stem, _, count = name.partition("<")
            registers = [f"{stem}{i}" for i in range(int(count.rstrip(">")))] if count else [name]
            for register in registers:
                # A name that is declared again in inner braces can share the slot: no value lives beyond the braces.
                if self.registers.setdefault(register, kind) != kind:
                    raise UnsupportedInstruction(f"The register {register} ({self._place}) is declared with two types.")

    def _add(self, statement: str) -> None:
        predicate, negated = None, False
        if statement.startswith("@"):
            guard, statement = statement[1:].split(None, 1)
            negated, predicate = guard.startswith("!"), guard.lstrip("!")
        opcode, _, rest = _SPACES.sub(" ", statement).partition(" ")
        operands = tuple(_operands(rest))
        self.names.update(operand.strip("[]").partition("+")[0] for operand in operands)
        self.instructions.append(Instruction(len(self.instructions), opcode, operands, predicate, negated, self._place))


def _operands(text: str) -> Iterator[str]:
    """Splits operands at commas outside braces."""
    if "{" not in text:
        yield from filter(None, (part.strip() for part in text.split(",")))
        return
    depth, begin = 0, 0
    for at, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            yield text[begin:at].strip()
            begin = at + 1
    if text[begin:].strip():
        yield text[begin:].strip()
