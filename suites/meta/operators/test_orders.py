"""Correct implementations that round positions in other orders, judged without the promise of the pinned order: all
pass in every direction, and wrong ones still fail.

Each order is the step-by-step reference with another computation of its positions.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.faults.reference import crop_and_resize as crop_faults
from harness.judging.trial import failure, run
from harness.operators import ROI_ALIGN, drawing, within
from harness.operators.arrays import DIRECTIONS, FLOATS, SINGLE_AND_DOUBLE, Array, Direction
from harness.operators.crop_and_resize import reference as cropping
from harness.operators.implementation import Backend, lacks
from harness.operators.judgement import judge
from harness.operators.roi_align import reference as pooling
from harness.operators.roi_align.case import MODES, Mode, RoiCase, RoiInputs, Row
from harness.operators.roi_align.reference import RoiAxis, Scalar
from harness.operators.roi_align.strategy import BOX_FAMILIES as POOL_FAMILIES
from harness.operators.roi_align.strategy import roi_cases
from harness.operators.verdict import Status

CASES = 60


def _wide(value: Scalar) -> np.float64:
    return np.float64(value)


def _axis(start: Scalar, size: Scalar, aligned: bool, count: int, ratio: int) -> RoiAxis:
    """The axis of the bins of a box of length `size` from `start` on."""
    length, stretched = pooling.extent(size, aligned)
    per_bin = length / type(size)(count)
    return RoiAxis(start, per_bin, ratio if ratio > 0 else pooling.adaptive(per_bin), stretched)


def _size_scaled_late(first: Scalar, last: Scalar, scale: Scalar, aligned: bool, count: int, ratio: int) -> RoiAxis:
    start = first * scale - type(first)(0.5 if aligned else 0)
    return _axis(start, (last - first) * scale, aligned, count, ratio)


def _offset_first(first: Scalar, last: Scalar, scale: Scalar, aligned: bool, count: int, ratio: int) -> RoiAxis:
    offset = type(first)(0.5 if aligned else 0) / scale
    start, end = (first - offset) * scale, (last - offset) * scale
    return _axis(start, end - start, aligned, count, ratio)


def _in_double(first: Scalar, last: Scalar, scale: Scalar, aligned: bool, count: int, ratio: int) -> RoiAxis:
    return pooling.axis(_wide(first), _wide(last), _wide(scale), aligned, count, ratio)


def _in_double_rounded(first: Scalar, last: Scalar, scale: Scalar, aligned: bool, count: int, ratio: int) -> RoiAxis:
    wide = _in_double(first, last, scale, aligned, count, ratio)
    return dataclasses.replace(wide, start=type(first)(wide.start), size=type(first)(wide.size))


def _fused_axis(first: Scalar, last: Scalar, scale: Scalar, aligned: bool, count: int, ratio: int) -> RoiAxis:
    """A product and a difference with one rounding: the product of two float32 is exact in double."""
    to = type(first)
    start, end = (to(_wide(each) * _wide(scale) - (0.5 if aligned else 0)) for each in (first, last))
    return _axis(start, end - start, aligned, count, ratio)


def _in_the_bin_first(axis: RoiAxis, index: int, i: int) -> Scalar:
    to = type(axis.start)
    return axis.start + (to(index) * axis.size + (to(i) + to(0.5)) * axis.size / to(axis.grid))


def _by_step(axis: RoiAxis, index: int, i: int) -> Scalar:
    """Positions by steps from sample to sample, and a product with a reciprocal."""
    to = type(axis.start)
    step = axis.size * (to(1) / to(axis.grid))
    return axis.start + (to(index * axis.grid + i) + to(0.5)) * step


def _share_first(axis: RoiAxis, index: int, i: int) -> Scalar:
    to = type(axis.start)
    return axis.start + (to(index) + (to(i) + to(0.5)) / to(axis.grid)) * axis.size


def _fused(axis: RoiAxis, index: int, i: int) -> Scalar:
    to = type(axis.start)
    base = to(_wide(index) * _wide(axis.size) + _wide(axis.start))
    return to((_wide(i) + 0.5) * _wide(axis.size / to(axis.grid)) + _wide(base))


def _rounded_once(axis: RoiAxis, index: int, i: int) -> Scalar:
    wide = dataclasses.replace(axis, start=_wide(axis.start), size=_wide(axis.size))
    return type(axis.start)(pooling.position(wide, index, i))


def _from_pixel_edges(axis: RoiAxis, index: int, i: int) -> Scalar:
    """Positions with half a pixel added and subtracted."""
    half = type(axis.start)(0.5)
    return pooling.position(dataclasses.replace(axis, start=axis.start + half), index, i) - half


ROI_ORDERS: dict[str, dict[str, Callable[..., Any]]] = {
    "size_scaled_late": {"axis": _size_scaled_late},
    "offset_first": {"axis": _offset_first},
    "fused": {"axis": _fused_axis, "position": _fused},
    "in_double": {"axis": _in_double},
    "in_double_rounded": {"axis": _in_double_rounded, "position": _rounded_once},
    "in_the_bin_first": {"position": _in_the_bin_first},
    "by_step": {"axis": _offset_first, "position": _by_step},
    "share_first": {"axis": _size_scaled_late, "position": _share_first},
    "from_pixel_edges": {"position": _from_pixel_edges},
}


def _multiplied(first: Scalar, last: Scalar, i: int, count: int, length: int) -> Scalar:
    """Positions as a product with the reciprocal, interpolated between the two ends."""
    to = type(first)
    share = to(0.5) if count == 1 else to(i) * (to(1) / to(count - 1))
    return ((to(1) - share) * first + share * last) * to(length - 1)


CROP_ORDERS: dict[str, dict[str, Callable[..., Any]]] = {
    "fused": {"position": crop_faults._fused_position},
    "in_double": {"position": lambda *axis: type(axis[0])(cropping.position(*map(_wide, axis[:2]), *axis[2:]))},
    "ratio_first": {"position": crop_faults._ratio_first},
    "multiplied": {"position": _multiplied},
}


def roi_order(name: str) -> Backend[Any]:
    return pooling.build(dataclasses.replace(pooling.STEPS, **ROI_ORDERS[name]), name="reference", title=name)


def crop_order(name: str) -> Backend[Any]:
    return cropping.build(dataclasses.replace(cropping.STEPS, **CROP_ORDERS[name]), name="reference", title=name)


def _passes(backend: Backend[Any], direction: Direction, count: int, seed: int, **choices: Any) -> set[Status]:
    """The statuses of `count` random cases, which must all pass."""
    statuses = set()
    for case in drawing.draw_cases(within(backend.sheet, **choices), count, seed):
        if backend.refuses(case.inputs(), direction) is None:
            verdict = judge(case.inputs(), direction, run(backend, case.inputs(), direction), pinned=False)
            assert verdict.passed, failure(backend, case, direction, str(verdict))
            statuses.add(verdict.status)
    return statuses


_FINITE: dict[str, Any] = {"finite_boxes": True, "empty": (), "longest_side": 24}


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", ROI_ORDERS)
def test_an_order_of_roi_align_is_never_wrong(name: str, direction: Direction, mode: str) -> None:
    assert Status.WITHIN in _passes(roi_order(name), direction, CASES, 5, modes=[mode], most_outputs=60, **_FINITE)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", CROP_ORDERS)
def test_an_order_of_crop_and_resize_is_never_wrong(name: str, direction: Direction) -> None:
    assert Status.WITHIN in _passes(crop_order(name), direction, CASES, 5, most_outputs=120, **_FINITE)


def _weighted_maximum(steps: pooling.Steps, inputs: RoiInputs, of_sample: Callable[..., list[Scalar]]) -> Array:
    """ONNX's maximum, with the terms of each sample from `of_sample`."""
    to = np.float64 if inputs.image.dtype.name == "float64" else np.float32
    maps = inputs.image.astype(to)
    pooled = np.zeros((len(inputs.boxes), maps.shape[1], *inputs.output_size), to)
    for box in pooling.boxes_of(steps, inputs):
        for i, j in np.ndindex(*inputs.output_size):
            samples = pooling.samples_of(box, i, j, to)
            for c in range(maps.shape[1]):
                values = [each for sample in samples for each in of_sample(maps[box.image, c], sample)]
                pooled[box.row, c, i, j] = max(values, default=to(0))
    return pooled


