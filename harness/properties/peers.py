"""Against stored results of the libraries whose rules these are: by bits where a sheet promises them, else by bounds.

The vectors lie in suites/golden, so that a machine without TensorFlow or torchvision compares too (golden.py).
"""

from __future__ import annotations

import functools
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from harness.judging import golden
from harness.operators.arrays import DIRECTIONS, Direction
from harness.operators.crop_and_resize.case import Case, Inputs
from harness.operators.drawing import UndeclaredError
from harness.operators.implementation import Backend, lacks
from harness.operators.judgement import beyond_two_bounds, unlike_tensorflow
from harness.operators.roi_align import golden_cases as roi_golden
from harness.operators.roi_align.case import RoiCase
from harness.operators.sheet import OperatorName, Sheet
from harness.properties import NotAskedError, Property, ask, relation


@functools.cache
def _vectors(operator: OperatorName) -> dict[Any, Any]:
    stored: Any = golden.read() if operator == "crop_and_resize" else roi_golden.read()
    return {vector.case: vector for vector in stored.vectors}


def _vector(operator: OperatorName, case: Any) -> Any:
    """The stored results for a case; NotAskedError for one that is not, or no longer, stored."""
    if case not in _vectors(operator):
        raise NotAskedError("no results are stored for this case")
    return _vectors(operator)[case]


def as_tensorflow(backend: Backend[Inputs], case: Case, direction: Direction) -> str | None:
    vector = _vector("crop_and_resize", case)
    got = ask(backend, vector.inputs(), direction)
    return unlike_tensorflow(backend.sheet, vector.inputs(), direction, got, vector.results[direction])


def as_torchvision(backend: Backend[Any], case: RoiCase, direction: Direction) -> str | None:
    inputs, want = case.inputs(), _vector("roi_align", case).results[direction]
    got = ask(backend, inputs, direction)
    return beyond_two_bounds(inputs, direction, got, want, pinned=direction in backend.sheet.pinned)


def _stored(sheet: Sheet) -> SearchStrategy[Any]:
    """The stored cases that the sheet allows."""
    cases = [case for case in _vectors(sheet.operator) if lacks(sheet, case.inputs(), "forward") is None]
    if not cases:
        raise UndeclaredError("none of the stored cases is declared")
    return st.sampled_from(cases)


PROPERTIES = (
    Property(
        "as TensorFlow's stored results",
        "every bit of forward and image gradient is TensorFlow's where the sheet says so; else within two bounds",
        "crop_and_resize",
        DIRECTIONS,
        _stored,
        relation(as_tensorflow),
    ),
    Property(
        "as torchvision's stored results",
        "within two bounds of torchvision's",
        "roi_align",
        roi_golden.DIRECTIONS,
        _stored,
        relation(as_torchvision),
    ),
)
