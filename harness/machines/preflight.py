"""What `make gpu` needs of a machine and does not have, told before anything is done.

The machine may be a plain image of torch that has little else. So the standard library alone looks, at everything at
once, and says each thing in a sentence with the way to get it; the steps that can do without it run all the same.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

# The modules that a step cannot begin without, and the package that each comes with; what else the suites use of a
# library is skipped where that is missing.
BUILD = {"torch": "torch", "setuptools": "setuptools"}
TEST = {
    "torch": "torch",
    "numpy": "numpy",
    "ml_dtypes": "ml-dtypes",
    "hypothesis": "hypothesis",
    "pytest": "pytest",
    "pytest_benchmark": "pytest-benchmark",
}
BENCH = {**TEST, "pandas": "pandas", "jinja2": "jinja2", "matplotlib": "matplotlib", "rich": "rich", "typer": "typer"}
MODULES = {**BUILD, **BENCH}
SETUPTOOLS = 77  # the first that reads pyproject.toml's licence
GPU, NVCC, COMPILER, SANITIZER = "a GPU", "nvcc", "a C++ compiler", "compute-sanitizer"
# How long torch may take to say whether it can use a GPU.
_PROBE_S = 120.0
_TOOLKIT = Path("/usr/local/cuda")
_PROBE = """
import torch
if torch.version.cuda is None:
    print(f"torch {torch.__version__} is built without CUDA; install one that is built with it.")
elif not torch.cuda.is_available():
    print(f"torch {torch.__version__} finds no GPU: torch.cuda.is_available() is False; nvidia-smi says what there is.")
"""


@dataclass(frozen=True)
class Lacks:
    """What a machine lacks: by its name, the sentence that says so.

    advice  what goes for all missing modules together, "" if none is missing.
    """

    sentences: dict[str, str]
    advice: str = ""

    def of(self, needs: Iterable[str]) -> str | None:
        """Why a step that needs these cannot be done, or None if it can."""
        lacking = [need for need in needs if need in self.sentences]
        return f"it needs {', '.join(lacking)}: see the preflight." if lacking else None

    def lines(self) -> list[str]:
        return [*self.sentences.values(), *([self.advice] if self.advice else [])]

    @property
    def bad(self) -> bool:
        """Whether something is missing that no GPU machine may be without: compute-sanitizer refuses some of them."""
        return bool(set(self.sentences) - {SANITIZER})


def look(python: str = sys.executable) -> Lacks:
    """All that is missing here for `make gpu` with this Python, which is the one that runs."""
    sentences = {
        module: f"The Python module {module} is missing; it comes with the package {package}."
        for module, package in MODULES.items()
        if importlib.util.find_spec(module) is None
    }
    if "setuptools" not in sentences and int(version("setuptools").partition(".")[0]) < SETUPTOOLS:
        sentences["setuptools"] = f"setuptools {version('setuptools')} is too old to build with: from {SETUPTOOLS} on."
    packages = [MODULES[module] for module in sentences]
    if "torch" not in sentences:
        reason = _no_gpu(python)
        if reason:
            sentences[GPU] = reason
    for need, program, advice in (
        (NVCC, "nvcc", "it comes with the CUDA toolkit; set CUDA_HOME to the folder of one that is not in PATH."),
        (COMPILER, os.environ.get("CXX", "g++"), "nvcc and the build need one; set CXX to another than g++."),
        (SANITIZER, "compute-sanitizer", "it comes with the CUDA toolkit; the steps that use it are skipped."),
    ):
        if find(program) is None:
            sentences[need] = f"There is no {program} here; {advice}"
    return Lacks(sentences, _advice(python, packages))


def find(program: str) -> str | None:
    """Where a program is: in CUDA_HOME, in PATH, or where the toolkit is usually installed."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    places = [shutil.which(program, path=str(Path(home, "bin")))] if home else []
    return next(filter(None, [*places, shutil.which(program), shutil.which(program, path=str(_TOOLKIT / "bin"))]), None)


def _no_gpu(python: str) -> str:
    """Why torch cannot use a GPU here, "" if it can."""
    try:
        process = subprocess.run([python, "-c", _PROBE], capture_output=True, text=True, check=False, timeout=_PROBE_S)
    except subprocess.TimeoutExpired:
        return f"torch had not said after {_PROBE_S:.0f} seconds whether it can use a GPU."
    if process.returncode:
        return f"torch cannot be imported: {(process.stderr.strip().splitlines() or ['it says nothing'])[-1]}"
    return process.stdout.strip()


def _advice(python: str, packages: list[str]) -> str:
    """How to install what is missing: where a distribution's own Python refuses pip (PEP 668), beside it."""
    if not packages:
        return ""
    install = f"pip install --upgrade {' '.join(packages)}"
    marker = Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
    if sys.prefix != sys.base_prefix or not marker.exists():
        return f"To install what is missing: {python} -m {install}"
    beside = ".venv-gpu/bin/python"
    return (
        f"pip may not install into this Python, which its distribution manages (PEP 668, {marker}). To install beside "
        f"it, with its torch in sight: {python} -m venv --system-site-packages .venv-gpu && {beside} -m {install} && "
        f"make gpu GPU_PYTHON={beside}"
    )


def tell(lacks: Lacks, say: Callable[[str], None]) -> None:
    for line in lacks.lines():
        say(f"preflight: {line}")
