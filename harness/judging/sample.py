"""Judges a large result at a few places, with only the boxes that these places need.

The oracle is plain Python. It gets only the boxes that take part in the sample, so a hundred thousand boxes cost no
more than a hundred. The places are the same for every implementation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from harness.operators import operator_of
from harness.operators.arrays import Array, Direction
from harness.operators.judgement import judge
from harness.operators.verdict import Verdict


def with_boxes(inputs: Any, rows: Any) -> Any:
    """The call restricted to these boxes, with their indices and upstream gradients."""
    names = operator_of(inputs).arrays[1:]
    return replace(inputs, **{name: np.ascontiguousarray(getattr(inputs, name)[rows]) for name in names})


def judge_sample(inputs: Any, direction: Direction, result: Array, *, pinned: bool) -> Verdict:
    """The oracle's verdict on a sample of a result."""
    operator = operator_of(inputs)
    if result.size == 0 or result.shape != operator.result_type(inputs, direction)[0]:
        return judge(inputs, direction, result, pinned=pinned)
    places = operator.sample(inputs, direction, result)
    if direction == "grad_image":
        rows = np.flatnonzero(operator.near(inputs, places))
        return judge(with_boxes(inputs, rows), direction, result, pinned=pinned, places=places)
    rows, numbers = np.unique([place[0] for place in places], return_inverse=True)
    local_places = [(int(row), *place[1:]) for row, place in zip(numbers, places, strict=True)]
    return judge(with_boxes(inputs, rows), direction, result[rows], pinned=pinned, places=local_places)
