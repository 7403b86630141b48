"""The errors for which the emulator stops a kernel, and their place in the kernel's source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A line of a source file, by its path in this project."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Fault(RuntimeError):
    """A kernel does something that a GPU refuses or leaves undefined; the message says what, where, and which
    thread."""


class UnsupportedInstruction(RuntimeError):
    """A kernel uses something that the emulator does not support. Skipping it would make the results a guess."""
