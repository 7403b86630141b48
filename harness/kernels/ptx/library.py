"""Compiles the kernels with nvcc, with their host code, into a library that any process can load.

The device code stays PTX, for one virtual architecture; the host code, which chooses grid, threads and shared memory,
is linked with runtime.cpp in place of CUDA's runtime.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from harness.kernels.compiling import Change, build_setting, digest, kernel_sources, make, nvcc, objects
from harness.kernels.drivers import DRIVERS
from harness.repository import ROOT

BUILD = ROOT / "build" / "ptx"
ARCHITECTURE = "90"
RUNTIME = Path(__file__).with_name("runtime.cpp")
# In addition to setup.py's flags: uncompressed PTX with source lines.
FLAGS = ("-lineinfo", "--no-compress", "-Xcompiler=-fPIC,-fno-gnu-unique,-fvisibility=default")


@functools.cache
def kernel_library(*changes: Change, architecture: str = ARCHITECTURE, flags: tuple[str, ...] = ()) -> Path:
    """The library of this project's CUDA kernels and their drivers, from their sources, optionally with changes.

    Warnings are errors here, and in no other compilation.

    flags  come after all others, so -fmad=true overrides -fmad=false.
    """
    root = kernel_sources(changes, BUILD)
    sources = [*sorted(root.glob("*/cuda/*.cu")), *DRIVERS]
    return library(sources, include=root, architecture=architecture, flags=("-Werror=all-warnings", *flags))


def library(
    sources: Sequence[Path], *, include: Path, architecture: str = ARCHITECTURE, flags: Sequence[str] = ()
) -> Path:
    """A shared library of these sources. `include` is the folder of their headers."""
    generated = f"-gencode=arch=compute_{architecture},code=compute_{architecture}"
    every = [*build_setting("DEVICE_FLAGS"), *FLAGS, generated, *flags]
    parts = objects([*sources, RUNTIME], every, (include,), BUILD, program=nvcc())
    target = BUILD / f"kernels-{digest(*(path.name for path in parts))}.so"
    make(target, ["-shared", "-Wl,-Bsymbolic,--no-undefined", *map(str, parts)])
    return target
