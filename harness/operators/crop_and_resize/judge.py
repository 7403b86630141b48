"""A result of crop_and_resize against its oracle: all of it, or a sample with the boxes that the sample needs."""

from __future__ import annotations

from collections.abc import Iterable

from harness.operators.arrays import Array, Direction
from harness.operators.crop_and_resize.call import before_rounding
from harness.operators.crop_and_resize.case import Inputs, promised
from harness.operators.crop_and_resize.oracle import expected
from harness.operators.expected import Place
from harness.operators.verdict import Verdict, verdict_on


def judge(
    inputs: Inputs,
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
    values = expected(inputs, direction, pinned=pinned, places=places)
    return verdict_on(got, direction, shape, dtype, before_rounding(inputs, dtype.name), values)