def _products(plane: Array, sample: Any) -> list[Scalar]:
    one = plane.dtype.type(1)
    if sample is None:
        return [one * 0]
    _, (top, bottom, ly), _, (left, right, lx) = sample
    return [
        wy * wx * plane[y, x] for y, wy in ((top, one - ly), (bottom, ly)) for x, wx in ((left, one - lx), (right, lx))
    ]


WRONG_PRODUCTS: dict[str, Callable[..., list[Scalar]]] = {
    "of_samples": lambda plane, sample: [sum(_products(plane, sample))],
    "without_zeros": lambda plane, sample: [each for each in _products(plane, sample) if each],
    "unweighted": lambda plane, sample: [plane[y, x] for y in sample[1][:2] for x in sample[3][:2]] if sample else [],
    "least": lambda plane, sample: [min(_products(plane, sample))],
    "three_pixels": lambda plane, sample: _products(plane, sample)[:3],
}
_WEIGHTED = within(
    dataclasses.replace(pooling.SHEET, modes=("weighted_max",)),
    values=["normal", "wide", "ramp", "dyadic", "negative_zero"],
    image_dtypes=SINGLE_AND_DOUBLE,
    most_outputs=60,
    **_FINITE,
)


@pytest.mark.parametrize("name", ["pinned", *ROI_ORDERS])
def test_the_maximum_of_weighted_pixels_in_any_order(name: str) -> None:
    steps = dataclasses.replace(pooling.STEPS, **ROI_ORDERS.get(name, {}))
    for case in drawing.draw_cases(_WEIGHTED, CASES, 5):
        result = _weighted_maximum(steps, case.inputs(), _products)
        verdicts = [judge(case.inputs(), "forward", result, pinned=pinned) for pinned in {False, name == "pinned"}]
        assert all(verdict.passed for verdict in verdicts), (verdicts, case)


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize("name", WRONG_PRODUCTS)
def test_a_wrong_maximum_of_weighted_pixels_is_out(name: str, pinned: bool) -> None:
    assert any(
        judge(
            case.inputs(),
            "forward",
            _weighted_maximum(pooling.STEPS, case.inputs(), WRONG_PRODUCTS[name]),
            pinned=pinned,
        ).status
        is Status.OUT
        for case in drawing.draw_cases(_WEIGHTED, CASES, 5)
    )


