"""Builds the compiled library. Everything else about the package stands in pyproject.toml.

The library is built on torch's stable ABI and knows nothing of Python, so one binary serves every Python and every
torch from 2.10 on; that is what the abi3 tag of the wheel says.
"""

from pathlib import Path

from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

ROOT = Path(__file__).parent
SOURCES = [
    "impl/csrc/torch_binding.cpp",
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("impl/csrc/cpu/*.cpp")),
]

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

setup(
    ext_modules=[
        CppExtension(
            "roi_align._C",
            SOURCES,
            depends=sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("impl/csrc/**/*.[hi]*")),
            extra_compile_args=FLAGS,
            py_limited_api=True,
        )
    ],
    cmdclass={"build_ext": BuildExtension},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
