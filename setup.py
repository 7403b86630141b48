"""Builds the compiled libraries. Everything else about the package stands in pyproject.toml.

They are built on torch's stable ABI and know nothing of Python, so one binary serves every Python and every torch from
2.10 on; that is what the abi3 tag of the wheel says. CUDA is a library of its own, so that the package works without.

ROI_ALIGN_CUDA=1 builds it, ROI_ALIGN_CUDA=0 leaves it out; without either it is built where there are nvcc and a torch
with CUDA. Whether the building machine has a GPU plays no part. TORCH_CUDA_ARCH_LIST names the architectures.

ROI_ALIGN_DEBUG=1 keeps the debug sections, six times the size of the code; without it they are left out.

ROI_ALIGN_LABEL=cu13 makes the version 1.2.3+cu13: wheels for different versions of CUDA have different names.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import torch
from setuptools import setup

ROOT = Path(__file__).resolve().parent
KERNELS = ROOT / "impl" / "csrc"  # includes are written as from here
# What CUDA 13 compiles for, from T4 to both Blackwells; for all other GPUs from the first of these on there is its PTX.
ARCHITECTURES = "7.5;8.0;8.6;8.9;9.0;10.0+PTX;12.0"

# Python's own flags may have -g in them: these come later and win.
debug = os.environ.get("ROI_ALIGN_DEBUG", "")
if debug not in ("", "0", "1"):
    raise SystemExit(f"ROI_ALIGN_DEBUG is {debug!r}; 1 keeps the debug sections, 0 leaves them out.")
DEBUG = ["-g"] if debug == "1" else ["-g0"]
STRIP = [] if debug == "1" else ["-Wl,--strip-debug"]

label = os.environ.get("ROI_ALIGN_LABEL", "")

FLAGS = [
    "-O3",
    "-std=c++17",
    # Order A rounds every operation on its own: a fused multiply-add has other bits, and so has -march=native, which
    # would not run on another machine anyway.
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-Wall",
    # torch 2.10 is the oldest release whose stable ABI has all that is used here.
    "-DTORCH_TARGET_VERSION=0x020a000000000000",
]
# -fmad=false is -ffp-contract=off for a device.
DEVICE_FLAGS = ["-O3", "-std=c++17", "-fmad=false", "-Xcompiler=-fvisibility=hidden,-Wall,-ffp-contract=off"]


def cuda_toolkit() -> str | None:
    """The folder of the CUDA toolkit, or None: CUDA_HOME, or where the nvcc on the path says that it belongs.

    nvcc may be a script that calls the real one, so where it lies tells nothing.
    """
    if home := os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH"):
        return home
    if shutil.which("nvcc") is None:
        return None
    said = subprocess.run(["nvcc", "--dryrun", "-x", "cu", "-c", os.devnull], capture_output=True, text=True).stderr
    top = re.search(r"^#\$ TOP=(.*)$", said, re.MULTILINE)
    return str(Path(top.group(1)).resolve()) if top else None


def builds_cuda(toolkit: str | None) -> bool:
    """Whether the CUDA library is built; SystemExit if that is asked for and cannot be."""
    wanted = os.environ.get("ROI_ALIGN_CUDA", "")
    if wanted not in ("", "0", "1"):
        raise SystemExit(f"ROI_ALIGN_CUDA is {wanted!r}; 1 builds the CUDA library, 0 leaves it out.")
    missing = "nvcc was not found; set CUDA_HOME" if toolkit is None else ""
    if torch.version.cuda is None:
        missing = f"torch {torch.__version__} is built without CUDA"
    if wanted == "1" and missing:
        raise SystemExit(f"ROI_ALIGN_CUDA=1 asks for the CUDA library, but {missing}.")
    return wanted != "0" and not missing


def sources(*patterns: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for pattern in patterns for path in KERNELS.glob(pattern))


toolkit = cuda_toolkit()
with_cuda = builds_cuda(toolkit)
if with_cuda:
    os.environ["CUDA_HOME"] = str(toolkit)
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", ARCHITECTURES)

# Imported only now: it looks for the toolkit when it is imported.
from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension  # noqa: E402

headers = sources("**/*.h", "**/*.inl")
extensions = [
    CppExtension(
        "roi_align._C",
        sources("*/torch_cpu.cpp", "*/boxes.cpp", "**/cpu/*.cpp"),
        include_dirs=[str(KERNELS)],
        depends=headers,
        extra_compile_args=[*FLAGS, *DEBUG],
        extra_link_args=STRIP,
        py_limited_api=True,
    )
]
if with_cuda:
    extensions.append(
        CUDAExtension(
            "roi_align._C_cuda",
            sources("*/torch_cuda.cpp", "*/boxes.cpp", "**/cuda/*.cu"),
            include_dirs=[str(KERNELS)],
            depends=headers,
            extra_compile_args={"cxx": [*FLAGS, *DEBUG, "-DUSE_CUDA"], "nvcc": DEVICE_FLAGS},
            extra_link_args=STRIP,
            py_limited_api=True,
        )
    )

setup(
    ext_modules=extensions,
    cmdclass={"build_ext": BuildExtension},
    options={
        "bdist_wheel": {"py_limited_api": "cp310"},
        "egg_info": {"tag_build": label and f"+{label}"},
    },
)
