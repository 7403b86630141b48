"""Installs the libraries of the matrix: some beside torch, the others in folders of their own in .venv-peers.

Versions are pinned: beside torch by constraints.txt, elsewhere by requirements/NAME.txt and tfjs/package-lock.json.
An environment has a stamp with a digest of the files that it was made from, and is rebuilt only when one of them
changes.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.backends.peers import environments
from harness.repository import ROOT, digest

_HERE = Path(__file__).parent
_TFJS = _HERE / "tfjs"
_TFJS_FILES = ("package.json", "package-lock.json", ".npmrc")
# The last lines of a failed command's output show the reason.
_LAST_LINES = 3


class InstallationError(Exception):
    """An environment could not be made; the message is a sentence that says why and what to do."""


@dataclass(frozen=True)
class Environment:
    """One environment to make.

    name     its name on the command line.
    files    the files that it is made from; it is rebuilt when their contents change.
    stamp    the file with the digest of those contents.
    make     makes it from scratch.
    needs    the programs that must be in PATH.
    """

    name: str
    files: tuple[Path, ...]
    stamp: Path
    make: Callable[[], None]
    needs: tuple[str, ...] = ()

    def contents(self) -> str:
        """The digest of its files and of this Python's version."""
        return digest(sys.version.encode(), *(file.read_bytes() for file in self.files))

    def is_here(self) -> bool:
        return self.stamp.exists() and self.stamp.read_text(encoding="utf-8") == self.contents()


def all_environments() -> dict[str, Environment]:
    """All environments by name, in the order of making."""
    beside = Environment(
        "beside",
        (ROOT / "pyproject.toml", ROOT / "constraints.txt"),
        Path(sys.prefix) / ".peers-ready",
        _make_beside_torch,
    )
    own = [
        Environment(name, (requirements(name),), _stamp(name), functools.partial(_make_python, name))
        for name in environments.OF_THEIR_OWN.values()
        if name != "mmcv"
    ]
    mmcv = Environment(
        "mmcv",
        (requirements("mmcv"), _HERE / "compiling.py", _HERE / "mmcv" / "extension.cpp", ROOT / "constraints.txt"),
        _stamp("mmcv"),
        _make_mmcv,
        needs=("g++",),
    )
    tfjs = Environment(
        "tfjs", tuple(_TFJS / name for name in _TFJS_FILES), _stamp("tfjs"), _make_tfjs, needs=("node", "npm")
    )
    return {each.name: each for each in (beside, *own, mmcv, tfjs)}


def make(environment: Environment, tell: Callable[[str], None]) -> bool:
    """Makes an environment unless it is up to date; False, after a message, if that fails."""
    if environment.is_here():
        tell(f"{environment.name}: is here already.")
        return True
    missing = [program for program in environment.needs if shutil.which(program) is None]
    if missing:
        tell(f"{environment.name}: not made: it needs {' and '.join(missing)}, and there is none in PATH.")
        return False
    tell(f"{environment.name}: is being made ...")
    try:
        environment.make()
    except InstallationError as reason:
        tell(f"{environment.name}: not made: {reason}")
        return False
    environment.stamp.write_text(environment.contents(), encoding="utf-8")
    tell(f"{environment.name}: made.")
    return True


def requirements(name: str) -> Path:
    """The pinned packages of a library's own environment."""
    return _HERE / "requirements" / f"{name}.txt"


def _stamp(name: str) -> Path:
    return environments.FOLDER / name / ".ready"


def _make_beside_torch() -> None:
    """Installs into this project's own environment, with the running interpreter's pip."""
    constraints = ["--constraint", "constraints.txt"]
    run([sys.executable, "-m", "pip", "install", "--quiet", *constraints, "--group", "peers"])


def _make_python(name: str) -> None:
    python = _new_environment(name)
    run([python, "-m", "pip", "install", "--quiet", "--requirement", requirements(name)])


def _make_mmcv() -> None:
    """Makes an environment that also sees this one's packages, to share torch's gigabytes."""
    python = _new_environment("mmcv", "--without-pip")
    folder = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    (folder / "packages_beside_torch.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    # The requirements list the dependencies that are needed, without OpenCV.
    run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", requirements("mmcv")])
    run([python, "-c", "from harness.backends.peers import compiling; compiling.compile_mmcv()"])


def _make_tfjs() -> None:
    folder = environments.FOLDER / "tfjs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in _TFJS_FILES:
        shutil.copy(_TFJS / name, folder / name)
    run(["npm", "ci", "--no-audit", "--no-fund"], folder)


def _new_environment(name: str, *options: str) -> Path:
    """Makes an empty environment, replacing any old one; returns its interpreter."""
    folder = environments.FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "venv", *options, folder])
    return folder / "bin" / "python"


def run(command: Sequence[str | Path], folder: Path = ROOT) -> str:
    """A command's output; InstallationError with its last lines if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        lines = [line.strip() for line in (process.stdout + process.stderr).splitlines() if line.strip()]
        last = " ".join(lines[-_LAST_LINES:]) or "it said nothing"
        raise InstallationError(f"`{' '.join(map(str, command))}` failed with exit code {process.returncode}: {last}")
    return process.stdout