@pytest.mark.parametrize("direction", ["grad_image", "grad_boxes"])
def test_gradients_of_weighted_maxima_are_not_judged(direction: Direction) -> None:
    sheet = dataclasses.replace(pooling.SHEET, modes=("weighted_max",))
    inputs = drawing.draw_cases(_WEIGHTED, 1, 0)[0].inputs()
    assert lacks(sheet, inputs, "forward") is None
    assert lacks(sheet, inputs, direction) == (
        "gradients of weighted maxima are not judged: ONNX, whose rule they are, defines none"
    )


EMPTY_BOXES = (
    (0, 1.5, 0.5, 1.5, 3.0),  # without extent on x, on y, on both, and inverted
    (0, 0.5, 2.25, 3.0, 2.25),
    (0, 1.25, 1.25, 1.25, 1.25),
    (0, 3.0, 3.0, 1.0, 0.5),
)


@pytest.mark.parametrize("box", EMPTY_BOXES)
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_an_adaptive_grid_of_no_samples_may_have_one(direction: Direction, mode: Mode, box: Row) -> None:
    """In another order a box without extent may have a small one, and then a grid of one sample."""
    case = RoiCase((1, 1, 5, 6), (box,), (2, 2), 1.0, -1, True, mode, seed=3)
    result = run(pooling.build(pooling.STEPS), case.inputs(), direction)
    assert isinstance(result, np.ndarray)
    assert not result.any()
    for pinned in (True, False):
        assert judge(case.inputs(), direction, result, pinned=pinned).passed

    def axis(*arguments: Any) -> RoiAxis:
        right = pooling.axis(*arguments)
        return dataclasses.replace(right, grid=max(right.grid, 1))

    one_sample = dataclasses.replace(pooling.STEPS, axis=axis)
    other = run(pooling.build(one_sample), case.inputs(), direction)
    assert judge(case.inputs(), direction, other, pinned=False).passed == (box is not EMPTY_BOXES[3])
    assert not judge(case.inputs(), direction, other, pinned=True).passed


