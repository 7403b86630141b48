"""Compares the oracle with an independent formulation, and its bounds with the rule itself.

A bound that is too small rejects correct code; one that is too large accepts wrong code. This file tests the first on
random cases; the planted faults test the second.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.backends import load
from harness.judging.trial import assert_passes
from harness.operators.arrays import DIRECTIONS, HALVES, VALUES, Direction
from harness.operators.crop_and_resize import matrix
from harness.operators.crop_and_resize.case import BOX_RULES, Case
from harness.operators.crop_and_resize.oracle import expected
from harness.operators.crop_and_resize.positions import Axis, half_away, pinned_position, sample
from harness.operators.crop_and_resize.strategy import cases
from harness.operators.rounding import rounder, single
from harness.operators.verdict import Status
from suites.missing import skip_if_missing

FINITE = tuple(values for values in VALUES if values not in ("nan_pixel", "inf_pixel"))


@pytest.mark.parametrize("image_dtypes", [("float32",), HALVES], ids=["float32", "halves"])
@given(data=st.data())
def test_the_oracle_equals_the_matrix_formulation(image_dtypes: tuple[str, ...], data: st.DataObject) -> None:
    """Both compute in double; a difference of a millionth of a float32 bound counts as equal."""
    inputs = data.draw(cases(box_rules=BOX_RULES, image_dtypes=image_dtypes, values=FINITE)).inputs()
    to = rounder(inputs.image.dtype.name)
    for direction, formulation in (("forward", matrix.forward), ("grad_image", matrix.grad_image)):
        result = formulation(inputs)
        for place, one in expected(inputs, direction):
            value = float(one.value)
            assert not one.ambiguous, (direction, place, one)
            if one.bound == 0:
                assert to(single(result[place])) == value, (direction, place, result[place], one)
            else:
                assert abs(result[place] - value) <= 1e-6 * one.bound, (direction, place, result[place], one)


NOT_HALVES = ("float32", "float64", "int32", "uint8")


@pytest.mark.parametrize("image_dtypes", [NOT_HALVES, HALVES], ids=["not halves", "halves"])
@given(data=st.data())
def test_reference_is_within_every_bound(image_dtypes: tuple[str, ...], data: st.DataObject) -> None:
    reference, case = load("reference"), data.draw(cases(box_rules=BOX_RULES, image_dtypes=image_dtypes))
    for direction in DIRECTIONS:
        if reference.refuses(case.inputs(), direction) is None:
            verdict = assert_passes(backend=reference, case=case, direction=direction)
            assert verdict.status in (Status.EXACT, Status.WITHIN)
            hypothesis.target(verdict.fraction, label=f"part of the bound used, {direction}")


@given(cases(finite_boxes=True, empty=()))
def test_another_rounding_order_is_within_its_bounds(case: Case) -> None:
    with skip_if_missing():
        backend = load("grid_sample")
    for direction in DIRECTIONS:
        if backend.refuses(case.inputs(), direction) is None:
            assert_passes(backend=backend, case=case, direction=direction)


@given(cases(image_dtypes=("float32",), boxes_dtypes=("float32",), finite_boxes=True, empty=()))
def test_bounds_of_other_orders_contain_those_of_order_a(case: Case) -> None:
    """Results of order A are accepted from other orders too: the tolerance only ever grows."""
    inputs = case.inputs()
    for direction in DIRECTIONS:
        both = zip(expected(inputs, direction), expected(inputs, direction, pinned=False), strict=True)
        for (place, strict), (_, lenient) in both:
            if math.isfinite(strict.value):
                assert lenient.bound >= strict.bound or lenient.ambiguous, (direction, place, strict, lenient)
                assert strict.value == lenient.value, (direction, place, strict, lenient)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_oracle_computes_single_places(direction: Direction) -> None:
    inputs = Case((2, 3, 5, 4), ((0.1, 0.2, 0.9, 1.1),) * 3, box_indices=(1, 0, 1), crop_size=(3, 2)).inputs()
    everything = dict(expected(inputs, direction))
    some = list(everything)[::-5]
    assert list(expected(inputs, direction, places=some)) == [(place, everything[place]) for place in some]


def test_single_is_float32() -> None:
    """The emulated operations against the processor's."""
    random = np.random.default_rng(0)
    bits = random.integers(0, 2**32, (4000, 2), dtype=np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        for a, b in bits[np.isfinite(bits).all(axis=1)]:
            x, y = float(a), float(b)
            for result, expected in ((x + y, a + b), (x - y, a - b), (x * y, a * b), (x / y if y else math.nan, a / b)):
                assert single(result) == expected or math.isnan(expected), (x, y)


def test_half_away_is_roundf() -> None:
    below_half = math.nextafter(0.5, 0)
    assert [half_away(p) for p in (0.0, below_half, 0.5, 1.5, 2.5, 2.49)] == [0, 0, 1, 2, 3, 2]


def test_whole_image_box_can_lose_its_last_row() -> None:
    """8 to 14: the last sample of [0, 1] is one ulp past 7. TensorFlow's behaviour, and so the rule's."""
    axis = Axis("normalized", 0.0, 1.0, 14, 8)
    assert pinned_position(axis, 13, "float32") == float(np.nextafter(np.float32(7), np.float32(8)))
    assert sample(axis, 13, "float32").position is None
    lenient = sample(axis, 13, "float32", unit=2.0**-24)
    assert lenient.outside
    assert lenient.reach


@pytest.mark.parametrize("last", [math.nan, math.inf, 1e40, -1e40])
def test_no_position_is_an_error(last: float) -> None:
    for rule, length, count in itertools.product(BOX_RULES, (1, 2, 9), (1, 2, 5)):
        axis = Axis(rule, 0.0, single(last), count, length)
        assert all(sample(axis, i, "float32").position in (None, 0.0) for i in range(count))


def test_unread_neighbour_does_not_leak() -> None:
    """On a pixel floor == ceil; half a pixel further the NaN is read and must appear in the result."""
    case = Case((1, 1, 3, 3), ((0.0, 0.0, 1.0, 1.0),), box_indices=(0,), crop_size=(3, 3), values="nan_pixel")
    assert sum(math.isnan(one.value) for _, one in expected(case.inputs(), "forward")) == 1
    between = replace(case, boxes=((0.25, 0.25, 0.75, 0.75),), crop_size=(2, 2))
    assert sum(math.isnan(one.value) for _, one in expected(between.inputs(), "forward")) >= 1
