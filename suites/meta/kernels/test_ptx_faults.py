"""The emulator detects faults planted in the CUDA kernels, in nvcc's output, with a message for each."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from harness.backends import cuda_ptx
from harness.kernels import compiling
from harness.kernels.compiling import Change
from harness.kernels.ptx.faults import Fault
from harness.kernels.ptx.library import kernel_library
from harness.operators.arrays import differing
from suites.meta.kernels import cuda_cases
from suites.missing import skip_if_missing

with skip_if_missing():
    compiling.compiler()
    compiling.nvcc()

ORDERS = {"forward": 0, "backward": 1}
VECTORS = cuda_cases.crop_case((1, 8, 9, 10), (3, 2), 2, layout="channels_last")
PLANES = cuda_cases.crop_case((1, 9, 9, 10), (3, 2), 2)
NEAREST = cuda_cases.crop_case((1, 9, 9, 10), (3, 2), 2, method="nearest")
POOLS = cuda_cases.pool_case((1, 9, 9, 12), (3, 2), 2, sampling_ratio=2)
FORWARD, ATOMIC = "crop_and_resize/cuda/forward.cu", "crop_and_resize/cuda/grad_image_atomic.cu"
WARP, TABLES_MADE = "roi_align/cuda/forward_planes_warp.cu", "taps->tap[k].at *= stride;\n    }\n  }\n"
SLOPES, ROI_SLOPES = "crop_and_resize/cuda/grad_boxes.cu", "roi_align/cuda/grad_boxes.cu"
LINE, THREAD = r"\(\S+\.(cu|h):\d+\)", r"\(\d+, 0, 0\)"
FAULTS = {
    # In backward order the level that is read too early is a large number.
    "a removed barrier": (
        "roi_align", "grad_boxes", POOLS,
        Change(ROI_SLOPES, "part.row);\n    __syncthreads();", "part.row);\n"),
        rf"^ld\.param\.f64 {LINE}: thread {THREAD} reads beyond the kernel's parameters\. In block|"
        rf"^(ld|st)\.shared\.\S+ {LINE}: thread {THREAD} (reads|writes) byte \d+ of shared memory, which thread "
        rf"{THREAD} has (written|read) {LINE}, with no barrier .*between. In block {THREAD} of slopes_kernel<"),
    # The fiber executor misses this fault: threads wait at the vote before it.
    "a removed barrier of a warp": (
        "roi_align", "forward", POOLS,
        Change(WARP, f"{TABLES_MADE}  __syncwarp();", TABLES_MADE),
        rf"^(ld|st)\.shared\.\S+ {LINE}: thread {THREAD} (reads|writes) byte \d+ of shared memory, which thread "
        rf"{THREAD} has (written|read) {LINE}, with no barrier .*between. In block {THREAD} of planes_warp_kernel<"),
    "an off-by-one": (
        "crop_and_resize", "grad_boxes", PLANES,
        Change(SLOPES, "c < channels; c += step", "c <= channels; c += step"),
        rf"^ld\.global\.f32 {LINE}: thread {THREAD} reads 4 bytes at byte \d+ of image, which has \d+, outside of "
        rf"every allocation. In block {THREAD} of grad_boxes_kernel<float, 1>"),
    "a misaligned vector": (
        "crop_and_resize", "grad_image", VECTORS,
        Change(ATOMIC, "load<T, count>(crop + c", "load<T, count>(crop + 1 + c"),
        rf"^ld\.global\.v4\.\w32 {LINE}: thread {THREAD} reads 16 bytes at byte \d+ of crops, which has \d+, an "
        rf"address that is no multiple of 16. In block {THREAD} of atomic_kernel<float, 4>"),
    "a box left out": (
        "crop_and_resize", "grad_boxes", PLANES,
        Change(SLOPES, "unit < boxes.count * parts; unit", "unit + 1 < boxes.count * parts; unit"),
        rf"^ld\.global\.f64 {LINE}: thread \(4, 0, 0\) reads 8 bytes at byte 32 of scratch, which has 64, where "
        r"nothing has been written. In block \(0, 0, 0\) of add_parts_kernel<float>"),
    "an input written to": (
        "crop_and_resize", "grad_image", NEAREST,
        Change(ATOMIC, "add(pixel + site.top_left, g);", "const_cast<T*>(crop)[c * crop_stride] = T();"),
        rf"^st\.global\.u32 {LINE}: thread {THREAD} writes 4 bytes at byte \d+ of crops, which has \d+, an input"),
}  # fmt: skip


@pytest.mark.parametrize(("operator", "direction", "case", "change", "message"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_detected(operator, direction, case, change, message):
    """In both orders of warps: a race is detected in either order."""
    for order in ORDERS.values():
        library = functools.partial(kernel_library, change)
        backend = cuda_ptx.make(operator, "faulty", atomics=True, library=library, order=order)
        with pytest.raises(Fault, match=message):
            backend.run(case.inputs(), direction)


def test_an_off_by_one_is_detected_whatever_lies_behind_the_array():
    """The upstream gradient directly behind the image: the wrong reads stay within memory that the call may read."""
    operator, direction, case, change, message = FAULTS["an off-by-one"]
    inputs = case.inputs()
    both = np.concatenate([inputs.image.ravel(), inputs.upstream.ravel()])
    image, upstream = np.split(both, [inputs.image.size])
    assert upstream.nbytes > inputs.image[0, 0].nbytes
    neighbours = replace(
        inputs, image=image.reshape(inputs.image.shape), upstream=upstream.reshape(inputs.upstream.shape)
    )
    backend = cuda_ptx.make(operator, "faulty", library=functools.partial(kernel_library, change))
    with pytest.raises(Fault, match=message):
        backend.run(neighbours, direction)


UNSET = Change(WARP, "  for (int k = list.count; k < kTaps; ++k) taps.tap[k].at = -1;\n", "")


def test_an_index_that_is_not_set_is_detected_in_backward_order():
    """In forward order memory is full of -1, by which the kernel itself marks a missing tap."""
    backend = cuda_ptx.make(
        "roi_align", "faulty", library=functools.partial(kernel_library, UNSET), order=ORDERS["backward"]
    )
    with pytest.raises(Fault, match=r"outside of every allocation.* of planes_warp_kernel<"):
        backend.run(POOLS.inputs(), "forward")


def test_the_unchanged_sources_have_no_fault():
    for operator, direction, case, *_ in FAULTS.values():
        for order in ORDERS.values():
            cuda_ptx.make(operator, "sound", atomics=True, order=order).run(case.inputs(), direction)


def test_a_fused_multiply_add_changes_bits():
    change = Change(FORWARD, "left + (right - left) * site.lx", "fma(right - left, site.lx, left)")
    fused = cuda_ptx.make("crop_and_resize", "fused", library=functools.partial(kernel_library, change))
    for case in (VECTORS, PLANES):
        inputs = case.inputs()
        expected = cuda_cases.cpu("crop_and_resize").run(inputs, "forward")
        assert not differing(cuda_ptx.make("crop_and_resize", "sound").run(inputs, "forward"), expected).any()
        assert differing(fused.run(inputs, "forward"), expected).any()
