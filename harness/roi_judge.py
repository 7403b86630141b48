"""roi_align's results against its oracle; what a Verdict is stands in judge.py."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from harness.call import Place
from harness.case import Array, Direction
from harness.judge import Verdict, verdict_on
from harness.roi_call import accumulated_in
from harness.roi_case import RoiInputs, promised
from harness.roi_oracle import expected
from harness.rounding import UNIT, cell


def judge(
    inputs: RoiInputs,
    direction: Direction,
    got: Array | BaseException,
    *,
    pinned: bool,
    places: Iterable[Place] | None = None,
) -> Verdict:
    """`got`, the result or the exception that was raised instead, against the oracle, at all places or the given ones.

    pinned: whether the implementation rounds its positions in the pinned order. Then no ambiguity excuses it.
    """
    shape, dtype = promised(inputs, direction)
    narrow = UNIT[dtype.name] > UNIT[accumulated_in(inputs)]
    unrounded = functools.partial(cell, dtype=dtype.name) if narrow else lambda value: (value, value)
    values = expected(inputs, direction, pinned=pinned, places=places)
    return verdict_on(got, direction, shape, dtype, unrounded, values)
