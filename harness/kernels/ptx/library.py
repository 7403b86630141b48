"""The kernels as nvcc compiles them, with their own host code, in a library that any process can load.

The device's code stays PTX, for one virtual architecture; the host's code, which picks grid, threads and shared memory,
is linked with runtime.cpp in place of CUDA's runtime.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from harness.kernels.compiling import Change, digest, kernel_sources, make, nvcc, objects
from harness.kernels.drivers import DRIVERS
from harness.kernels.resources import build_setting
from harness.repository import ROOT

BUILD = ROOT / "build" / "ptx"
ARCHITECTURE = "90"
RUNTIME = Path(__file__).with_name("runtime.cpp")
# Beside what setup.py has: the PTX as it is and no more, with the lines of its source.
FLAGS = ("-lineinfo", "--no-compress", "-Xcompiler=-fPIC,-fno-gnu-unique,-fvisibility=default")


@functools.cache
def kernel_library(*changes: Change, architecture: str = ARCHITECTURE, flags: tuple[str, ...] = ()) -> Path:
    """The library of this project's CUDA kernels and their drivers, of their sources as they are or with changes.

    flags  come after all others, -fmad=true after -fmad=false, say.
    """
    root = kernel_sources(changes, BUILD)
    sources = [*sorted(root.glob("*/cuda/*.cu")), *DRIVERS]
    return library(sources, include=root, architecture=architecture, flags=flags)


def library(
    sources: Sequence[Path], *, include: Path, architecture: str = ARCHITECTURE, flags: Sequence[str] = ()
) -> Path:
    """A shared library of these sources. `include` holds the headers that they use."""
    generated = f"-gencode=arch=compute_{architecture},code=compute_{architecture}"
    every = [*build_setting("DEVICE_FLAGS"), *FLAGS, generated, *flags]
    parts = objects([*sources, RUNTIME], every, (include,), BUILD, program=nvcc())
    target = BUILD / f"kernels-{digest(*(path.name for path in parts))}.so"
    make(target, ["-shared", "-Wl,-Bsymbolic,--no-undefined", *map(str, parts)])
    return target
