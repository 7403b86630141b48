"""What the emulator stops a kernel for, and where in the kernel's source that is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A line of a source, its file by its path in this project."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Fault(RuntimeError):
    """A kernel does what a GPU would not do, or leaves undefined; the message says what, where, and which thread."""


class UnsupportedInstruction(RuntimeError):
    """A kernel uses what the emulator does not know. It never passes over such a thing: it would compute a guess."""
