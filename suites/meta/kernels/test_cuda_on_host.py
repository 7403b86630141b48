"""The CUDA kernels without a GPU: their own sources on the host, judged, and beside the CPU by bits.

What the executor itself can see is shown in test_cuda_executor.py; faults are planted in test_cuda_faults.py.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness import properties
from harness.backends.cuda_on_host import PyramidCall, RoiKernels, of_one_level
from harness.judging.sample import with_boxes
from harness.judging.trial import assert_no_side_effect, assert_passes
from harness.kernels import compiling
from harness.kernels.cuda_on_host import kernel_library
from harness.operators import OPERATORS, AnyCase
from harness.operators.arrays import DIRECTIONS, FLOATS, Array
from harness.operators.crop_and_resize.case import Case
from harness.operators.roi_align.case import SAMPLED, RoiCase
from harness.repository import MissingLibrary
from suites.meta.kernels.cuda_cases import (
    BUILDS,
    INDICES,
    LARGE,
    MAKE,
    ORDERS,
    cases,
    cpu,
    crop_boxes,
    drawn,
    kernels,
    spread_boxes,
)

try:
    compiling.compiler()
except MissingLibrary as missing:
    pytest.skip(str(missing), allow_module_level=True)

KERNELS = [each for operator in OPERATORS for each in kernels(operator)]
ids = ["-".join((backend.sheet.operator, backend.name, direction)) for backend, direction in KERNELS]
each_kernel = pytest.mark.parametrize(("backend", "direction"), KERNELS, ids=ids)
each_direction = pytest.mark.parametrize("direction", DIRECTIONS)
each_mode = pytest.mark.parametrize("mode", SAMPLED)
roi = MAKE["roi_align"]()
# What a case is asked with, whatever is drawn.
SETTINGS = {"crop_and_resize": [{}], "roi_align": [{"mode": mode} for mode in SAMPLED]}
# At how many places the oracle looks at the image gradient of a large case: it takes longer for roi_align's.
PLACES = {"crop_and_resize": 50, "roi_align": 12}
# The directions that have the CPU's bits, and those whose bits no cut of the work changes: of roi_align's gradients
# each cut has its own order of sums.
CPUS_BITS = {"crop_and_resize": ("forward", "grad_image"), "roi_align": ("forward",)}
ONE_ORDER = {"crop_and_resize": DIRECTIONS, "roi_align": ("forward",)}


def each_build(*operators_builds):
    names = [f"{operator}-{build}" for operator, build in operators_builds]
    return pytest.mark.parametrize(("operator", "build"), operators_builds, ids=names)


ALL_BUILDS = [(operator, build) for operator, builds in BUILDS.items() for build in builds]


@each_kernel
@settings(max_examples=60)
@given(data=st.data())
def test_within_the_oracles_bound(backend, direction, data):
    case = data.draw(cases(backend.sheet.operator))
    for setting in SETTINGS[backend.sheet.operator]:
        assert_passes(backend=backend, case=replace(case, **setting), direction=direction)


@each_kernel
def test_calls_have_no_side_effect(backend, direction):
    for case in drawn(backend.sheet.operator, 30):
        assert_no_side_effect(backend=backend, case=case, direction=direction)


EVERY_LAYOUT = properties.find("every layout", "roi_align")


@each_direction
@settings(max_examples=40)
@given(case=EVERY_LAYOUT.cases(roi.sheet))
@example(case=RoiCase((1, 3, 1, 2), ((0, -0.5, -0.25, 1.5, 0.0),), (1, 2), sampling_ratio=2, boxes_dtype="float64"))
@example(case=RoiCase((1, 1, 1, 2), ((0, -0.25, -0.25, 0.0, 0.0),), (1, 1), values="inf_pixel"))
def test_layouts_are_summed_as_the_sheet_says(direction, case):
    """In the order of the layout, where the gradient of a box runs over the channels."""
    verdict = EVERY_LAYOUT.holds(roi, case, direction)
    assert verdict is None or verdict.passed, str(verdict)


def assert_bits_of_the_cpu(operator: str, case: AnyCase, message: str) -> None:
    for direction in CPUS_BITS[operator]:
        if not cpu(operator).refuses(case.inputs(), direction):
            expected, result = (each.run(case.inputs(), direction) for each in (cpu(operator), MAKE[operator]()))
            assert result.dtype == expected.dtype
            assert result.tobytes() == expected.tobytes(), f"{direction}, {message}"


def test_the_bits_are_the_cpus(operator):
    for case in drawn(operator, 200):
        for setting in SETTINGS[operator]:
            assert_bits_of_the_cpu(operator, replace(case, **setting), repr(case))


@pytest.mark.parametrize(
    ("operator", "name"), [pytest.param(of, name, id=f"{of}-{name}") for of in OPERATORS for name in LARGE[of]]
)
def test_large_cases(operator, name):
    case = LARGE[operator][name]
    assert_bits_of_the_cpu(operator, case, name)
    some = np.random.Generator(np.random.PCG64(1)).integers(case.shape, size=(PLACES[operator], 4)).tolist()
    first = len(case.boxes[0]) - 4  # the index is no edge
    edges = [(0, first), (0, first + 1), (1, first + 2), (1, first + 3)]
    places = {"grad_image": [tuple(place) for place in some], "grad_boxes": edges}
    for backend, direction in kernels(operator):
        if direction in places:
            assert_passes(backend=backend, case=case, direction=direction, places=places[direction])


@each_build(*ALL_BUILDS)
@pytest.mark.parametrize("order", ORDERS)
def test_neither_the_order_of_threads_nor_the_cut_changes_a_bit(operator, build, order):
    library = functools.partial(kernel_library, *BUILDS[operator][build])
    other, usual = (MAKE[operator](library=library, order=each) for each in (ORDERS[order], 0))
    for case in drawn(operator, 40):
        for direction in DIRECTIONS:
            reference = MAKE[operator]() if direction in ONE_ORDER[operator] else usual
            result = other.run(case.inputs(), direction)
            assert result.tobytes() == reference.run(case.inputs(), direction).tobytes(), f"{direction}: {case!r}"


@each_build(*((operator, build) for operator, build in ALL_BUILDS if BUILDS[operator][build]))
@each_direction
def test_every_cut_is_within_the_oracles_bound(operator, direction, build):
    other = MAKE[operator](library=functools.partial(kernel_library, *BUILDS[operator][build]))
    for case in drawn(operator, 60):
        assert_passes(backend=other, case=case, direction=direction)


FOUR_BOXES = {
    "crop_and_resize": [Case(shape=(2, 3, 5, 6), crop_size=(2, 3), layout="offset", **crop_boxes(4))],
    "roi_align": [
        RoiCase(shape=(2, 3, 5, 6), output_size=(2, 3), layout="offset", mode=mode, **spread_boxes(4, 5, 6))
        for mode in SAMPLED
    ],
}
NO_IMAGE = {"crop_and_resize": (-1, 2), "roi_align": (-1.0, 2.0, 0.5, 3e38, np.nan, np.inf, -np.inf)}


@pytest.mark.parametrize(
    ("backend", "direction", "bad"),
    [
        pytest.param(*each, bad, id=f"{name}-{bad}")
        for each, name in zip(KERNELS, ids, strict=True)
        for bad in NO_IMAGE[each[0].sheet.operator]
    ],
)
def test_a_box_of_no_image_gives_nan_and_no_gradient(backend, direction, bad):
    operator, kept = backend.sheet.operator, [0, 3]
    for case in FOUR_BOXES[operator]:
        inputs = case.inputs()
        INDICES[operator](inputs)[1:3] = bad
        result, expected = (backend.run(each, direction) for each in (inputs, with_boxes(inputs, kept)))
        if direction == "grad_image":
            assert np.array_equal(result, expected)
        else:
            assert np.array_equal(result[kept], expected)
            assert np.isnan(result[1:3]).all() if direction == "forward" else not result[1:3].any()


@each_mode
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_an_infinite_gradient_reaches_no_pixel_that_is_not_read(layout, mode):
    inputs = RoiCase(
        shape=(1, 3, 20, 20), boxes=((0, 2.0, 2.0, 17.0, 17.0),), output_size=(2, 2), sampling_ratio=1, layout=layout,
        aligned=True, mode=mode,
    ).inputs()  # fmt: skip
    upstream = np.full_like(inputs.upstream, np.inf)
    got = roi.run(replace(inputs, upstream=upstream), "grad_image")
    reached = roi.run(replace(inputs, upstream=np.ones_like(upstream)), "grad_image") != 0
    assert np.array_equal(np.isinf(got), reached)
    assert not got[~reached].any()


# Levels of a pyramid: boxes of a side of 24 belong to the second.
SCALES, CANONICAL, FIRST = (0.5, 0.25, 0.125), (24.0, 2), 1


def _pyramid(dtype: str, layout: str, mode: str) -> tuple[PyramidCall, list[int]]:
    """A pyramid and boxes of all its levels in turn, one of them of none, and each one's level by how it was made."""
    levels = [
        RoiCase(shape=(2, 9, 64 >> k, 48 >> k), boxes=(), output_size=(1, 1), layout=layout, image_dtype=dtype, seed=k)
        for k in range(3)
    ]
    random = np.random.Generator(np.random.PCG64(3))
    rows, level_of = [], []
    for k in range(12):
        level = k % 4 - 1  # -1 has one side inverted
        side = 12.0 * 2 ** max(level, 0) * random.uniform(1.05, 1.9)
        x, y = random.uniform(0, 60, 2)
        rows.append((k % 2, x, y, x - side if level < 0 else x + side, y + side))
        level_of.append(level)
    like = RoiCase(shape=(2, 9, 4, 4), boxes=tuple(rows), output_size=(3, 2), layout=layout, image_dtype=dtype).inputs()
    return PyramidCall(
        maps=[level.inputs().image for level in levels],
        boxes=like.boxes,
        upstream=like.upstream,
        output_size=(3, 2),
        scales=SCALES,
        sampling_ratio=2,
        aligned=False,
        mode=mode,
        first_level=FIRST,
        canonical_scale=CANONICAL[0],
        canonical_level=CANONICAL[1],
    ), level_of


