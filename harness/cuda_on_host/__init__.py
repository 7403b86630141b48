"""The CUDA kernels on a machine without a GPU: compiled for the host by g++, run by an executor of fibers.

A kernel that no test runs is a guess. The sources are the very ones that nvcc compiles; cuda_runtime.h beside this file
stands in for the toolkit's. Every object is kept in build/ under a hash of all that it is made of, so a library is
compiled once, and one with a planted fault costs the files that include what the fault is in.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness.backends import MissingLibrary

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KERNELS = ROOT / "impl" / "csrc"
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


@dataclass(frozen=True)
class Change:
    """A text that stands once in a file of impl/csrc, and what stands there instead: a fault, say."""

    file: str
    before: str
    after: str


@functools.cache
def compiler() -> str:
    """The compiler, or MissingLibrary."""
    found = shutil.which("g++")
    if found is None:
        raise MissingLibrary("The CUDA kernels run on the host only where g++ is installed, and there is none in PATH.")
    return found


@functools.cache
def kernel_library(*changes: Change, sanitize: bool = False) -> Path:
    """The library of this project's CUDA kernels, of their sources as they are or of a copy with changes."""
    root = _changed(changes) if changes else KERNELS
    sources = [*sorted((root / "cuda").glob("*.cu")), *DRIVERS]
    return library(sources, include=root, sanitize=sanitize)


def library(sources: Sequence[Path], *, include: Path, sanitize: bool = False) -> Path:
    """A shared library of these sources and the executor. `include` holds the headers that they use."""
    flags = [*FLAGS, *(SANITIZED if sanitize else ()), f"-I{_short(HERE)}", f"-I{_short(include)}"]
    common = [_version(), *FLAGS, *(SANITIZED if sanitize else ())]

    def compiled(source: Path) -> Path:
        contents = [path.read_bytes() for path in _read_by_compiler(source, include)]
        made = BUILD / f"{source.stem}-{_digest(common, *contents)}.o"
        _make(made, ["-x", "c++", *flags, "-c", _short(source)])
        return made

    BUILD.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, [*sources, *EXECUTOR]))
    made = BUILD / f"kernels-{_digest([path.name for path in objects])}.so"
    _make(made, ["-shared", "-Wl,--no-undefined", *flags, *map(str, objects)])
    return made


def sanitizer_environment() -> dict[str, str]:
    """What a process that is to load a sanitised library needs: the sanitizer comes before everything else."""
    found = subprocess.run([compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    # Python does not free all it has when it ends.
    return {"LD_PRELOAD": found.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}


_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^>"]+)[>"]', re.MULTILINE)


def _read_by_compiler(source: Path, include: Path) -> list[Path]:
    """A source and every file of ours that it includes, in whatever way; the compiler's own are left to its version."""
    found = [source]
    for path in found:  # which grows meanwhile
        for name in _INCLUDE.findall(path.read_text(encoding="utf-8")):
            places = [(root / name).resolve() for root in (path.parent, HERE, include)]
            found += [place for place in places if place.is_file() and place not in found]
    return found


def _changed(changes: Sequence[Change]) -> Path:
    """A copy of the kernels' sources with the changes."""
    texts = {str(path.relative_to(KERNELS)): path.read_text(encoding="utf-8") for path in sorted(KERNELS.rglob("*.*"))}
    for change in changes:
        found = texts[change.file].count(change.before)
        if found != 1:
            raise ValueError(f"{change.file} is to be changed in one place, but has {found} of: {change.before}")
        texts[change.file] = texts[change.file].replace(change.before, change.after)
    root = BUILD / f"changed-{_digest(list(texts), *(text.encode() for text in texts.values()))}"
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@functools.cache
def _version() -> str:
    return subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True).stdout


def _digest(names: Sequence[str], *contents: bytes) -> str:
    made = hashlib.sha256("\0".join(names).encode())
    for content in contents:
        made.update(b"%d:" % len(content) + content)
    return made.hexdigest()[:16]


def _short(path: Path) -> str:
    """As messages should have it: a place in this project by its path there."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _make(target: Path, arguments: Sequence[str]) -> None:
    """Has the compiler make a file that is not there yet. Processes beside this one may be making the same one."""
    if target.exists():
        return
    partial = target.with_suffix(f".{os.getpid()}")
    done = subprocess.run([compiler(), *arguments, "-o", str(partial)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{target.name} does not compile:\n{done.stderr}")
    partial.replace(target)
