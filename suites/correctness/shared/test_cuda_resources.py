"""The CUDA kernels compile for every architecture without a warning or a spill; needs no GPU."""

from __future__ import annotations

from collections import Counter

import pytest

from harness.kernels import resources as cuda_resources
from harness.kernels.compiling import nvcc
from harness.kernels.resources import DoesNotCompile, architectures, compile_all
from suites.missing import skip_if_missing

pytestmark = [pytest.mark.package, pytest.mark.cpu]
with skip_if_missing():
    nvcc()


def test_every_kernel_compiles_for_every_architecture_without_a_spill():
    """`-rA` prints the report: the registers of every kernel, architecture by architecture."""
    usages = compile_all()
    kernels = {usage.kernel for usage in usages}
    for kernel in sorted(kernels):
        line = {usage.architecture: usage.registers for usage in usages if usage.kernel == kernel}
        print(f"{kernel:40} registers: {line}")
        assert list(line) == architectures()
    assert {name.partition("<")[0] for name in kernels} == {
        "forward_kernel", "atomic_kernel", "reach_kernel", "gather_kernel", "grad_boxes_kernel", "add_parts_kernel",
        "planes_kernel", "planes_warp_kernel", "pixels_kernel", "roi_reach_kernel", "mean_gather_kernel",
        "slopes_kernel", "roi_add_parts_kernel",
        "largest_kernel", "largest_gather_kernel", "largest_slopes_kernel",
    }  # fmt: skip
    assert all(usage.fits for usage in usages), [usage for usage in usages if not usage.fits]
    # Images of four dtypes, in steps of one channel or of 16 bytes of channels.
    assert Counter(name.partition("<")[0] for name in kernels)["forward_kernel"] == 8


def test_a_spill_and_a_stack_frame_are_seen(tmp_path):
    source = tmp_path / "planted.cu"
    source.write_text("""
        __global__ void __launch_bounds__(1024) planted(float* data, const int* at) {
          float kept[64];
          for (int i = 0; i < 64; ++i) kept[i] = data[i * 7];
          for (int i = 0; i < 64; ++i) data[i] = kept[at[i]] + kept[i];
        }""")
    usages = compile_all([source])
    assert [usage.architecture for usage in usages] == architectures()
    assert not any(usage.fits for usage in usages)


def test_a_warning_is_an_error(tmp_path):
    source = tmp_path / "planted.cu"
    source.write_text("__global__ void planted(float* data) { int unused = 3; data[0] = 1; }")
    with pytest.raises(DoesNotCompile, match="unused"):
        compile_all([source])


def test_a_kept_report_is_of_the_very_sources(tmp_path, monkeypatch):
    """A report cached for another header, flag or source is not used."""
    kernels = tmp_path / "csrc"
    kernels.mkdir()
    monkeypatch.setattr(cuda_resources, "KERNELS", kernels)
    monkeypatch.setattr(cuda_resources, "CACHE", tmp_path / "kept")
    monkeypatch.setattr(cuda_resources, "architectures", lambda: ["sm_80"])
    source, header = kernels / "planted.cu", kernels / "name.h"
    source.write_text('#include "name.h"\n__global__ void NAME(float* data) { data[0] = 1; }')

    def names() -> list[str]:
        return [usage.kernel for usage in compile_all([source])]

    header.write_text("#define NAME first")
    assert names() == ["first"]
    header.write_text("#define NAME second")
    assert names() == ["second"]
    source.write_text("__global__ void third(float* data) { data[0] = 1; }")
    assert names() == ["third"]
    with monkeypatch.context() as without:  # the second time the cache answers
        without.setattr(cuda_resources, "subprocess", None)
        without.setattr(cuda_resources, "demangle", lambda text: text)
        assert len(compile_all([source])) == 1


def test_what_is_examined_is_what_is_built():
    assert "-fmad=false" in cuda_resources.build_setting("DEVICE_FLAGS")
    assert architectures() == ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"]
    with pytest.raises(LookupError, match="no constant NOPE"):
        cuda_resources.build_setting("NOPE")