@pytest.mark.parametrize("family", [*POOL_FAMILIES, "below_pixel"])
@pytest.mark.parametrize("mode", MODES)
def test_the_oracle_of_roi_align_raises_nothing(mode: Mode, family: str) -> None:
    """For boxes of all families, pinned or not, in every direction; huge boxes take no longer than others."""
    some_cases = roi_cases(
        modes=[mode], box_families=[family], image_dtypes=(*FLOATS, "uint8"), ratios=(-1, 1, 3, 5), most_outputs=8,
        longest_side=9,
    )  # fmt: skip
    for case in drawing.draw_cases(some_cases, 12, 1):
        for direction, pinned in itertools.product(
            ("forward",) if mode == "weighted_max" else DIRECTIONS, (True, False)
        ):
            for _, expected in ROI_ALIGN.expected(case.inputs(), direction, pinned=pinned):
                assert expected.bound >= 0
                assert (
                    pinned or not expected.ambiguous or all(low <= high or low != low for low, high in expected.others)
                )


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_another_order_costs_a_few_ulps_away_from_every_jump(mode: Mode, direction: Direction) -> None:
    """Roundings of the operands of the positions, times the steepness of the map."""
    case = RoiCase((1, 2, 6, 7), ((0, 1.03, 0.61, 5.12, 4.43),), (2, 2), 1.0, 2, True, mode, values="ramp", seed=1)
    for (place, strict), (_, lenient) in zip(
        ROI_ALIGN.expected(case.inputs(), direction),
        ROI_ALIGN.expected(case.inputs(), direction, pinned=False),
        strict=True,
    ):
        assert strict.value == lenient.value
        assert not lenient.ambiguous
        assert strict.bound <= lenient.bound <= 2e-3, place
    for factor, passes in ((1.0, True), (1 + 2.0**-8, False)):
        result = run(pooling.build(pooling.STEPS), case.inputs(), direction)
        assert judge(case.inputs(), direction, result * np.float32(factor), pinned=False).passed == passes


def test_the_slope_near_a_pixel_is_that_of_either_cell_or_zero() -> None:
    case = RoiCase((1, 1, 1, 5), ((0, 1.5, 0.0, 2.5, 0.0),), (1, 1), 1.0, 1)
    inputs = case.inputs()
    inputs.image[...] = [0, 1, 3, 10, 11]
    inputs.upstream[...] = 4
    for slope, right in ((2, True), (7, True), (0, True), (9, False), (-2, False)):
        result = np.array([[0, 2.0 * slope, 0, 2.0 * slope, 0]], np.float32)
        assert judge(inputs, "grad_boxes", result, pinned=True).passed == (slope == 0)
        verdict = judge(inputs, "grad_boxes", result, pinned=False)
        assert verdict.passed == right, (slope, verdict)
