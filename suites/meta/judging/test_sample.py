"""A sample of a result, judged with only the boxes that it needs, has the same verdict as with all boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.backends import load
from harness.judging import sample
from harness.operators import OPERATORS
from harness.operators.arrays import DIRECTIONS, Direction
from harness.operators.crop_and_resize.case import Case
from harness.operators.roi_align.case import RoiCase
from harness.operators.sheet import OperatorName
from harness.operators.verdict import Status

NARROWED: dict[OperatorName, dict[str, Any]] = {"crop_and_resize": {}, "roi_align": {"modes": ["avg", "max"]}}
# Nine small boxes in a row on a map of 40 pixels, on two images in turn.
FAR = {
    "crop_and_resize": Case(
        (2, 1, 40, 40),
        tuple((3 * k / 39, 4 * k / 39, (3 * k + 4) / 39, (4 * k + 5) / 39) for k in range(9)),
        tuple(k % 2 for k in range(9)),
        (2, 3),
    ),
    "roi_align": RoiCase(
        (2, 1, 40, 40), tuple((k % 2, 4.0 * k, 3.0 * k, 4.0 * k + 5, 3.0 * k + 4) for k in range(9)), (2, 3)
    ),
}


def judge_and_spy(inputs: Any, direction: Direction, result: Any) -> tuple[Any, Any, Any]:
    """The oracle's reduced call, the places, and the verdict."""
    calls: list[Any] = []
    judge = sample.judge

    def spy(inputs: Any, direction: Direction, result: Any, *, pinned: bool, places: Any = None) -> Any:
        calls.append((inputs, places))
        return judge(inputs, direction, result, pinned=pinned, places=places)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sample, "judge", spy)
        verdict = sample.judge_sample(inputs, direction, result, pinned=True)
    ((cut, places),) = calls
    return cut, places, verdict


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", OPERATORS)
@settings(max_examples=60)
@given(data=st.data())
def test_omitting_boxes_changes_no_verdict(data: st.DataObject, name: OperatorName, direction: Direction) -> None:
    backend = load("reference", name)
    # A huge box would have an adaptive grid of billions of samples.
    choices = {"image_dtypes": ["float32"], "values": ["normal", "wide"], **NARROWED[name]}
    inputs = data.draw(OPERATORS[name].within(backend.sheet, finite_boxes=True, **choices)).inputs()
    result = backend.run(inputs, direction)
    cut, places, verdict = judge_and_spy(inputs, direction, result)
    if places is None:  # the result is empty
        assert result.size == 0
    elif direction == "grad_image":
        assert verdict == sample.judge(inputs, direction, result, pinned=True, places=places)
    else:
        same_rows = [row for row in range(len(inputs.boxes)) if (inputs.boxes[row] == cut.boxes).all(axis=1).any()]
        assert len(cut.boxes) <= len(same_rows)
        assert verdict.passed


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", OPERATORS)
def test_a_wrong_sampled_value_fails_without_most_boxes(name: OperatorName, direction: Direction) -> None:
    inputs = FAR[name].inputs()
    result = load("reference", name).run(inputs, direction).copy()
    cut, places, verdict = judge_and_spy(inputs, direction, result)
    assert verdict.passed
    if direction == "grad_image":
        assert 0 < len(cut.boxes) < len(inputs.boxes)
        first = places[0]
    else:
        # 48 places of a forward result lie in all boxes.
        assert len(cut.boxes) < len(inputs.boxes) or direction == "forward"
        rows = {tuple(box): row for row, box in enumerate(inputs.boxes.tolist())}
        first = (rows[tuple(cut.boxes[places[0][0]].tolist())], *places[0][1:])
    result[first] += np.float32(0.01)
    assert judge_and_spy(inputs, direction, result)[2].status is Status.OUT


@pytest.mark.parametrize("name", OPERATORS)
def test_every_coordinate_of_a_box_is_judged(name: OperatorName) -> None:
    """roi_align's column 0, the index, has no gradient: it alone would show nothing."""
    inputs = FAR[name].inputs()
    result = load("reference", name).run(inputs, "grad_boxes")
    for column in range(result.shape[1] - 4, result.shape[1]):
        wrong = result.copy()
        wrong[:, column] += np.float32(0.01)
        assert judge_and_spy(inputs, "grad_boxes", wrong)[2].status is Status.OUT, column


# A large map with one small box, which reaches one pixel in four hundred.
ALONE = {
    "crop_and_resize": Case((1, 2, 200, 200), ((0.4, 0.4, 0.45, 0.45),), (0,), (3, 3)),
    "roi_align": RoiCase((1, 2, 200, 200), ((0, 80.0, 80.0, 90.0, 90.0),), (3, 3), sampling_ratio=2),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_the_pixels_that_few_boxes_reach_are_judged(name: OperatorName) -> None:
    inputs = ALONE[name].inputs()
    right = load("reference", name).run(inputs, "grad_image")
    assert np.count_nonzero(right) < right.size / 200
    for wrong in (right * np.float32(1.01), np.zeros_like(right)):
        assert judge_and_spy(inputs, "grad_image", wrong)[2].status is Status.OUT
