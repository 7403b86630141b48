"""CUDA machine code and PTX, read from compiled files on machines without a GPU.

The file is the library that is built, or an object that a test compiles: what is read is what runs. cuobjdump reads
both; it is part of the CUDA toolkit, and of Triton, which torch installs.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from harness.kernels.compiling import KERNELS, build_setting, nvcc, objects
from harness.repository import ROOT, MissingLibrary

BUILD = ROOT / "build" / "cuda_objects"


def disassembler() -> Path:
    """The path of cuobjdump; MissingLibrary without the CUDA toolkit and Triton."""
    folders = [folder / "backends" / "nvidia" / "bin" for folder in _folders("triton")]
    path = shutil.which("cuobjdump") or next(
        (str(folder / "cuobjdump") for folder in folders if (folder / "cuobjdump").exists()), None
    )
    if path is None:
        raise MissingLibrary("cuobjdump is not here; it comes with the CUDA toolkit, and with `pip install triton`.")
    return Path(path)


def built_library() -> Path:
    """The library of the CUDA kernels that the package loads; MissingLibrary if it was built without one."""
    library = next((path for folder in _folders("roi_align") for path in sorted(folder.glob("_C_cuda.*so"))), None)
    if library is None:
        raise MissingLibrary("The package was built without the CUDA library; `make build` builds it where nvcc is.")
    return library


def _folders(package: str) -> list[Path]:
    """The folders of an installed package; importing it is not necessary."""
    spec = importlib.util.find_spec(package)
    return [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]


def compile_cuda(source: Path, architecture: str) -> Path:
    """An object with a source's machine code and PTX for an architecture, such as "sm_90"; cached in build/.

    RuntimeError with the compiler's message if the source does not compile, MissingLibrary without nvcc.
    """
    number = architecture.removeprefix("sm_")
    generated = f"-gencode=arch=compute_{number},code=[sm_{number},compute_{number}]"
    (target,) = objects(
        [source], [*build_setting("DEVICE_FLAGS"), "-lineinfo", generated], (KERNELS,), BUILD, program=nvcc()
    )
    return target


def dump(binary: Path, *options: str) -> str:
    """What cuobjdump prints of a file; MissingLibrary without it."""
    program = disassembler()
    process = subprocess.run(
        [program, *options, binary],
        env={"PATH": f"{program.parent}:/usr/bin:/bin"},  # cuobjdump calls nvdisasm, which is in the same folder
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout


def architectures_in(binary: Path) -> list[str]:
    """The architectures that a file has machine code for, in ascending order."""
    names = set(re.findall(r"\.(sm_\d+)a?\.cubin", dump(binary, "--list-elf")))
    return sorted(names, key=lambda name: int(name.removeprefix("sm_")))


def demangle(names: Iterable[str]) -> list[str]:
    """The names as in C++, in order; unchanged without c++filt."""
    lines = "\n".join(names)
    if shutil.which("c++filt") is not None:
        lines = subprocess.run(["c++filt"], input=lines, capture_output=True, text=True, check=True).stdout
    return lines.splitlines()


@functools.cache
def short_name(symbol: str) -> str:
    """A kernel's mangled name as in its source, without namespaces and parameters: forward_kernel<float, 4>."""
    (name,) = demangle([symbol])
    return without_namespaces(name)


def without_namespaces(name: str) -> str:
    """A kernel's demangled name without its return type, its namespaces and its parameters."""
    bare = re.sub(r"\(anonymous namespace\)::|\w+::|^(static )?void ", "", name.strip())
    # An enumerator as a template's argument is a cast number: (Space)0.
    return re.sub(r"\(\w+\)(?=-?\d)", "", bare).partition("(")[0]
