"""A case's repr reproduces it, and strategies draw every documented kind."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from harness.operators.arrays import FLOATS, HALVES, LAYOUTS, VALUES, Values
from harness.operators.crop_and_resize.case import BOX_RULES, METHODS, Case
from harness.operators.crop_and_resize.strategy import BOX_FAMILIES, cases
from harness.operators.drawing import BESIDE_ZERO, draw_cases, next_after


@given(cases(box_rules=BOX_RULES))
def test_repr_reads_back(case: Case) -> None:
    """And makes the same arrays, bit for bit. (The test compares reprs, as NaN is not equal to itself.)"""
    again = Case.parse(repr(case))
    assert repr(again) == repr(case)
    one, other = case.inputs(), again.inputs()
    for name in ("image", "boxes", "box_indices", "upstream"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
        assert getattr(one, name).strides == getattr(other, name).strides


@pytest.mark.parametrize("line", ["Case(", "3", "__import__('os')", "Case(shape=(1, 1, 1, 1))"])
def test_other_lines_raise_an_error(line: str) -> None:
    with pytest.raises(ValueError, match="is not a case"):
        Case.parse(line)


@given(cases(boxes_layouts=["contiguous"]))
def test_printed_box_is_the_box(case: Case) -> None:
    """No coordinate is rounded between the line and the array, except those that overflow."""
    for printed_box, box in zip(case.boxes, case.inputs().boxes, strict=True):
        for a, b in zip(printed_box, box, strict=True):
            assert a == float(b) or math.isnan(a) or math.isinf(b)


def test_every_kind_is_drawn() -> None:
    drawn_cases = draw_cases(cases(box_rules=BOX_RULES), 800, 0)
    finite = [box for case in drawn_cases for box in case.boxes if all(map(math.isfinite, box))]
    kinds = {
        "whole image": any(box == (0.0, 0.0, 1.0, 1.0) for box in finite),
        "beside the lower border": any(BESIDE_ZERO in box or -BESIDE_ZERO in box for box in finite),
        "beside the upper border": any(next_after(1.0, 1, "float32") in box for box in finite),
        "inverted": any(box[0] > box[2] and box[1] > box[3] for box in finite),
        "zero area": any(box[0] == box[2] or box[1] == box[3] for box in finite),
        "partly outside": any(box[0] < 0 < box[2] < 1 for box in finite),
        "outside": any(box[0] > 1 and box[2] > 1 for box in finite),
        "NaN": any(math.isnan(a) for case in drawn_cases for box in case.boxes for a in box),
        "inf": any(math.isinf(a) for case in drawn_cases for box in case.boxes for a in box),
        "overflowing": any(1e40 in box for case in drawn_cases for box in case.boxes),
        "huge pair": any((3.4e38 in box) or (-3.4e38 in box) for case in drawn_cases for box in case.boxes),
        "duplicates": any(len(set(case.boxes)) < len(case.boxes) for case in drawn_cases),
        "no box": any(not case.boxes for case in drawn_cases),
        "no image": any(case.shape[0] == 0 for case in drawn_cases),
        "no channel": any(case.shape[1] == 0 for case in drawn_cases),
        "one row": any(case.shape[2] == 1 < case.shape[3] for case in drawn_cases),
        "one column": any(case.shape[3] == 1 < case.shape[2] for case in drawn_cases),
        "one sample": any(1 in case.crop_size for case in drawn_cases),
        "not square": sum(case.shape[2] != case.shape[3] for case in drawn_cases) > 480,
        "crop not square": sum(case.crop_size[0] != case.crop_size[1] for case in drawn_cases) > 400,
        "several images in use": any(len(set(case.box_indices)) > 1 for case in drawn_cases),
    }
    assert not [kind for kind, occurs in kinds.items() if not occurs]
    assert {case.boxes_dtype for case in drawn_cases} == {"float32", "float64"}
    assert {case.image_dtype for case in drawn_cases} == set(FLOATS)
    assert sum(case.image_dtype == "float32" for case in drawn_cases) > 100
    assert {case.index_dtype for case in drawn_cases} == {"int32", "int64"}
    assert {case.method for case in drawn_cases} == set(METHODS)
    assert {case.layout for case in drawn_cases} == set(LAYOUTS)
    assert {case.values for case in drawn_cases} == set(VALUES)
    assert {case.box_rule for case in drawn_cases} == set(BOX_RULES)
    assert max(len(c.boxes) * c.shape[1] * math.prod(c.crop_size) for c in drawn_cases) <= 400


@pytest.mark.parametrize("image_dtype", HALVES)
@pytest.mark.parametrize("values", VALUES)
def test_half_images_keep_their_kind_of_values(values: Values, image_dtype: str) -> None:
    """Neither infinite where float32 is finite, nor all equal."""
    of = {"image_dtype": image_dtype, "values": values, "layout": "offset"}
    case = Case((2, 3, 20, 20), ((0.0, 0.0, 1.0, 1.0),), (0,), (9, 9), **of)
    inputs, single = case.inputs(), replace(case, image_dtype="float32").inputs()
    assert inputs.image.dtype.name == inputs.upstream.dtype.name == image_dtype
    image, upstream = inputs.image.astype(np.float32), inputs.upstream.astype(np.float32)
    assert np.isfinite(upstream).all()
    assert np.count_nonzero(~np.isfinite(image)) == (values in ("nan_pixel", "inf_pixel"))
    assert len(np.unique(image)) > 100 or values == "negative_zero"
    if (values, image_dtype) == ("wide", "float16"):
        smallest = np.finfo(np.float16).smallest_normal
        assert ((image != 0) & (np.abs(image) < smallest)).any()
        assert np.abs(image).max() == np.finfo(np.float16).max
    else:
        assert inputs.image.tobytes() == single.image.astype(image_dtype).tobytes()


@pytest.mark.parametrize("family", BOX_FAMILIES)
def test_every_family_can_be_drawn_alone(family: str) -> None:
    assert any(case.boxes for case in draw_cases(cases(box_families=(family,)), 20, 0))


def test_restrictions_hold() -> None:
    of = {"finite_boxes": True, "empty": (), "methods": ("nearest",), "image_dtypes": ("uint8",)}
    for case in draw_cases(cases(**of), 100, 0):
        assert all(abs(a) < 1e4 for box in case.boxes for a in box)
        assert case.boxes
        assert 0 not in case.shape
        assert case.method == "nearest"
        assert case.inputs().image.dtype == np.uint8


NEXT = [(1.0, "float32", 1 + 2.0**-23), (-1.0, "float32", -1 + 2.0**-24), (1.0, "float64", 1 + 2.0**-52)]


@pytest.mark.parametrize(("value", "dtype", "after"), [*NEXT, (0.0, "float32", BESIDE_ZERO)])
def test_next_after(value: float, dtype: str, after: float) -> None:
    assert next_after(value, 1, dtype) == after
