"""The cases of a property of one feature have that feature, and no other that could be broken instead."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness import backends, properties
from harness.operators import drawing
from harness.operators.arrays import layout_of
from harness.operators.drawing import UndeclaredError
from harness.operators.roi_align.case import RoiCase
from harness.operators.sheet import OperatorName


def draw_cases(operator: OperatorName, name: str) -> list[Any]:
    sheet = backends.load("reference", operator).sheet
    return drawing.draw_cases(properties.find(name, operator).cases(sheet), 60, 3)


def extents(case: Any) -> Any:
    edges = np.array([box[-4:] for box in case.boxes])
    return edges[:, 2:] - edges[:, :2]


@pytest.mark.parametrize("name", ["boxes inside", "one sample an axis", "nearest", "boxes outside"])
def test_crops_of_a_feature(name: str) -> None:
    for case in draw_cases("crop_and_resize", name):
        assert (extents(case) > 0).all()
        assert (case.crop_size == (1, 1)) if name == "one sample an axis" else (min(case.crop_size) > 1)
        assert (case.method == "nearest") == (name == "nearest")
        inside = all(0 <= edge <= 1 for box in case.boxes for edge in box)
        assert inside != (name == "boxes outside")
        assert case.values == "normal"


@pytest.mark.parametrize("name", ["boxes inside", "aligned", "adaptive grid", "boxes outside"])
def test_pools_of_a_feature(name: str) -> None:
    cases = draw_cases("roi_align", name)
    for case in cases:
        assert (extents(case) > 0).all()
        assert (case.sampling_ratio <= 0) == (name == "adaptive grid")
        assert case.mode == "avg"
    assert {case.aligned for case in cases} == {
        "boxes inside": {False},
        "aligned": {True},
    }.get(name, {False, True})


@pytest.mark.parametrize(
    ("name", "mode"), [("maximum of samples", "max"), ("maximum of weighted pixels", "weighted_max")]
)
def test_maxima_of_a_feature(name: str, mode: str) -> None:
    for case in draw_cases("roi_align", name):
        assert (case.mode, case.sampling_ratio > 0) == (mode, True)
        assert (extents(case) > 0).all()


@pytest.mark.parametrize("operator", ["crop_and_resize", "roi_align"])
def test_boxes_without_extent(operator: OperatorName) -> None:
    for case in draw_cases(operator, "boxes without extent"):
        assert (extents(case) <= 0).any(axis=1).any()
    of = properties.find("boxes without extent", operator)
    sheet = backends.load("reference", operator).sheet
    with pytest.raises(UndeclaredError, match="empty or inverted are not declared"):
        of.cases(replace(sheet, extent="positive"))


@pytest.mark.parametrize("operator", ["crop_and_resize", "roi_align"])
def test_nothing_to_do(operator: OperatorName) -> None:
    of = properties.find("nothing to do", operator)
    sheet = backends.load("reference", operator).sheet
    kinds = {(not case.boxes, not case.shape[0], not case.shape[1]) for case in draw_cases(operator, "nothing to do")}
    assert kinds == {(True, False, False), (True, True, False), (False, False, True)}
    for case in draw_cases(operator, "nothing to do"):
        inputs = case.inputs()
        assert layout_of(inputs.image)
        assert not inputs.upstream.size
    only = drawing.draw_cases(of.cases(replace(sheet, empty=("boxes",))), 20, 1)
    assert all(not case.boxes and case.shape[0] and case.shape[1] for case in only)
    with pytest.raises(UndeclaredError):
        of.cases(replace(sheet, empty=()))


def test_the_references_weighted_maximum_reads_no_pixel_without_weight() -> None:
    inputs = RoiCase((1, 1, 1, 2), ((0, -0.5, -0.5, 0.5, 0.5),), (1, 1), sampling_ratio=1, mode="weighted_max").inputs()
    image = np.array([[[[-2.0, np.nan]]]], np.float32)
    reference = backends.load("reference", "roi_align")
    # -2 times 1, and 0 for zero weights; half of 4 is more than half of 3.
    assert reference.run(replace(inputs, image=image), "forward").item() == 0
    between = replace(inputs, boxes=np.array([[0, 0, -0.5, 1, 0.5]], np.float32), image=np.float32([[[[3, 4]]]]))
    assert reference.run(between, "forward").item() == 2
    # A double just below 1 casts to 1, and the pixel before it has weight 0.
    below = replace(
        inputs, boxes=np.array([[0, 0, -0.5, 1.9999999999999998, 0.5]]), image=np.float32([[[[np.nan, 3]]]])
    )
    assert reference.run(below, "forward").item() == 3
