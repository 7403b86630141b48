"""Builds the compiled libraries. pyproject.toml has everything else about the package.

The libraries use torch's stable ABI and not Python's, so one binary serves every Python and every torch from 2.10 on,
as the abi3 tag of the wheel says. The CUDA kernels are a separate library, so that the package works without them.

ROI_ALIGN_CUDA=1 builds the CUDA library, ROI_ALIGN_CUDA=0 leaves it out; by default it is built if nvcc and a torch
with CUDA are installed. The building machine needs no GPU. TORCH_CUDA_ARCH_LIST names the architectures.

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
KERNELS = ROOT / "impl" / "csrc"  # the include path
# Architectures that CUDA 13 supports, from T4 to both Blackwells; newer GPUs without a binary compile the PTX.
ARCHITECTURES = "7.5;8.0;8.6;8.9;9.0;10.0+PTX;12.0"

# Python's own flags may include -g: these flags come later and override it.
debug = os.environ.get("ROI_ALIGN_DEBUG", "")
if debug not in ("", "0", "1"):
    raise SystemExit(f"ROI_ALIGN_DEBUG is {debug!r}; 1 keeps the debug sections, 0 leaves them out.")
DEBUG = ["-g"] if debug == "1" else ["-g0"]
STRIP = [] if debug == "1" else ["-Wl,--strip-debug"]

label = os.environ.get("ROI_ALIGN_LABEL", "")

FLAGS = [
    "-O3",
    "-std=c++17",
    # Order A rounds every operation on its own. A fused multiply-add would give other bits, and so would -march=native,
    # whose code would not run on other machines either.
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-Wall",
    # torch 2.10 is the oldest release whose stable ABI has all functions that the bindings call.
    "-DTORCH_TARGET_VERSION=0x020a000000000000",
]
# -fmad=false is the device's equivalent of -ffp-contract=off.
DEVICE_FLAGS = ["-O3", "-std=c++17", "-fmad=false", "-Xcompiler=-fvisibility=hidden,-Wall,-ffp-contract=off"]


def cuda_toolkit() -> str | None:
    """The folder of the CUDA toolkit, or None: CUDA_HOME, or the folder that the nvcc on the path reports.

    nvcc may be a script that calls the real one, so its own path is no evidence.
    """
    if home := os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH"):
        return home
    if shutil.which("nvcc") is None:
        return None
    output = subprocess.run(["nvcc", "--dryrun", "-x", "cu", "-c", os.devnull], capture_output=True, text=True).stderr
    top = re.search(r"^#\$ TOP=(.*)$", output, re.MULTILINE)
    return str(Path(top.group(1)).resolve()) if top else None


def builds_cuda(toolkit: str | None) -> bool:
    """Whether to build the CUDA library; SystemExit if ROI_ALIGN_CUDA=1 and it cannot be built."""
    setting = os.environ.get("ROI_ALIGN_CUDA", "")
    if setting not in ("", "0", "1"):
        raise SystemExit(f"ROI_ALIGN_CUDA is {setting!r}; 1 builds the CUDA library, 0 leaves it out.")
    missing = "nvcc was not found; set CUDA_HOME" if toolkit is None else ""
    if torch.version.cuda is None:
        missing = f"torch {torch.__version__} is built without CUDA"
    if setting == "1" and missing:
        raise SystemExit(f"ROI_ALIGN_CUDA=1 asks for the CUDA library, but {missing}.")
    return setting != "0" and not missing


def sources(*patterns: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for pattern in patterns for path in KERNELS.glob(pattern))


toolkit = cuda_toolkit()
with_cuda = builds_cuda(toolkit)
if with_cuda:
    os.environ["CUDA_HOME"] = str(toolkit)
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", ARCHITECTURES)

# Imported late, because the import looks for the toolkit.
from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension  # noqa: E402

headers = sources("**/*.h", "**/*.inl")
extensions = [
    CppExtension(
        "roi_align._C",
        sources("common/*.cpp", "*/torch_cpu.cpp", "*/boxes.cpp", "**/cpu/*.cpp"),
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
            sources("common/*.cpp", "*/torch_cuda.cpp", "*/boxes.cpp", "**/cuda/*.cu"),
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
