"""The CUDA kernels on a machine without a GPU: compiled for the host by g++, run by an executor of fibers.

A kernel that no test runs is a guess. These are the same sources that nvcc compiles; cuda_runtime.h beside this file
replaces the toolkit's. harness/kernels/compiling.py caches the objects, so a library is built once.
"""

from __future__ import annotations

import ctypes
import functools
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.kernels.compiling import Change, compiler, digest, kernel_sources, make, objects
from harness.kernels.drivers import DRIVERS
from harness.kernels.drivers.arrays import margins_changed, picked_order
from harness.operators.arrays import Array
from harness.repository import ROOT

HERE = Path(__file__).resolve().parent
BUILD = ROOT / "build" / "cuda_on_host"
EXECUTOR = tuple(HERE / name for name in ("executor.cpp", "fibers.cpp", "waiting.cpp"))

FLAGS = (
    *("-std=c++17", "-O1", "-g1", "-fPIC"),
    "-ffp-contract=off",  # every operation is rounded separately, as with nvcc's -fmad=false
    "-fno-gnu-unique",  # libraries with and without a fault share a process but no symbols
    *("-Wall", "-Wextra", "-Werror"),
    "-Wno-unknown-pragmas",  # of which `#pragma unroll` is one
)
SANITIZER_FLAGS = (
    "-O0",  # with a check of every access, -O1 compiles up to three times as long
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
)


@functools.cache
def kernel_library(*changes: Change, sanitize: bool = False) -> Path:
    """The library of this project's CUDA kernels, from their sources, optionally with changes."""
    root = kernel_sources(changes, BUILD)
    sources = [*sorted(root.glob("*/cuda/*.cu")), *DRIVERS]
    return library(sources, include=root, sanitize=sanitize)


def library(sources: Sequence[Path], *, include: Path, sanitize: bool = False) -> Path:
    """A shared library of these sources and the executor. `include` is the folder of their headers."""
    flags = [*FLAGS, *(SANITIZER_FLAGS if sanitize else ())]
    parts = objects([*sources, *EXECUTOR], flags, (HERE, include), BUILD)
    target = BUILD / f"kernels-{digest(*(path.name for path in parts))}.so"
    make(target, ["-shared", "-Wl,--no-undefined", *flags, *map(str, parts)])
    return target


def sanitizer_environment() -> dict[str, str]:
    """Environment variables for a process that loads a sanitized library: the sanitizer must be loaded first."""
    process = subprocess.run([compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    # Python does not free all its memory at exit.
    return {
        "LD_PRELOAD": process.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


@functools.cache
def load(library: Path) -> ctypes.PyDLL:
    """Loads a library as a PyDLL, which holds the GIL during calls: the executor runs one launch at a time."""
    return ctypes.PyDLL(str(library))


def launch(
    library: Path, name: str, order: int | None, boxes: Array, arguments: ctypes.Structure, results: Sequence[Array]
) -> None:
    """Runs a driver's function with this order of threads, or with one selected by the boxes.

    RuntimeError with the driver's message if it fails, or if a kernel wrote outside one of its results.
    """
    kernels = load(library)
    kernels.set_order(picked_order(boxes) if order is None else order)
    function = kernels[name]
    function.restype = ctypes.c_char_p
    message = function(ctypes.byref(arguments))
    if message is not None:
        raise RuntimeError(message.decode())
    if any(margins_changed(result) for result in results):
        raise RuntimeError(f"{name} has written outside of its result.")
