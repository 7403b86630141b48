"""roi_align's results against its oracle; what a Verdict is stands in judge.py."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from harness.operators.arrays import Array, Direction
from harness.operators.expected import Place
from harness.operators.roi_align.call import accumulated_in
from harness.operators.roi_align.case import RoiInputs, promised
from harness.operators.roi_align.oracle import expected
from harness.operators.rounding import UNIT, cell
from harness.operators.verdict import Verdict, verdict_on


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
