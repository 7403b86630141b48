"""roi_align's CUDA kernels without a GPU: their own sources on the host, judged, and beside the CPU by bits.

As test_cuda_on_host.py is for crop_and_resize's; faults planted in them are in test_cuda_faults.py.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings

from harness import properties
from harness.backends import load
from harness.backends.cuda_on_host import PyramidCall, RoiKernels, make_roi_align, of_one_level
from harness.judging.trial import assert_passes, side_effect
from harness.kernels.cuda_on_host import kernel_library
from harness.operators.arrays import DIRECTIONS, FLOATS, Array, differing
from harness.operators.roi_align.case import MODES, RoiCase
from harness.repository import MissingLibrary
from suites.meta.kernels.cuda_cases import BUILDS, LARGE, ORDERS, cpu, drawn, small_cases, spread_boxes

try:
    backend = load("cuda_on_host", "roi_align")
except MissingLibrary as missing:
    pytest.skip(str(missing), allow_module_level=True)

each_direction = pytest.mark.parametrize("direction", DIRECTIONS)
each_mode = pytest.mark.parametrize("mode", MODES)


@each_mode
@each_direction
@settings(max_examples=60)
@given(case=small_cases())
def test_within_the_oracles_bound(direction, mode, case):
    assert_passes(backend=backend, case=replace(case, mode=mode), direction=direction)


@each_direction
def test_calls_have_no_side_effect(direction):
    for case in drawn(30):
        assert side_effect(backend, case, direction) is None, repr(case)


EVERY_LAYOUT = properties.find("every layout", "roi_align")


@each_direction
@settings(max_examples=40)
@given(case=EVERY_LAYOUT.cases(backend.sheet))
@example(case=RoiCase((1, 3, 1, 2), ((0, -0.5, -0.25, 1.5, 0.0),), (1, 2), sampling_ratio=2, boxes_dtype="float64"))
@example(case=RoiCase((1, 1, 1, 2), ((0, -0.25, -0.25, 0.0, 0.0),), (1, 1), values="inf_pixel"))
def test_layouts_are_summed_as_the_sheet_says(direction, case):
    """In the order of the layout, where the gradient of a box runs over the channels."""
    verdict = EVERY_LAYOUT.holds(backend, case, direction)
    assert verdict is None or verdict.passed, str(verdict)


def assert_bits_of_the_cpu(case: RoiCase, message: str) -> None:
    got, wanted = (each.run(case.inputs(), "forward") for each in (backend, cpu()))
    assert got.dtype == wanted.dtype
    assert not differing(got, wanted).any(), message


@each_mode
def test_the_forward_has_the_cpus_bits(mode):
    for case in drawn(200):
        assert_bits_of_the_cpu(replace(case, mode=mode), repr(case))


@pytest.mark.parametrize("name", LARGE)
def test_large_cases(name):
    case = LARGE[name]
    assert_bits_of_the_cpu(case, name)
    random = np.random.Generator(np.random.PCG64(1))
    some = [tuple(place) for place in random.integers(case.shape, size=(12, 4)).tolist()]
    assert_passes(backend=backend, case=case, direction="grad_image", places=some)
    assert_passes(backend=backend, case=case, direction="grad_boxes", places=[(0, 1), (1, 2), (1, 3), (2, 4)])


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("order", ORDERS)
def test_neither_the_order_of_threads_nor_the_cut_changes_the_forward_or_repeats_otherwise(order, build):
    """The forward has one order of sums whatever the cut; the gradients one for each cut, whatever the threads do."""
    changed = functools.partial(kernel_library, *BUILDS[build])
    other, usual = (make_roi_align("changed", library=changed, order=each) for each in (ORDERS[order], 0))
    for case in drawn(40):
        for direction in DIRECTIONS:
            reference = backend if direction == "forward" else usual
            got = other.run(case.inputs(), direction)
            assert got.tobytes() == reference.run(case.inputs(), direction).tobytes(), f"{direction}: {case!r}"


@pytest.mark.parametrize("build", [name for name in BUILDS if BUILDS[name]])
@each_direction
def test_every_cut_is_within_the_oracles_bound(direction, build):
    other = make_roi_align("other", library=functools.partial(kernel_library, *BUILDS[build]))
    for case in drawn(60):
        assert_passes(backend=other, case=case, direction=direction)


@each_mode
@each_direction
@pytest.mark.parametrize("bad", [-1.0, 2.0, 0.5, 3e38, np.nan, np.inf, -np.inf])
def test_a_box_of_no_image_gives_nan_and_no_gradient(direction, mode, bad):
    good = RoiCase(shape=(2, 3, 5, 6), output_size=(2, 3), layout="offset", mode=mode, **spread_boxes(4, 5, 6)).inputs()
    boxes = good.boxes.copy()
    boxes[1, 0] = boxes[2, 0] = bad
    got = backend.run(replace(good, boxes=boxes), direction)
    kept = [0, 3]
    wanted = backend.run(replace(good, boxes=good.boxes[kept], upstream=good.upstream[kept]), direction)
    if direction == "grad_image":
        assert np.array_equal(got, wanted)
    else:
        assert np.array_equal(got[kept], wanted)
        assert np.isnan(got[1:3]).all() if direction == "forward" else not got[1:3].any()


@each_mode
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_an_infinite_gradient_reaches_no_pixel_that_is_not_read(layout, mode):
    inputs = RoiCase(
        shape=(1, 3, 20, 20), boxes=((0, 2.0, 2.0, 17.0, 17.0),), output_size=(2, 2), sampling_ratio=1, layout=layout,
        aligned=True, mode=mode,
    ).inputs()  # fmt: skip
    upstream = np.full_like(inputs.upstream, np.inf)
    got = backend.run(replace(inputs, upstream=upstream), "grad_image")
    reached = backend.run(replace(inputs, upstream=np.ones_like(upstream)), "grad_image") != 0
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
        maps=[level.inputs().input for level in levels],
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
def test_a_pyramid_is_each_level_with_its_ownspread_boxes(dtype, layout, mode):
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
    twice: Array = 2 * case.inputs().input
    (got,) = RoiKernels().run(replace(of, values=[twice]), "forward")
    assert np.array_equal(got, RoiKernels().run(replace(of, maps=[twice]), "forward")[0])
    negated: Array = -case.inputs().input
    (got,) = RoiKernels().run(replace(of, values=[negated]), "forward")
    assert np.array_equal(-got, RoiKernels().run(of, "forward")[0])
