"""The CUDA kernels as nvcc compiles them, emulated and compared bit by bit with the CPU and with the host build, in two
orders.

If the CPU sums in another order, the reference is the build of the same sources by g++, which test_cuda_on_host.py
judges; these tests judge only results without a fixed order. The emulator stops at an access that is outside of its
allocation, misaligned or racing, so a kernel that finishes has none.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest

from harness.backends import cuda_ptx
from harness.judging.sample import with_boxes
from harness.judging.trial import assert_passes
from harness.kernels import compiling, cuda_on_host
from harness.kernels.compiling import Change
from harness.kernels.drivers.calls import RoiKernels
from harness.kernels.ptx.counting import count_launches
from harness.kernels.ptx.emulator import launch
from harness.kernels.ptx.faults import Fault
from harness.kernels.ptx.library import kernel_library
from harness.measuring.scaling import LARGE_TILES
from harness.operators import AnyCase
from harness.operators.arrays import DIRECTIONS, FLOATS, Array, Direction, differing
from harness.operators.crop_and_resize.case import METHODS
from harness.operators.roi_align.case import SAMPLED
from harness.operators.sheet import OperatorName
from suites.meta.kernels import cuda_cases
from suites.missing import skip_if_missing

with skip_if_missing():
    compiling.compiler()
    compiling.nvcc()

# The fixed fields of every case.
SETTINGS = {"crop_and_resize": [{}], "roi_align": [{"mode": mode} for mode in SAMPLED]}
CPUS_BITS = {"crop_and_resize": ("forward", "grad_image"), "roi_align": ("forward",)}
FORWARD, BACKWARD = 0, 1


def bits_of(operator: OperatorName, inputs: object, direction: Direction) -> Array:
    """The expected result: the CPU's, or the host build's if its order of sums differs."""
    if direction in CPUS_BITS[operator] and not cuda_cases.cpu(operator).refuses(inputs, direction):
        return cuda_cases.cpu(operator).run(inputs, direction)
    return cuda_cases.MAKE[operator](order=FORWARD).run(inputs, direction)


def assert_bits(operator: OperatorName, case: AnyCase, order: int | None) -> None:
    inputs = case.inputs()
    for direction in DIRECTIONS:
        result = cuda_ptx.make(operator, "emulated", order=order).run(inputs, direction)
        expected = bits_of(operator, inputs, direction)
        assert result.dtype == expected.dtype
        assert not differing(result, expected).any(), f"{direction} of {case!r}"


def test_random_cases_have_the_references_bits(operator):
    for case in cuda_cases.draw_cases(operator, 12):
        for setting in SETTINGS[operator]:
            assert_bits(operator, replace(case, **setting), None)


EVERY = {
    f"{operator}-{dtype}-{layout}-{setting}": (operator, dtype, layout, setting)
    for operator, settings in (("crop_and_resize", METHODS), ("roi_align", SAMPLED))
    for dtype, layout, setting in itertools.product(FLOATS, cuda_cases.TWO_LAYOUTS, settings)
}


@pytest.mark.parametrize(("operator", "dtype", "layout", "setting"), EVERY.values(), ids=EVERY)
def test_every_kernel_has_the_references_bits(operator, dtype, layout, setting):
    """Channels in vectors if they are contiguous, more than the lanes of a warp; float32 in both orders."""
    of = {"layout": layout, "image_dtype": dtype}
    if operator == "crop_and_resize":
        case = cuda_cases.crop_case((2, 40, 9, 10), (3, 2), 4, method=setting, extrapolation_value=2.5, **of)
    else:
        case = cuda_cases.pool_case((2, 40, 9, 12), (3, 2), 3, mode=setting, sampling_ratio=2, **of)
    for order in (FORWARD, BACKWARD) if dtype == "float32" else (BACKWARD,):
        assert_bits(operator, case, order)


# The large cases that one or two blocks cover.
WIDE = {
    f"{of}-{name}": (of, case)
    for of in cuda_cases.LARGE
    for name, case in cuda_cases.LARGE[of].items()
    if name.startswith("channels") or name == "more bins than a warp has lanes"
}


@pytest.mark.parametrize(("operator", "case"), WIDE.values(), ids=WIDE)
def test_cases_larger_than_a_warp_or_a_block_have_the_references_bits(operator, case):
    assert_bits(operator, case, BACKWARD)


# The kernels that only large calls launch, on small ones.
OTHER_BUILDS = {
    "crop_and_resize, large tiles": ("crop_and_resize", (LARGE_TILES,)),
    "roi_align, large tiles": ("roi_align", (LARGE_TILES,)),
    "roi_align, taps in scratch": ("roi_align", cuda_cases.TAPS_IN_SCRATCH),
}


@pytest.mark.parametrize("layout", cuda_cases.TWO_LAYOUTS)
@pytest.mark.parametrize(("operator", "changes"), OTHER_BUILDS.values(), ids=OTHER_BUILDS)
def test_kernels_of_large_calls_have_the_references_bits(operator, changes, layout):
    make = {"crop_and_resize": cuda_cases.crop_case, "roi_align": cuda_cases.pool_case}[operator]
    inputs = make((2, 5, 11, 14), (3, 2), 5, layout=layout).inputs()
    library = functools.partial(kernel_library, *changes)
    for direction, order in itertools.product(DIRECTIONS, (FORWARD, BACKWARD)):
        result = cuda_ptx.make(operator, "emulated", library=library, order=order).run(inputs, direction)
        assert not differing(result, bits_of(operator, inputs, direction)).any(), (direction, order)


def test_blocks_that_share_their_scratch_are_a_fault():
    """Blocks run one after another here, so the sums are right all the same."""
    shared = Change("roi_align/cuda/bins.h", "return scratch + blockIdx.x * bytes;", "return scratch;")
    library = functools.partial(kernel_library, *cuda_cases.TAPS_IN_SCRATCH, shared)
    backend = cuda_ptx.make("roi_align", "faulty", library=library)
    with pytest.raises(Fault, match=r"which block \d has (written|read) in the same launch"):
        backend.run(cuda_cases.pool_case((2, 5, 11, 14), (3, 2), 5).inputs(), "forward")


@pytest.mark.parametrize("layout", cuda_cases.TWO_LAYOUTS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_atomic_sums_are_within_the_oracles_bound(dtype, layout):
    backend = cuda_ptx.make("crop_and_resize", "emulated", atomics=True)
    for method in METHODS:
        case = cuda_cases.crop_case((2, 8, 9, 10), (3, 2), 4, method=method, layout=layout, image_dtype=dtype)
        assert_passes(backend=backend, case=case, direction="grad_image")


@pytest.mark.parametrize("mode", SAMPLED)
@pytest.mark.parametrize("layout", cuda_cases.TWO_LAYOUTS)
@pytest.mark.parametrize("scales", cuda_cases.SCALES, ids=str)
def test_a_pyramid_has_the_bits_of_the_host_build(scales, layout, mode):
    pyramid, _ = cuda_cases.pyramid("float32", layout, mode, scales)
    emulated = RoiKernels(kernel_library, launch)
    of_sources = RoiKernels(cuda_on_host.kernel_library, cuda_on_host.launch, FORWARD)
    for direction in DIRECTIONS:
        both = zip(emulated.run(pyramid, direction), of_sources.run(pyramid, direction), strict=True)
        assert not any(differing(result, expected).any() for result, expected in both)


NO_IMAGE = {"crop_and_resize": (-1, 2), "roi_align": (-1.0, 2.0, 3e38, np.nan)}


@pytest.mark.parametrize("layout", cuda_cases.TWO_LAYOUTS)
def test_a_box_of_no_image_gives_nan_and_no_gradient(operator, layout):
    make = {"crop_and_resize": cuda_cases.crop_case, "roi_align": cuda_cases.pool_case}[operator]
    backend = cuda_ptx.make(operator, "emulated")
    for bad in NO_IMAGE[operator]:
        inputs = make((2, 3, 5, 6), (2, 3), 3, layout=layout).inputs()
        cuda_cases.INDICES[operator](inputs)[1] = bad
        assert np.isnan(backend.run(inputs, "forward")[1]).all()
        assert not backend.run(inputs, "grad_boxes")[1].any()
        others = with_boxes(inputs, [0, 2])
        assert np.array_equal(backend.run(inputs, "grad_image"), backend.run(others, "grad_image"))


def test_a_few_blocks_represent_a_grid(operator):
    """All blocks of a case of equal boxes execute the same instructions, so a few represent all."""
    make = {"crop_and_resize": cuda_cases.crop_case, "roi_align": cuda_cases.pool_case}[operator]
    inputs = make((1, 64, 12, 12), (4, 4), 1, layout="channels_last").inputs()
    inputs = with_boxes(inputs, [0] * 64)
    (some,) = count_launches(operator, inputs, "forward", blocks=4)
    (every,) = count_launches(operator, inputs, "forward", blocks=1000)
    assert (some.blocks_run, every.blocks_run) == (4, some.blocks)
    assert some.blocks == every.blocks > 4
    assert some.of_grid(sum(some.instructions.values())) == sum(every.instructions.values())
    assert some.of_grid(some.sectors["loads"]) == pytest.approx(every.sectors["loads"], rel=0.3)
    values = 64 * 64 * 16
    assert every.sectors["stores"] == values * 4 // 32
    assert every.instructions_for(values) == pytest.approx(32 * every.instructions_a_warp * every.warps_run / values)
