"""Whether two results of one call agree: in every bit, or as far as two right results can be apart.

The judge holds a result against the oracle. Here it is held against another implementation's, or against its own from
another layout or another run.
"""

from __future__ import annotations

import numpy as np

from harness.operators.arrays import Array, Direction, differing
from harness.operators.crop_and_resize.call import before_rounding
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.crop_and_resize.oracle import expected
from harness.operators.sheet import Sheet


def unlike_tensorflow(sheet: Sheet, inputs: Inputs, direction: Direction, got: Array, want: Array) -> str | None:
    """What of an implementation's result is not as TensorFlow's is, in words, or None.

    A differing bit where its sheet promises TensorFlow's bits; else a value that is more than two bounds away.
    """
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"It is {got.dtype} of shape {got.shape}, TensorFlow's {want.dtype} of shape {want.shape}."
    if direction in sheet.tensorflow_bits:
        different = differing(got, want)
        if not different.any():
            return None
        place = tuple(int(axis[0]) for axis in np.nonzero(different))
        return (
            f"{int(different.sum())} values differ from TensorFlow's; at {place} {got[place]!r}, not {want[place]!r}."
        )
    # The positions of its own box gradient are not order A's.
    pinned = direction in sheet.pinned and direction != "grad_boxes"
    apart = beyond_two_bounds(inputs, direction, got, want, pinned=pinned)
    return apart and f"{apart}, which is TensorFlow's."


def beyond_two_bounds(inputs: Inputs, direction: Direction, got: Array, want: Array, *, pinned: bool) -> str | None:
    """The first value that is further from its counterpart than twice the oracle's bound for it, in words, or None.

    Two right results may lie on both sides of what is exact. pinned: whether both round positions in order A; if not,
    what another order of rounding may change is left out, and so is what is not finite: the judge has its say on those.
    """
    unrounded = before_rounding(inputs, got.dtype.name)
    places = [tuple(int(axis) for axis in place) for place in np.argwhere(differing(got, want))]
    if not places:
        return None  # before the oracle weighs anything
    for place, value in expected(inputs, direction, pinned=pinned, places=places):
        if value.ambiguous or not np.isfinite(float(value.value)):
            continue
        one, other = unrounded(float(got[place])), unrounded(float(want[place]))
        distance = max(one[0] - other[1], other[0] - one[1], 0.0)
        if not distance <= 2 * value.bound:  # a NaN is not <= either
            return f"{got[place]!r} at {place} is more than two bounds of {value.bound:.3g} from {want[place]!r}"
    return None
