"""The CUDA kernels on a machine without a GPU: compiled for the host by g++, run by an executor of fibers.

A kernel that no test runs is a guess. The sources are the very ones that nvcc compiles; cuda_runtime.h beside this file
stands in for the toolkit's. harness/kernels/compiling.py keeps what is compiled, so a library is made once.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.kernels.compiling import Change, compiler, digest, kernel_sources, make, objects
from harness.kernels.drivers import DRIVERS
from harness.repository import ROOT

HERE = Path(__file__).resolve().parent
BUILD = ROOT / "build" / "cuda_on_host"
EXECUTOR = tuple(HERE / name for name in ("executor.cpp", "fibers.cpp", "waiting.cpp"))

FLAGS = (
    *("-std=c++17", "-O1", "-g1", "-fPIC"),
    "-ffp-contract=off",  # every operation is rounded on its own, as nvcc's -fmad=false has it
    "-fno-gnu-unique",  # libraries with and without a fault live in one process and share nothing
    *("-Wall", "-Wextra", "-Werror"),
    "-Wno-unknown-pragmas",  # of which `#pragma unroll` is one
)
SANITIZED = ("-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


@functools.cache
def kernel_library(*changes: Change, sanitize: bool = False) -> Path:
    """The library of this project's CUDA kernels, of their sources as they are or of a copy with changes."""
    root = kernel_sources(changes, BUILD)
    sources = [*sorted(root.glob("*/cuda/*.cu")), *DRIVERS]
    return library(sources, include=root, sanitize=sanitize)


def library(sources: Sequence[Path], *, include: Path, sanitize: bool = False) -> Path:
    """A shared library of these sources and the executor. `include` holds the headers that they use."""
    flags = [*FLAGS, *(SANITIZED if sanitize else ())]
    parts = objects([*sources, *EXECUTOR], flags, (HERE, include), BUILD)
    target = BUILD / f"kernels-{digest(*(path.name for path in parts))}.so"
    make(target, ["-shared", "-Wl,--no-undefined", *flags, *map(str, parts)])
    return target


def sanitizer_environment() -> dict[str, str]:
    """What a process that is to load a sanitised library needs: the sanitizer comes before everything else."""
    asked = subprocess.run([compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    # Python does not free all it has when it ends.
    return {"LD_PRELOAD": asked.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
