"""The CUDA kernels that are built fit every architecture: no warning, no spill, no stack; needs no GPU."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from harness.kernels import resources
from harness.kernels.binaries import architectures_in, built_library, compile_cuda, disassembler
from harness.kernels.compiling import Change, build_setting, nvcc
from harness.kernels.ptx.library import kernel_library
from harness.kernels.resources import architectures, complete_library, usages
from harness.repository import MissingLibrary
from suites.missing import skip_if_missing

pytestmark = [pytest.mark.package, pytest.mark.cpu]
with skip_if_missing():
    nvcc()
    disassembler()
    LIBRARY = built_library()


def test_every_kernel_fits_every_architecture():
    """`-rA` prints the report: the registers of every kernel, architecture by architecture."""
    rows = usages(LIBRARY)
    kernels = {usage.kernel for usage in rows}
    for kernel in sorted(kernels):
        registers = {usage.architecture: usage.registers for usage in rows if usage.kernel == kernel}
        print(f"{kernel:40} registers: {registers}")
        assert set(registers) == set(architectures_in(LIBRARY))
    assert {name.partition("<")[0] for name in kernels} == {
        "forward_kernel", "atomic_kernel", "reach_kernel", "gather_kernel", "grad_boxes_kernel", "add_parts_kernel",
        "planes_kernel", "planes_warp_kernel", "pixels_kernel", "roi_reach_kernel", "mean_gather_kernel",
        "slopes_kernel", "roi_add_parts_kernel",
        "largest_kernel", "largest_gather_kernel", "largest_slopes_kernel",
    }  # fmt: skip
    assert all(usage.fits for usage in rows), [usage for usage in rows if not usage.fits]
    # Images of four dtypes, in steps of one channel or of 16 bytes of channels.
    assert Counter(name.partition("<")[0] for name in kernels)["forward_kernel"] == 8


# An array whose index is not known when compiling, and more values in use than there are registers.
PLANTED = """
__global__ void stack(float* data, const int* at) {
  float values[64];
  for (int i = 0; i < 64; ++i) values[i] = data[i * 7];
  for (int i = 0; i < 64; ++i) data[i] = values[at[i]] + values[i];
}
__global__ void __launch_bounds__(1024) spill(float* data) {
  float values[96];
#pragma unroll
  for (int i = 0; i < 96; ++i) values[i] = data[i * blockDim.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 96; ++i) data[i * blockDim.x + threadIdx.x] = values[i] * values[(i + 1) % 96];
}
"""


@pytest.mark.parametrize("architecture", ["sm_75", "sm_90", "sm_120"])
def test_a_spill_and_a_stack_do_not_fit(tmp_path, architecture):
    source = tmp_path / "planted.cu"
    source.write_text(PLANTED)
    rows = usages(compile_cuda(source, architecture))
    assert {usage.kernel: (usage.architecture, usage.fits) for usage in rows} == {
        "stack": (architecture, False), "spill": (architecture, False),
    }  # fmt: skip


def test_a_warning_is_an_error():
    """In the project's sources; the headers of CUDA have some."""
    begin = "namespace roi_align::cuda {\n"
    planted = f"{begin}inline void planted() {{ int unused; }}\n"
    with pytest.raises(RuntimeError, match="unused"):
        kernel_library(Change("crop_and_resize/cuda/grad_image_atomic.cu", begin, planted))


def test_the_library_is_built_for_the_architectures_of_the_setup():
    assert "-fmad=false" in build_setting("DEVICE_FLAGS")
    assert architectures() == ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]
    # The variable asks for others.
    assert architectures_in(LIBRARY) == architectures() or "TORCH_CUDA_ARCH_LIST" in os.environ
    with pytest.raises(LookupError, match="no constant NOPE"):
        build_setting("NOPE")


def test_a_library_for_some_architectures_is_incomplete(monkeypatch):
    monkeypatch.setattr(resources, "architectures_in", lambda library: ["sm_90", "sm_120"])
    with pytest.raises(MissingLibrary, match="built without sm_75, sm_80, sm_86, sm_89, sm_100; build it without"):
        complete_library()


def test_a_stack_of_unknown_size_is_an_error(monkeypatch):
    report = "arch = sm_90\n Function _Z1fv:\n  REG:8 STACK:UNKNOWN SHARED:0 LOCAL:0 CONSTANT[0]:8\n"
    monkeypatch.setattr(resources, "dump", lambda *arguments: report)
    with pytest.raises(ValueError, match="UNKNOWN"):
        usages(LIBRARY)
