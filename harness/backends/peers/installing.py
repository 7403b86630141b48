"""Makes what the libraries of the matrix need: some beside torch, the others in a folder of their own in .venv-peers.

Versions are pinned: beside torch by constraints.txt, elsewhere by requirements/NAME.txt and tfjs/package-lock.json.
What is made carries a stamp of the files that it was made from, and is made again only when one of them has changed.
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
# What a failed command said last tells why.
_LAST_LINES = 3


class InstallationError(Exception):
    """An environment that could not be made; the message is a sentence that says why, and what to do."""


@dataclass(frozen=True)
class Environment:
    """One thing to make.

    name     by which it is asked for.
    files    that it is made from; it is made again when their contents change.
    stamp    the file that says from what it was made.
    make     makes it, from nothing.
    needs    the programs that it needs in PATH.
    """

    name: str
    files: tuple[Path, ...]
    stamp: Path
    make: Callable[[], None]
    needs: tuple[str, ...] = ()

    def contents(self) -> str:
        """The digest of what it is made from, this Python included."""
        return digest(sys.version.encode(), *(file.read_bytes() for file in self.files))

    def is_here(self) -> bool:
        return self.stamp.exists() and self.stamp.read_text(encoding="utf-8") == self.contents()


def all_environments() -> dict[str, Environment]:
    """Those that there are, by name, in the order in which they are made."""
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
    """Makes it unless it is here already, and says so; False, and a sentence, if that is not possible."""
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
    """This project's own environment, by the pip of the interpreter that runs this."""
    constraints = ["--constraint", "constraints.txt"]
    run([sys.executable, "-m", "pip", "install", "--quiet", *constraints, "--group", "peers"])


def _make_python(name: str) -> None:
    python = _new_environment(name)
    run([python, "-m", "pip", "install", "--quiet", "--requirement", requirements(name)])


def _make_mmcv() -> None:
    """An environment that sees this one's packages behind its own: torch is gigabytes, and the same one will do."""
    python = _new_environment("mmcv", "--without-pip")
    folder = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    (folder / "packages_beside_torch.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    # Its dependencies are listed, as far as they are needed, and OpenCV is none of them.
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
    """An empty environment in the place of what there may be; its interpreter."""
    folder = environments.FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "venv", *options, folder])
    return folder / "bin" / "python"


def run(command: Sequence[str | Path], folder: Path = ROOT) -> str:
    """What a command prints; NotMade with the last lines that it wrote if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        lines = [line.strip() for line in (process.stdout + process.stderr).splitlines() if line.strip()]
        last = " ".join(lines[-_LAST_LINES:]) or "it said nothing"
        raise InstallationError(f"`{' '.join(map(str, command))}` failed with exit code {process.returncode}: {last}")
    return process.stdout
