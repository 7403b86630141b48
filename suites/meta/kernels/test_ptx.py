"""What nvcc makes of the CUDA kernels, emulated: beside the CPU by bits, and within the oracle's bound."""

from __future__ import annotations

from dataclasses import replace

from harness.backends import cuda_ptx
from harness.kernels import compiling
from harness.operators.arrays import differing
from harness.operators.roi_align.case import SAMPLED
from suites.meta.kernels import cuda_cases
from suites.missing import skip_if_missing

with skip_if_missing():
    compiling.compiler()
    compiling.nvcc()

# What a case is asked with, whatever is drawn.
SETTINGS = {"crop_and_resize": [{}], "roi_align": [{"mode": mode} for mode in SAMPLED]}
CPUS_BITS = {"crop_and_resize": ("forward", "grad_image"), "roi_align": ("forward",)}


def test_the_bits_are_the_cpus(operator):
    emulated = cuda_ptx.make(operator, "emulated")
    for case in cuda_cases.drawn(operator, 12):
        for setting in SETTINGS[operator]:
            inputs = replace(case, **setting).inputs()
            for direction in CPUS_BITS[operator]:
                if not cuda_cases.cpu(operator).refuses(inputs, direction):
                    result, expected = (of.run(inputs, direction) for of in (emulated, cuda_cases.cpu(operator)))
                    assert not differing(result, expected).any(), f"{direction} of {case!r}"
