"""Compiles small operators on torch's stable ABI for a test, with g++ alone, as the package's own operators."""

from __future__ import annotations

import subprocess
from pathlib import Path

import torch
from torch.utils.cpp_extension import include_paths, library_paths

from harness.kernels.compiling import KERNELS
from harness.repository import ROOT

_FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-DTORCH_TARGET_VERSION=0x020a000000000000")


def load(source: str, folder: Path) -> None:
    """Compiles a source, whose path is relative to the checkout, into a library in the folder, and loads it."""
    target = folder / f"{Path(source).stem}.so"
    paths = [*(f"-I{path}" for path in (KERNELS, *include_paths())), *(f"-L{path}" for path in library_paths())]
    command = ["g++", *_FLAGS, *paths, str(ROOT / source), "-ltorch", "-ltorch_cpu", "-lc10", "-o", str(target)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    torch.ops.load_library(target)
