"""Launches of the small kernels beside this file in the PTX emulator, and the lookup of their lines."""

from __future__ import annotations

import ctypes
import functools
import re
from pathlib import Path

import numpy as np

from harness.kernels.ptx import emulator
from harness.kernels.ptx.library import library
from harness.kernels.ptx.memory import Allocation

HERE = Path(__file__).parent
ELEMENTS, LITTLE = "ptx_kernels.cu", "little_kernels.cu"
COUNT = 1024


@functools.cache
def module(name: str) -> Path:
    return library([HERE / name], include=HERE)


def elements(name: str, out: np.ndarray, *arrays: np.ndarray, blocks=4, threads=256, backward=False, known=True):
    """Runs a kernel of ptx_kernels.cu on arrays of COUNT elements and returns `out`; known: whether `out` counts as
    initialised."""
    three = [*arrays, *[arrays[0] if arrays else out] * (3 - len(arrays))]
    allocations = [Allocation("out", out.ctypes.data, out.nbytes, writable=True, filled=known)]
    allocations += [Allocation("in", each.ctypes.data, each.nbytes, writable=False, filled=True) for each in arrays]
    pointers = [ctypes.c_void_p(each.ctypes.data) for each in (out, *three)]
    arguments = [name.encode(), blocks, threads, *pointers]
    emulator.run(module(ELEMENTS), "elements", arguments, allocations, backward=backward)
    return out


def launch(name, argument=0, *, grid=(1, 1, 1), block=(64, 1, 1), shared=0, allowed=0, backward=False):
    """Runs a kernel of little_kernels.cu and returns its `out`."""
    out = np.full(1024, -9, np.int32)
    dims = (ctypes.c_uint * 6)(*grid, *block)
    pointer = ctypes.c_void_p(out.ctypes.data)
    memory = [Allocation("out", out.ctypes.data, out.nbytes, writable=True, filled=True)]
    emulator.run(
        module(LITTLE), "launch", [name.encode(), dims, shared, allowed, pointer, argument], memory, backward=backward
    )
    return out


def placed(text: str, source: str) -> str:
    """The text, with the numbers of the lines that comments mark in a source of small kernels."""
    lines = (HERE / source).read_text(encoding="utf-8").splitlines()

    def place(marker: re.Match[str]) -> str:
        (number,) = (number for number, line in enumerate(lines, 1) if line.endswith(f"// {marker[1]}"))
        return f"suites/meta/kernels/{source}:{number}"

    return re.sub(r"{([\w ]+)}", place, text)
