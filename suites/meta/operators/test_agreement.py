"""Results that agree as promised pass; every kind of disagreement is named."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from harness.backends import load
from harness.judging.trial import assert_no_side_effect
from harness.operators import ROI_ALIGN
from harness.operators.arrays import DIRECTIONS, Direction, differing
from harness.operators.crop_and_resize.case import Case, Inputs
from harness.operators.expected import accumulated_in
from harness.operators.implementation import Backend
from harness.operators.judgement import beyond_two_bounds, unlike_peer
from harness.operators.roi_align.case import RoiCase
from harness.operators.roi_align.oracle import expected
from harness.operators.roi_align.strategy import roi_cases
from harness.operators.rounding import UNIT

REFERENCE = load("reference")
CASE = Case((1, 2, 6, 7), ((0.11, 0.23, 0.83, 0.91),) * 3, box_indices=(0, 0, 0), crop_size=(4, 3))


def test_differing_compares_the_sign_of_zero_and_ignores_nan_payloads() -> None:
    one, other = np.float32([0.0, np.nan, 1, 2]), np.float32([-0.0, np.nan, 1, 2])
    other.view(np.int32)[1] ^= 1
    assert differing(one, other).tolist() == [True, False, False, False]


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_two_results_may_be_two_bounds_apart_and_no_further(direction: Direction, pinned: bool) -> None:
    inputs, result = CASE.inputs(), REFERENCE.run(CASE.inputs(), direction)
    place = np.unravel_index(np.argmax(np.abs(result)), result.shape)
    near, far, nothing = result.copy(), result.copy(), result.copy()
    near[place] = np.nextafter(near[place], np.float32(0))
    far[place] *= np.float32(1.01)
    nothing[place] = np.nan
    assert beyond_two_bounds(inputs, direction, near, result, pinned=pinned) is None
    for wrong in (far, nothing):
        message = beyond_two_bounds(inputs, direction, wrong, result, pinned=pinned)
        assert f"at {tuple(map(int, place))} is more than two bounds" in str(message)


def test_ambiguous_values_are_excluded_only_for_another_order() -> None:
    """The last sample of [0, 1] from 8 to 14 pixels is one ulp past the border, or on it."""
    case = Case(shape=(1, 1, 8, 1), boxes=((0.0, 0.0, 1.0, 0.0),), box_indices=(0,), crop_size=(14, 1))
    result = REFERENCE.run(case.inputs(), "forward")
    other = result.copy()
    other[0, 0, 13, 0] = case.inputs().image[0, 0, 7, 0]
    assert beyond_two_bounds(case.inputs(), "forward", other, result, pinned=False) is None
    assert beyond_two_bounds(case.inputs(), "forward", other, result, pinned=True) is not None


def test_unlike_peer_compares_bits_or_bounds_as_the_sheet_promises() -> None:
    inputs, result = CASE.inputs(), REFERENCE.run(CASE.inputs(), "grad_image")
    near = result.copy()
    near[result != 0] = np.nextafter(near[result != 0], np.float32(0))
    promising, summing = REFERENCE, _unordered(REFERENCE, tensorflow_bits=())
    message = unlike_peer(promising.sheet, inputs, "grad_image", near, result)
    assert str(message).startswith(f"{np.count_nonzero(result)} values differ from TensorFlow's; at (0, 0, ")
    assert unlike_peer(summing.sheet, inputs, "grad_image", near, result) is None
    assert unlike_peer(summing.sheet, inputs, "grad_image", near * np.float32(1.01), result) is not None
    message = unlike_peer(promising.sheet, inputs, "grad_image", result.astype(np.float64), result)
    of = "of shape (1, 2, 6, 7)"
    assert message == f"It is float64 {of}, the other float32 {of}, which is TensorFlow's."


def test_equal_infinities_agree() -> None:
    case = RoiCase((1, 1, 1, 2), ((0, -0.25, -0.25, 0.0, 0.0), (0, 0.0, 0.0, 0.5, 0.5)), (1, 1))
    result = np.float32([[0, np.inf, 0, -np.inf, 0], [0, 1, 0, 0, 0]])
    assert beyond_two_bounds(case.inputs(), "grad_boxes", result, result) is None
    far = np.float32([[0, np.inf, 0, -np.inf, 0], [0, 2, 0, 0, 0]])
    assert "at (1, 1) is more than two bounds" in str(beyond_two_bounds(case.inputs(), "grad_boxes", far, result))


def _unordered(backend: Backend, **claims: object) -> Backend:
    """The backend, with a sheet that declares an image gradient without a fixed order."""
    return replace(backend, sheet=replace(backend.sheet, unordered=("grad_image",), **claims))  # type: ignore[arg-type]


def _noisy(error: float) -> Backend:
    """The reference with another multiple of `error` added in each call."""
    calls = itertools.count()

    def prepare(inputs: Inputs, direction: Direction) -> object:
        return lambda: REFERENCE.run(inputs, direction) * np.float32(1 + error * next(calls))

    return replace(REFERENCE, prepare=prepare)  # type: ignore[arg-type]


def test_unordered_sums_may_change_only_their_bits() -> None:
    assert_no_side_effect(backend=_unordered(_noisy(2.0**-24)), case=CASE, direction="grad_image")
    with pytest.raises(AssertionError, match="other bits the second time"):
        assert_no_side_effect(backend=_noisy(2.0**-24), case=CASE, direction="grad_image")
    with pytest.raises(AssertionError, match="is overwritten in place the result is wrong: OUT"):
        assert_no_side_effect(backend=_unordered(_noisy(0.01)), case=CASE, direction="grad_image")


@settings(max_examples=60)
@given(case=roi_cases(modes=["avg"], values=["normal", "wide", "dyadic"], empty=()))
def test_results_accepted_without_the_oracle_are_within_its_bounds(case: RoiCase) -> None:
    """judgement.py accepts two results that are eight roundings apart; every bound is at least that large."""
    inputs = case.inputs()
    directions: tuple[Direction, ...] = ("forward", "grad_image")
    for direction in directions:
        for place, one in expected(inputs, direction, pinned=True):
            if math.isfinite(one.value):
                roundings = ROI_ALIGN.least_roundings(inputs, direction) / 2
                least = roundings * UNIT[accumulated_in(inputs)] * abs(float(one.value))
                assert one.bound >= least or one.value == 0, (direction, place)
