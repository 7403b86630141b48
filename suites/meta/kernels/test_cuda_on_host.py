"""The CUDA kernels without a GPU: their sources compiled for the host, judged, and compared with the CPU bit by bit.

The executor's own checks: test_cuda_executor.py; planted faults: test_cuda_faults.py.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness import properties
from harness.judging.sample import with_boxes
from harness.judging.trial import assert_no_side_effect, assert_passes
from harness.kernels import compiling
from harness.kernels.compiling import Change
from harness.kernels.cuda_on_host import kernel_library, launch
from harness.kernels.drivers.calls import RoiKernels, of_one_level
from harness.operators import OPERATORS, AnyCase
from harness.operators.arrays import DIRECTIONS, FLOATS, Array, Direction, differing
from harness.operators.roi_align.case import SAMPLED, RoiCase
from suites.meta.kernels import cuda_cases
from suites.meta.kernels.cuda_cases import kernels
from suites.missing import skip_if_missing

with skip_if_missing():
    compiling.compiler()

KERNELS = [each for operator in OPERATORS for each in kernels(operator)]
ids = ["-".join((backend.sheet.operator, backend.name, direction)) for backend, direction in KERNELS]
each_kernel = pytest.mark.parametrize(("backend", "direction"), KERNELS, ids=ids)
each_direction = pytest.mark.parametrize("direction", DIRECTIONS)
each_mode = pytest.mark.parametrize("mode", SAMPLED)
each_layout = pytest.mark.parametrize("layout", cuda_cases.TWO_LAYOUTS)
roi = cuda_cases.MAKE["roi_align"]()
# The fixed fields of every case.
SETTINGS = {"crop_and_resize": [{}], "roi_align": [{"mode": mode} for mode in SAMPLED]}
# The number of places at which the oracle checks the image gradient of a large case; roi_align's takes longer.
PLACES = {"crop_and_resize": 50, "roi_align": 12}
# The directions with the CPU's bits, and those whose bits no partition of the work changes. "Small chunks" takes bins
# together by twos, which gives other sums for roi_align's maps.
CPUS_BITS = {"crop_and_resize": ("forward", "grad_image"), "roi_align": ("forward",)}
ONE_ORDER = {"crop_and_resize": DIRECTIONS, "roi_align": ("forward", "grad_image")}
OTHER_SUMS = {("small chunks", "grad_image")}


def each_build(*operators_builds):
    names = [f"{operator}-{build}" for operator, build in operators_builds]
    return pytest.mark.parametrize(("operator", "build"), operators_builds, ids=names)


ALL_BUILDS = [(operator, build) for operator, builds in cuda_cases.BUILDS.items() for build in builds]


@each_kernel
@settings(max_examples=60)
@given(data=st.data())
def test_results_are_within_the_oracles_bound(backend, direction, data):
    case = data.draw(cuda_cases.cases(backend.sheet.operator))
    for setting in SETTINGS[backend.sheet.operator]:
        assert_passes(backend=backend, case=replace(case, **setting), direction=direction)


@each_kernel
def test_calls_have_no_side_effect(backend, direction):
    for case in cuda_cases.draw_cases(backend.sheet.operator, 30):
        assert_no_side_effect(backend=backend, case=case, direction=direction)


EVERY_LAYOUT = properties.find("every layout", "roi_align")


@each_direction
@settings(max_examples=40)
@given(case=EVERY_LAYOUT.cases(roi.sheet))
@example(case=RoiCase((1, 3, 1, 2), ((0, -0.5, -0.25, 1.5, 0.0),), (1, 2), sampling_ratio=2, boxes_dtype="float64"))
@example(case=RoiCase((1, 1, 1, 2), ((0, -0.25, -0.25, 0.0, 0.0),), (1, 1), values="inf_pixel"))
def test_layouts_sum_in_the_declared_order(direction, case):
    """In the order of the layout, as the gradient of a box sums over the channels."""
    verdict = EVERY_LAYOUT.holds(roi, case, direction)
    assert verdict is None or verdict.passed, str(verdict)


def assert_bits_of_the_cpu(
    operator: str, case: AnyCase, message: str, directions: Iterable[Direction] = DIRECTIONS, *changes: Change
) -> None:
    backend = cuda_cases.MAKE[operator](library=functools.partial(kernel_library, *changes))
    for direction in (each for each in CPUS_BITS[operator] if each in directions):
        if not cuda_cases.cpu(operator).refuses(case.inputs(), direction):
            both = (cuda_cases.cpu(operator), backend)
            expected, result = (each.run(case.inputs(), direction) for each in both)
            assert result.dtype == expected.dtype
            assert not differing(result, expected).any(), f"{direction}, {message}"


def test_results_have_the_cpus_bits(operator):
    for case in cuda_cases.draw_cases(operator, 200):
        for setting in SETTINGS[operator]:
            assert_bits_of_the_cpu(operator, replace(case, **setting), repr(case))


LARGE = {f"{of}-{name}": (of, case) for of in OPERATORS for name, case in cuda_cases.LARGE[of].items()}


@pytest.mark.parametrize("case", cuda_cases.LARGE["crop_and_resize"].values(), ids=cuda_cases.LARGE["crop_and_resize"])
def test_large_cases_in_large_tiles(case):
    assert_bits_of_the_cpu("crop_and_resize", case, "of a large case", ("grad_image",), cuda_cases.LARGE_TILES)


@pytest.mark.parametrize(("operator", "case"), LARGE.values(), ids=LARGE)
def test_large_cases(operator, case):
    assert_bits_of_the_cpu(operator, case, "of a large case")
    some = np.random.Generator(np.random.PCG64(1)).integers(case.shape, size=(PLACES[operator], 4)).tolist()
    first = len(case.boxes[0]) - 4  # the index is not an edge
    edges = [(0, first), (0, first + 1), (1, first + 2), (1, first + 3)]
    places = {"grad_image": [tuple(place) for place in some], "grad_boxes": edges}
    for backend, direction in kernels(operator):
        if direction in places:
            assert_passes(backend=backend, case=case, direction=direction, places=places[direction])


@each_build(*ALL_BUILDS)
@pytest.mark.parametrize("order", cuda_cases.ORDERS)
def test_thread_order_and_partition_change_no_bit(operator, build, order):
    library = functools.partial(kernel_library, *cuda_cases.BUILDS[operator][build])
    other, usual = (cuda_cases.MAKE[operator](library=library, order=each) for each in (cuda_cases.ORDERS[order], 0))
    for case in cuda_cases.draw_cases(operator, 40):
        for direction in DIRECTIONS:
            one_order = direction in ONE_ORDER[operator] and (build, direction) not in OTHER_SUMS
            reference = cuda_cases.MAKE[operator]() if one_order else usual
            result = other.run(case.inputs(), direction)
            assert result.tobytes() == reference.run(case.inputs(), direction).tobytes(), f"{direction}: {case!r}"


@each_build(*((operator, build) for operator, build in ALL_BUILDS if cuda_cases.BUILDS[operator][build]))
@each_direction
def test_every_partition_is_within_the_oracles_bound(operator, direction, build):
    other = cuda_cases.MAKE[operator](library=functools.partial(kernel_library, *cuda_cases.BUILDS[operator][build]))
    for case in cuda_cases.draw_cases(operator, 60):
        assert_passes(backend=other, case=case, direction=direction)


FOUR_BOXES = {
    "crop_and_resize": [cuda_cases.crop_case((2, 3, 5, 6), (2, 3), 4, layout="offset")],
    "roi_align": [cuda_cases.pool_case((2, 3, 5, 6), (2, 3), 4, layout="offset", mode=mode) for mode in SAMPLED],
}
NO_IMAGE = {"crop_and_resize": (-1, 2), "roi_align": (-1.0, 2.0, 0.5, 3e38, np.nan, np.inf, -np.inf)}


OF_NO_IMAGE = {
    f"{name}-{bad}": (*each, bad)
    for each, name in zip(KERNELS, ids, strict=True)
    for bad in NO_IMAGE[each[0].sheet.operator]
}


@pytest.mark.parametrize(("backend", "direction", "bad"), OF_NO_IMAGE.values(), ids=OF_NO_IMAGE)
def test_a_box_of_no_image_gives_nan_and_no_gradient(backend, direction, bad):
    operator, rows = backend.sheet.operator, [0, 3]
    for case in FOUR_BOXES[operator]:
        inputs = case.inputs()
        cuda_cases.INDICES[operator](inputs)[1:3] = bad
        result, expected = (backend.run(each, direction) for each in (inputs, with_boxes(inputs, rows)))
        if direction == "grad_image":
            assert np.array_equal(result, expected)
        else:
            assert np.array_equal(result[rows], expected)
            assert np.isnan(result[1:3]).all() if direction == "forward" else not result[1:3].any()


@each_mode
@each_layout
def test_an_infinite_gradient_reaches_only_pixels_that_are_read(layout, mode):
    options = {"sampling_ratio": 1, "layout": layout, "aligned": True, "mode": mode}
    inputs = RoiCase((1, 3, 20, 20), ((0, 2.0, 2.0, 17.0, 17.0),), (2, 2), **options).inputs()
    upstream = np.full_like(inputs.upstream, np.inf)
    result = roi.run(replace(inputs, upstream=upstream), "grad_image")
    read_pixels = roi.run(replace(inputs, upstream=np.ones_like(upstream)), "grad_image") != 0
    assert np.array_equal(np.isinf(result), read_pixels)
    assert not result[~read_pixels].any()


PYRAMIDS = RoiKernels(kernel_library, launch)


@each_mode
@each_layout
@pytest.mark.parametrize("scales", cuda_cases.SCALES, ids=str)
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_pyramid_equals_a_launch_for_each_map(dtype, scales, layout, mode):
    """Bit by bit, in every direction: one launch for all maps equals a launch for each."""
    pyramid, map_of = cuda_cases.pyramid(dtype, layout, mode, scales)
    kernels = PYRAMIDS
    (crops,), (of_boxes,) = kernels.run(pyramid, "forward"), kernels.run(pyramid, "grad_boxes")
    of_maps = kernels.run(pyramid, "grad_image")
    nowhere = [row for row, at in enumerate(map_of) if at < 0]
    assert not crops[nowhere].any()
    assert not of_boxes[nowhere].any()
    for level, scale in enumerate(scales):
        own = [row for row, at in enumerate(map_of) if at == level]
        alone = replace(
            pyramid,
            maps=[pyramid.maps[level]],
            boxes=pyramid.boxes[own],
            upstream=np.ascontiguousarray(pyramid.upstream[own]) if layout == "contiguous" else pyramid.upstream[own],
            scales=[scale],
        )
        assert np.array_equal(crops[own], kernels.run(alone, "forward")[0])
        assert np.array_equal(of_maps[level], kernels.run(alone, "grad_image")[0])
        assert np.array_equal(of_boxes[own], kernels.run(alone, "grad_boxes")[0])


@each_layout
def test_values_are_pooled_at_the_maps_largest_samples(layout):
    """The samples that the maximum's double backward selects. Twice and minus the maps do not round, and so reveal
    them."""
    case = cuda_cases.pool_case((2, 9, 9, 10), (3, 2), 5, layout=layout, mode="max", sampling_ratio=2)
    of = of_one_level(case.inputs())
    twice: Array = 2 * case.inputs().image
    (result,) = PYRAMIDS.run(replace(of, values=[twice]), "forward")
    assert np.array_equal(result, PYRAMIDS.run(replace(of, maps=[twice]), "forward")[0])
    negated: Array = -case.inputs().image
    (result,) = PYRAMIDS.run(replace(of, values=[negated]), "forward")
    assert np.array_equal(-result, PYRAMIDS.run(of, "forward")[0])
