"""Bad input: boxes that are not finite, and indices of no image. None of it may crash a process.

These inputs have crashed other implementations (docs/operators.md, bad input). Every backend is probed: for one that
does not declare such input a crash is reported, and nothing else counts against it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from harness.judging.trial import judge_case, run
from harness.operators import OPERATORS, AnyCase, operator_of, within
from harness.operators.arrays import DIRECTIONS, Direction
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName, Sheet
from harness.operators.verdict import Crash, Hang, Status, Verdict, without_result
from harness.properties import NotAskedError, Property, for_both

NAN, INF, MAX = math.nan, math.inf, 3.4e38
# Boxes that have crashed an implementation; the third is CVE-2020-15266.
ROWS = (
    (MAX, 0.0, -MAX, 1.0),
    (NAN, 0.0, 1.0, 1.0),
    (0.0, 0.0, 1e40, 1e40),
    (0.0, -INF, 1.0, INF),
    (NAN, NAN, NAN, NAN),
    (0.0, 0.0, MAX, MAX),
    (-1e30, 0.25, 1e30, 0.5),
)
INDICES = (1, -1, 2**31 - 1, -(2**31))


def _bad_rows(sheet: Sheet) -> SearchStrategy[Any]:
    """Cases with a bad box and a good one."""
    return st.builds(partial(OPERATORS[sheet.operator].bad_row, sheet), st.sampled_from(ROWS), st.integers(0, 99))


def bad_boxes_are_outside(backend: Backend[Any], case: AnyCase, direction: Direction) -> Verdict:
    """Runs on every backend, even where the backend avoids such boxes."""
    verdict = judge_case(backend, case, direction)
    if (
        verdict.passed
        or verdict.status in (Status.CRASH, Status.HANG, Status.JUDGE)
        or "boxes" in backend.sheet.bad_input
    ):
        return verdict
    raise NotAskedError("boxes that are not finite are not declared")


def no_image_is_no_crash(backend: Backend[Any], case: AnyCase, direction: Direction) -> Verdict:
    """An index of no image must raise, or give a crop of NaN (on devices where a check would have to wait for the
    data)."""
    index = INDICES[case.seed % len(INDICES)]
    inputs = operator_of(case).with_index(case.inputs(), index)
    result = run(backend, inputs, direction)
    if isinstance(result, (Crash, Hang)):
        return without_result(result)
    if isinstance(result, BaseException):
        return Verdict(Status.HOLDS)
    shape, _ = operator_of(case).result_type(inputs, direction)
    if result.shape == shape and np.isnan(result[0].astype(np.float64)).all():
        return Verdict(Status.HOLDS)
    if "indices" not in backend.sheet.bad_input:
        raise NotAskedError("indices of no image are not declared")
    return Verdict(Status.BROKEN, reason=f"An index of {index} on one image gives a result that looks like a crop.")


def _one_image_cases(sheet: Sheet) -> SearchStrategy[Any]:
    return within(
        replace(sheet, layouts=("contiguous",)), values=["normal"], empty=(), finite_boxes=True, longest_side=8
    ).map(OPERATORS[sheet.operator].twice_on_one_image)


def _bad_boxes(operator: OperatorName) -> Property:
    return Property(
        "bad boxes",
        "boxes that are NaN, infinite or overflow are outside, and the good one beside them is cropped",
        operator,
        DIRECTIONS,
        _bad_rows,
        bad_boxes_are_outside,
        share=3,
        is_oracles=True,
        probe="boxes",
    )


def _no_image(operator: OperatorName) -> Property:
    return Property(
        "index of no image",
        "an index of no image is refused, or gives NaN; nothing is read there",
        operator,
        ("forward",),
        _one_image_cases,
        no_image_is_no_crash,
        share=3,
        probe="indices",
    )


PROPERTIES = (*for_both(_bad_boxes), *for_both(_no_image))
