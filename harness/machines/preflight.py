"""Checks, before `make gpu` does anything, which of its requirements a machine lacks.

The machine may be a plain image with torch and little else, so only the standard library is used. Everything is checked
at once, and each missing requirement is reported in a sentence with its remedy; steps that do not need it still run.
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

# The modules that a step requires, with the package of each; suites skip the tests of other missing libraries.
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
# The time limit for torch's check of the GPU.
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
    """The missing requirements: a sentence for each, by name.

    advice  the advice for all missing modules together, "" if none is missing.
    """

    sentences: dict[str, str]
    advice: str = ""

    def of(self, needs: Iterable[str]) -> str | None:
        """The reason why a step with these needs cannot run, or None."""
        lacking = [need for need in needs if need in self.sentences]
        return f"it needs {', '.join(lacking)}: see the preflight." if lacking else None

    def lines(self) -> list[str]:
        return [*self.sentences.values(), *([self.advice] if self.advice else [])]

    @property
    def bad(self) -> bool:
        """Whether a mandatory requirement is missing; compute-sanitizer is optional, because it refuses some
        machines."""
        return bool(set(self.sentences) - {SANITIZER})


def look(python: str = sys.executable) -> Lacks:
    """All requirements of `make gpu` that are missing here, for this Python (the running one)."""
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
    """The path of a program: in CUDA_HOME, in PATH, or in the toolkit's usual place."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    places = [shutil.which(program, path=str(Path(home, "bin")))] if home else []
    return next(filter(None, [*places, shutil.which(program), shutil.which(program, path=str(_TOOLKIT / "bin"))]), None)


def _no_gpu(python: str) -> str:
    """The reason why torch cannot use a GPU here, or ""."""
    try:
        process = subprocess.run([python, "-c", _PROBE], capture_output=True, text=True, check=False, timeout=_PROBE_S)
    except subprocess.TimeoutExpired:
        return f"torch had not said after {_PROBE_S:.0f} seconds whether it can use a GPU."
    if process.returncode:
        return f"torch cannot be imported: {(process.stderr.strip().splitlines() or ['it says nothing'])[-1]}"
    return process.stdout.strip()


def _advice(python: str, packages: list[str]) -> str:
    """How to install the missing packages: in a virtual environment if the Python refuses pip (PEP 668)."""
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
