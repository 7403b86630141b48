"""This project's C++ compiled outside of its own build: copies with planted changes, objects kept by their contents.

A name in the build folder holds a hash of everything that the file depends on, so nothing is compiled twice, nothing
stale is used, and a fault costs the files that it touches.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.backends import MissingLibrary

ROOT = Path(__file__).resolve().parents[1]
KERNELS = ROOT / "impl" / "csrc"


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
        raise MissingLibrary("This project's C++ is compiled here only where g++ is installed; there is none in PATH.")
    return found


@functools.cache
def version() -> str:
    """What the compiler says that it is; a part of every hash."""
    return subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True).stdout


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


def digest(names: Sequence[str], *contents: bytes) -> str:
    """A hash of names and contents that no other split of the same bytes has."""
    made = hashlib.sha256("\0".join(names).encode())
    for content in contents:
        made.update(b"%d:" % len(content) + content)
    return made.hexdigest()[:16]


def short(path: Path) -> str:
    """As messages should have it: a place in this project by its path there."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def make(target: Path, arguments: Sequence[str]) -> None:
    """Has the compiler make a file that is not there yet. Processes beside this one may be making the same one."""
    if target.exists():
        return
    partial = target.with_suffix(f".{os.getpid()}")
    done = subprocess.run([compiler(), *arguments, "-o", str(partial)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{target.name} does not compile:\n{done.stderr}")
    partial.replace(target)
