"""The CUDA kernels on a machine without a GPU: compiled for the host by g++, run by an executor of fibers.

A kernel that no test runs is a guess. The sources are the very ones that nvcc compiles; cuda_runtime.h beside this file
stands in for the toolkit's. Every object is kept in build/ under a hash of all that it is made of, so a library is
compiled once, and one with a planted fault costs the file that the fault is in.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.compiling import KERNELS, ROOT, Change, changed, compiler, digest, make, short, texts_in, version, write

HERE = Path(__file__).resolve().parent
BUILD = ROOT / "build" / "cuda_on_host"
DRIVERS = (HERE / "driver.cpp", HERE / "roi_driver.cpp")
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
    root = _changed(changes) if changes else KERNELS
    sources = [*sorted((root / "cuda").glob("*.cu")), *DRIVERS]
    return library(sources, include=root, sanitize=sanitize)


def library(sources: Sequence[Path], *, include: Path, sanitize: bool = False) -> Path:
    """A shared library of these sources and the executor. `include` holds the headers that they use."""
    flags = [*FLAGS, *(SANITIZED if sanitize else ()), f"-I{short(HERE)}", f"-I{short(include)}"]
    headers = [path.read_bytes() for root in (HERE, include) for path in sorted(root.rglob("*.h"))]
    common = [version(), *FLAGS, *(SANITIZED if sanitize else ())]

    def compiled(source: Path) -> Path:
        made = BUILD / f"{source.stem}-{digest(common, *headers, source.read_bytes())}.o"
        make(made, ["-x", "c++", *flags, "-c", short(source)])
        return made

    BUILD.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, [*sources, *EXECUTOR]))
    made = BUILD / f"kernels-{digest([path.name for path in objects])}.so"
    make(made, ["-shared", "-Wl,--no-undefined", *flags, *map(str, objects)])
    return made


def sanitizer_environment() -> dict[str, str]:
    """What a process that is to load a sanitised library needs: the sanitizer comes before everything else."""
    found = subprocess.run([compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    # Python does not free all it has when it ends.
    return {"LD_PRELOAD": found.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}


def _changed(changes: Sequence[Change]) -> Path:
    """A copy of the kernels' sources with the changes."""
    texts = changed(texts_in(KERNELS), changes)
    root = BUILD / f"changed-{digest(list(texts), *(text.encode() for text in texts.values()))}"
    write(texts, root)
    return root