@each_mode
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_pyramid_is_each_level_with_its_own_boxes(dtype, layout, mode):
    """By bits, in every direction: a launch for all levels gives what a launch for each gives."""
    pyramid, level_of = _pyramid(dtype, layout, mode)
    kernels = RoiKernels()
    (crops,), (of_boxes,) = kernels.run(pyramid, "forward"), kernels.run(pyramid, "grad_boxes")
    of_maps = kernels.run(pyramid, "grad_image")
    nowhere = [row for row, level in enumerate(level_of) if level < 0]
    assert not crops[nowhere].any()
    assert not of_boxes[nowhere].any()
    for level, scale in enumerate(SCALES):
        own = [row for row, at in enumerate(level_of) if at == level]
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


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_other_values_are_pooled_where_the_maps_are_largest(layout):
    """What the maximum's double backward takes. Twice and minus the maps round nowhere, and show what was taken."""
    case = RoiCase(
        shape=(2, 9, 9, 10), output_size=(3, 2), layout=layout, mode="max", sampling_ratio=2, **spread_boxes(5, 9, 10)
    )
    of = of_one_level(case.inputs())
    twice: Array = 2 * case.inputs().image
    (got,) = RoiKernels().run(replace(of, values=[twice]), "forward")
    assert np.array_equal(got, RoiKernels().run(replace(of, maps=[twice]), "forward")[0])
    negated: Array = -case.inputs().image
    (got,) = RoiKernels().run(replace(of, values=[negated]), "forward")
    assert np.array_equal(-got, RoiKernels().run(of, "forward")[0])
