"""Builds a revision's package in a folder that goes first on a process's path.

The planted faults (harness/faults/package/building.py) are built for one instruction set and with little optimisation,
because they are not timed. Here the revision's own setup.py builds it, as for users: compiler flags are part of the
comparison. The folder is named after a digest of its sources, so a revision is built once, and equal revisions share a
folder.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from harness.kernels import compiling
from harness.repository import ROOT

BUILD = ROOT / "build" / "compare"
WORKING_TREE = "."
# The sources of a package, and the files that its metadata refers to.
_FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE")
_REQUIRED_FILES = ("setup.py", "pyproject.toml", "impl/roi_align/__init__.py")
_SOURCES = (".py", ".typed", ".cpp", ".h", ".inl", ".cu")


class UnusableRevision(Exception):
    """There is no such revision, or it does not build; the message says which and why."""


@dataclass(frozen=True)
class Revision:
    """One side of a comparison.

    name    as requested: anything that git resolves to a commit, or "." for the working tree.
    commit  the full commit hash, "" for the working tree.
    texts   the sources of the package by path.
    """

    name: str
    commit: str
    texts: dict[str, str]

    def __str__(self) -> str:
        return f"{self.name} ({self.commit[:10]})" if self.commit else "the working tree"

    @property
    def folder(self) -> Path:
        """The build folder, named after a digest of the sources and the build tools."""
        tools = (compiling.version(), importlib.metadata.version("torch"))
        return compiling.folder_of(self.texts, BUILD / "packages", *tools)

    @property
    def path(self) -> Path:
        """The folder to put first on a process's path; it contains `roi_align`."""
        return self.folder / "impl"


def find(name: str, repository: Path = ROOT) -> Revision:
    """The revision of this name; UnusableRevision if there is none, or if it contains no package."""
    if name == WORKING_TREE:
        places = {str(path.relative_to(repository)): path for path in repository.glob("impl/**/*")}
        places |= {file: repository / file for file in _FILES}
        files = {file: path for file, path in places.items() if _belongs(file) and path.is_file()}
        return _revision(name, "", {file: path.read_text(encoding="utf-8") for file, path in files.items()})
    arguments = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    commit = _git(repository, f"There is no revision {name!r} here", *arguments).decode().strip()
    archive = _git(repository, f"The files of {name} cannot be read", "archive", commit)
    texts = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for each in members:
            content = members.extractfile(each) if _belongs(each.name) else None
            if content is not None:
                texts[each.name] = content.read().decode()
    return _revision(name, commit, texts)


def build(revision: Revision) -> Path:
    """Builds the package and returns `revision.path`; UnusableRevision with the build's output if that fails."""
    marker = revision.folder / "built"
    if not marker.exists():
        compiling.write(revision.texts, revision.folder)
        process = subprocess.run(
            [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
            cwd=revision.folder,
            env={**os.environ, "ROI_ALIGN_CUDA": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if process.returncode != 0:
            last = "\n".join(process.stdout.rstrip().splitlines()[-30:])
            raise UnusableRevision(f"{revision} does not build; the last lines of its setup.py:\n{last}")
        marker.touch()
    return revision.path


def _belongs(file: str) -> bool:
    return file in _FILES or (file.startswith("impl/") and file.endswith(_SOURCES))


def _revision(name: str, commit: str, texts: dict[str, str]) -> Revision:
    revision = Revision(name, commit, dict(sorted(texts.items())))
    missing = [file for file in _REQUIRED_FILES if file not in texts]
    if missing:
        raise UnusableRevision(f"{revision} has no {missing[0]}, so it cannot be built; name a later revision.")
    return revision


def _git(repository: Path, failure: str, *arguments: str) -> bytes:
    try:
        process = subprocess.run(["git", *arguments], cwd=repository, capture_output=True)
    except OSError as error:
        raise UnusableRevision(
            f"{failure}: git cannot be run ({error.strerror}). Install git, or compare what needs none: stored runs or "
            "devices under results, or two functions as module:function."
        ) from None
    if process.returncode != 0:
        words = process.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise UnusableRevision(
            f"{failure}{f': {words}' if words else ''}. A commit, a branch, a tag, {WORKING_TREE} for the files as "
            "they are, or a run or device under results can be compared; `git fetch` brings others' revisions."
        )
    return process.stdout
