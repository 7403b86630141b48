"""The resources that the CUDA kernels take on every architecture: whether one spills, and how many fit.

A kernel that spills registers to memory, or keeps an array on a stack, runs at a fraction of its speed. cuobjdump
reads this from the library, for every architecture that it is built for; no GPU is necessary.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.kernels.binaries import architectures_in, built_library, demangle, dump, without_namespaces
from harness.kernels.compiling import build_setting
from harness.repository import MissingLibrary


@dataclass(frozen=True)
class Usage:
    """The resources of one kernel on one architecture, per thread: registers, and bytes of stack and local memory.

    Spilled registers are part of the stack.
    """

    kernel: str
    architecture: str
    registers: int
    stack_bytes: int
    local_bytes: int

    @property
    def fits(self) -> bool:
        return self.stack_bytes == 0 and self.local_bytes == 0


def architectures() -> list[str]:
    """The architectures that setup.py builds for, in nvcc's notation: 9.0 is sm_90."""
    names = str(build_setting("ARCHITECTURES")).replace("+PTX", "").split(";")
    return [f"sm_{each.replace('.', '')}" for each in names]


def complete_library() -> Path:
    """The built library of the CUDA kernels; MissingLibrary if there is none for all of these architectures."""
    library = built_library()
    in_library = architectures_in(library)
    if lacking := [each for each in architectures() if each not in in_library]:
        raise MissingLibrary(
            f"The CUDA library was built without {', '.join(lacking)}; build it without TORCH_CUDA_ARCH_LIST."
        )
    return library


# A number that is no number, such as a stack of unknown size, is an error.
_KERNEL = re.compile(r" Function (\S+):\n\s+REG:(\S+) STACK:(\S+) SHARED:\S+ LOCAL:(\S+) ")


def usages(binary: Path) -> list[Usage]:
    """The resources of every kernel in a library or an object, architecture by architecture.

    MissingLibrary without cuobjdump.
    """
    rows = [
        (architecture, *row)
        for architecture, text in _by_architecture(dump(binary, "--dump-resource-usage"))
        for row in _KERNEL.findall(text)
    ]
    names = demangle(symbol for _, symbol, *_ in rows)
    return [
        Usage(without_namespaces(name), architecture, *map(int, numbers))
        for name, (architecture, _, *numbers) in zip(names, rows, strict=True)
    ]


def _by_architecture(text: str) -> list[tuple[str, str]]:
    """The parts of cuobjdump's output, each with the architecture that it is about."""
    _, *parts = re.split(r"^arch = (sm_\d+)a?$", text, flags=re.MULTILINE)
    return list(zip(parts[::2], parts[1::2], strict=True))
