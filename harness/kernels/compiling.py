"""The kernels' sources compiled by g++ for tests, as they are or with a fault planted in them.

Every object is kept in build/ under a hash of all that it is made of, so it is compiled once, and a planted fault costs
the files that it is in.
"""

from __future__ import annotations

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
_INCLUDED = re.compile(rb'^\s*#include [<"]([^>"]+)[>"]', re.MULTILINE)


@dataclass(frozen=True)
class Change:
    """A text that stands once in a file, and what stands there instead: a fault, say."""

    file: str
    before: str
    after: str


@functools.cache
def compiler() -> str:
    """The compiler, or MissingLibrary."""
    found = shutil.which("g++")
    if found is None:
        raise MissingLibrary("Kernels are compiled for tests only where g++ is installed, and there is none in PATH.")
    return found


def texts_in(root: Path, pattern: str = "*.*") -> dict[str, str]:
    """Every source below a folder, by its path there."""
    return {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in sorted(root.rglob(pattern))}


def changed(texts: Mapping[str, str], changes: Sequence[Change]) -> dict[str, str]:
    """The same sources with the changes; ValueError if one does not stand in its file exactly once."""
    made = dict(texts)
    for change in changes:
        found = made.get(change.file, "").count(change.before)
        if found != 1:
            raise ValueError(f"{change.file} is to be changed in one place, but has {found} of: {change.before}")
        made[change.file] = made[change.file].replace(change.before, change.after)
    return made


def write(texts: Mapping[str, str], root: Path) -> None:
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def kernel_sources(changes: Sequence[Change], build: Path) -> Path:
    """The folder of the kernels' sources, of a copy under `build` if there are changes (paths as from impl/csrc)."""
    if not changes:
        return KERNELS
    texts = changed(texts_in(KERNELS), changes)
    root = build / f"changed-{digest(list(texts), *(text.encode() for text in texts.values()))}"
    write(texts, root)
    return root


def objects(
    sources: Sequence[Path], flags: Sequence[str], include: Sequence[Path], build: Path, prefix: str = ""
) -> list[Path]:
    """The sources as objects under `build`, in their order.

    include  the folders that headers are looked for in. What a source includes of them is part of its hash.
    prefix   of the objects' names, which are otherwise the sources'.
    RuntimeError with what the compiler says if one does not compile.
    """
    folders = [f"-I{short(folder)}" for folder in include]

    def compiled(source: Path) -> Path:
        texts = [path.read_bytes() for path in _read(source, include)]
        made = build / f"{prefix}{source.stem}-{digest([version(), *flags], *texts)}.o"
        make(made, ["-x", "c++", *flags, *folders, "-c", short(source)])
        return made

    build.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(compiled, sources))


def make(target: Path, arguments: Sequence[str]) -> None:
    """Has the compiler make a file that is not there yet. Processes beside this one may be making the same one."""
    if target.exists():
        return
    partial = target.with_suffix(f".{os.getpid()}")
    done = subprocess.run([compiler(), *arguments, "-o", str(partial)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{target.name} does not compile:\n{done.stderr}")
    partial.replace(target)


def digest(names: Sequence[str], *contents: bytes) -> str:
    made = hashlib.sha256("\0".join(names).encode())
    for content in contents:
        made.update(b"%d:" % len(content) + content)
    return made.hexdigest()[:16]


def short(path: Path) -> str:
    """As messages should have it: a place in this project by its path there."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


@functools.cache
def version() -> str:
    """What the compiler says that it is; a part of every hash."""
    return subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True).stdout


def _read(source: Path, include: Sequence[Path]) -> list[Path]:
    """The files that a source is made of: itself, and what it includes of the given folders and its own."""
    found: dict[Path, None] = {}
    waiting = [source]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found[path] = None
        for name in _INCLUDED.findall(path.read_bytes()):
            places = [(folder / name.decode()).resolve() for folder in (path.parent, *include)]
            waiting += [place for place in places if place.is_file()]
    return list(found)
