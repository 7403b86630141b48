"""Compiles the kernels' sources with g++ for tests, unchanged or with a planted fault.

Each object is cached in build/ under a hash of all its inputs, so it is compiled once, and a planted fault recompiles
only the files that contain it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness.repository import ROOT, MissingLibrary

KERNELS = ROOT / "impl" / "csrc"
_INCLUDE = re.compile(rb'^\s*#include [<"]([^>"]+)[>"]', re.MULTILINE)


@dataclass(frozen=True)
class Change:
    """The replacement of a text that occurs once in a file, for example to plant a fault."""

    file: str
    before: str
    after: str


@functools.cache
def compiler() -> str:
    """The path of g++, or MissingLibrary."""
    path = shutil.which("g++")
    if path is None:
        raise MissingLibrary("Kernels are compiled for tests only where g++ is installed, and there is none in PATH.")
    return path


def texts_in(root: Path, pattern: str = "*.*") -> dict[str, str]:
    """All sources below a folder, by relative path."""
    return {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in sorted(root.rglob(pattern))}


def apply_changes(texts: Mapping[str, str], changes: Sequence[Change]) -> dict[str, str]:
    """The sources after the changes; ValueError if a text does not occur exactly once in its file."""
    result = dict(texts)
    for change in changes:
        count = result.get(change.file, "").count(change.before)
        if count != 1:
            raise ValueError(f"{change.file} is to be changed in one place, but has {count} of: {change.before}")
        result[change.file] = result[change.file].replace(change.before, change.after)
    return result


def folder_of(texts: Mapping[str, str], build: Path, *tools: str) -> Path:
    """The folder below `build` for these sources, named by a digest of the sources and the build tools."""
    return build / digest(*tools, *texts, *texts.values())


def write(texts: Mapping[str, str], root: Path) -> None:
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def kernel_sources(changes: Sequence[Change], build: Path) -> Path:
    """The folder of the kernels' sources; with changes (paths relative to impl/csrc), a changed copy under `build`."""
    if not changes:
        return KERNELS
    texts = apply_changes(texts_in(KERNELS), changes)
    root = folder_of(texts, build)
    write(texts, root)
    return root


# Once, and before any thread: Python 3.11 raises a SystemError if two threads parse at the same time.
@functools.cache
def build_setting(name: str) -> list[str] | str:
    """A constant of setup.py, parsed because importing it would build; the kernels are compiled with the real flags."""
    for node in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [getattr(each, "id", "") for each in node.targets] == [name]:
            value: list[str] | str = ast.literal_eval(node.value)
            return value
    raise LookupError(f"setup.py has no constant {name}.")


@functools.cache
def nvcc() -> str:
    """The path of nvcc, or MissingLibrary."""
    path = shutil.which("nvcc")
    if path is None:
        raise MissingLibrary(
            "The CUDA kernels are compiled only where the CUDA toolkit is, and there is no nvcc in PATH."
        )
    return path


def objects(
    sources: Sequence[Path], flags: Sequence[str], include: Sequence[Path], build: Path, *, program: str = ""
) -> list[Path]:
    """Compiles sources to objects under `build`, in order: C++ with g++, or with the given program.

    include: the folders of headers; the headers that a source includes are part of its hash. RuntimeError with the
    compiler's message if a source does not compile.
    """
    folders = [f"-I{short(folder)}" for folder in include]

    def compile_one(source: Path) -> Path:
        texts = [path.read_bytes() for path in _read(source, include)]
        target = build / f"{source.stem}-{digest(version(program), *flags, *texts)}.o"
        language = "cu" if program and source.suffix == ".cu" else "c++"
        make(target, ["-x", language, *flags, *folders, "-c", short(source)], program=program)
        return target

    build.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(compile_one, sources))


def make(target: Path, arguments: Sequence[str], *, program: str = "") -> None:
    """Builds a file, by default with g++, unless it exists; safe with other processes building the same file."""
    if target.exists():
        return
    partial = target.with_suffix(f".{os.getpid()}")
    process = subprocess.run(
        [program or compiler(), *arguments, "-o", str(partial)], cwd=ROOT, capture_output=True, text=True
    )
    if process.returncode != 0:
        raise RuntimeError(f"{target.name} does not compile:\n{process.stderr}")
    partial.replace(target)


def digest(*parts: str | bytes) -> str:
    """A digest of these parts, in order, for the name of a file or folder."""
    whole = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        whole.update(b"%d:" % len(content) + content)
    return whole.hexdigest()[:16]


def short(path: Path) -> str:
    """The path for messages: relative to this project if inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


@functools.cache
def version(program: str = "") -> str:
    """The version message of a compiler, by default g++; part of every hash."""
    return subprocess.run([program or compiler(), "--version"], capture_output=True, text=True, check=True).stdout


def _read(source: Path, include: Sequence[Path]) -> list[Path]:
    """A source with all files that it includes from these folders and its own."""
    files: dict[Path, None] = {}
    waiting = [source]
    while waiting:
        path = waiting.pop()
        if path in files:
            continue
        files[path] = None
        for name in _INCLUDE.findall(path.read_bytes()):
            places = [(folder / name.decode()).resolve() for folder in (path.parent, *include)]
            waiting += [place for place in places if place.is_file()]
    return list(files)
