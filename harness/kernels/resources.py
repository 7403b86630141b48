"""The compiler's report on the CUDA kernels: whether they compile for every architecture without spilling.

Compiling needs no GPU. A kernel that spills registers to memory, or keeps an array on a stack, runs at a fraction of
its speed, which only the compiler's report reveals. Compiling all architectures takes minutes, so each report is cached
in build/ under a hash of all its inputs, the compiler included.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness import repository
from harness.kernels.compiling import KERNELS, digest, nvcc, version
from harness.repository import ROOT

CACHE = ROOT / "build" / "cuda_resources"


@dataclass(frozen=True)
class Usage:
    """The resources of one kernel on one architecture, per thread: registers, and bytes of stack and spills."""

    kernel: str
    architecture: str
    registers: int
    stack_bytes: int
    spill_bytes: int

    @property
    def fits(self) -> bool:
        return self.stack_bytes == 0 and self.spill_bytes == 0


@dataclass(frozen=True)
class Cubin:
    """One source compiled for one architecture: the files of its machine code and its PTX, and ptxas's report."""

    source: Path
    architecture: str
    file: Path
    ptx: Path
    report: str


class DoesNotCompile(Exception):
    """The compiler rejected a source or warned about it; the message is the compiler's."""


# Once, and before any thread: Python 3.11 raises a SystemError if two threads parse at the same time.
@functools.cache
def build_setting(name: str) -> list[str] | str:
    """A constant of setup.py, parsed because importing it would build; the kernels are compiled with the real flags."""
    for node in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [getattr(each, "id", "") for each in node.targets] == [name]:
            value: list[str] | str = ast.literal_eval(node.value)
            return value
    raise LookupError(f"setup.py has no constant {name}.")


def architectures() -> list[str]:
    """The architectures that setup.py builds for, in nvcc's notation: 9.0 is sm_90."""
    names = str(build_setting("ARCHITECTURES")).replace("+PTX", "").split(";")
    return [f"sm_{each.replace('.', '')}" for each in names]


def compile_all(sources: Sequence[Path] | None = None) -> list[Usage]:
    """Every kernel of the sources (by default all of this project's) on every architecture, warnings being errors.

    DoesNotCompile if a source does not, MissingLibrary if there is no nvcc.
    """
    return [usage for each in cubins(sources, architectures()) for usage in usages(each)]


def usages(cubin: Cubin) -> list[Usage]:
    """The resources of each kernel in a file of machine code."""
    return list(_read(demangle(cubin.report)))


def cubins(sources: Sequence[Path] | None, of: Sequence[str]) -> list[Cubin]:
    """The machine code of the sources (None for all of this project's) for these architectures, such as "sm_90".

    Raises as compile_all does.
    """
    nvcc()
    build_setting("DEVICE_FLAGS")
    paths = sorted(KERNELS.glob("*/cuda/*.cu")) if sources is None else list(sources)
    jobs = [(path, architecture) for path in paths for architecture in of]
    CACHE.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(lambda job: _compile(*job), jobs))


def _compile(source: Path, architecture: str) -> Cubin:
    command = (
        *("nvcc", *build_setting("DEVICE_FLAGS"), f"-I{KERNELS}", f"-arch={architecture}", "-cubin", "-lineinfo"),
        *("-Werror=all-warnings", "-Xptxas=--verbose,--warning-as-error"),
    )
    headers = [path.read_bytes() for path in sorted(KERNELS.rglob("*.h"))]  # any of them may be included
    name = f"{source.stem}-{architecture}-{digest(version('nvcc'), *command, *headers, source.read_bytes())}"
    cubin, ptx, report = (CACHE / f"{name}.{kind}" for kind in ("cubin", "ptx", "txt"))
    if not all(path.exists() for path in (cubin, ptx, report)):
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            arguments = [*command, "--keep", f"--keep-dir={folder}", str(source), "-o", f"{folder}/cubin"]
            process = subprocess.run(arguments, capture_output=True, text=True, check=False)
            output = process.stdout + process.stderr
            if process.returncode != 0:
                raise DoesNotCompile(f"{source.name} for {architecture}:\n{output}")
            os.replace(f"{folder}/cubin", cubin)
            os.replace(f"{folder}/{source.stem}.ptx", ptx)
            repository.replace(report, output)
    return Cubin(source, architecture, cubin, ptx, report.read_text(encoding="utf-8"))


def demangle(text: str) -> str:
    if shutil.which("c++filt") is None:
        return text
    return subprocess.run(["c++filt"], input=text, capture_output=True, text=True, check=True).stdout


_REPORT = re.compile(
    r"Compiling entry function '(?P<name>[^']*)' for '(?P<architecture>\w+)'"
    r".*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
    r".*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)


def _read(report: str) -> list[Usage]:
    """The kernels in ptxas's report, by their names without namespaces and parameters."""
    return [
        Usage(
            kernel=short_name(match["name"]),
            architecture=match["architecture"].rstrip("a"),
            registers=int(match["registers"]),
            stack_bytes=int(match["stack"]),
            spill_bytes=int(match["stores"]) + int(match["loads"]),
        )
        for match in _REPORT.finditer(report)
    ]


def short_name(name: str) -> str:
    """A kernel's demangled name without its return type, its namespaces and its parameters."""
    bare = re.sub(r"\(anonymous namespace\)::|\w+::|^(static )?void ", "", name)
    # An enumerator as a template's argument is a cast number: (Space)0.
    return re.sub(r"\(\w+\)(?=-?\d)", "", bare).partition("(")[0]
