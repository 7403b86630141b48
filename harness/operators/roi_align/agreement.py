"""Whether two results of one call of roi_align agree: agreement.py's comparison, for this operator's oracle."""

from __future__ import annotations

import numpy as np

from harness.operators.arrays import Array, Direction, differing
from harness.operators.roi_align.call import accumulated_in
from harness.operators.roi_align.case import RoiInputs
from harness.operators.roi_align.oracle import expected
from harness.operators.rounding import UNIT

# So many of the values that differ are looked at: the oracle is plain Python.
MOST_PLACES = 8
# A mean and a gradient of a map are products and sums of at least as many roundings, so that a bound is no smaller part
# of a value: what is as near as that needs no oracle.
LEAST_ROUNDINGS = 8


def beyond_two_bounds(
    inputs: RoiInputs, direction: Direction, got: Array, want: Array, *, pinned: bool = True
) -> str | None:
    """A value that is further from its counterpart than twice the oracle's bound for it, in words, or None.

    Two right results may lie on both sides of what is exact. Of values that differ the furthest are looked at. pinned:
    whether both round positions in the pinned order; if not, what another order may change is left out.
    """
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"It is {got.dtype} of shape {got.shape}, the other {want.dtype} of shape {want.shape}."
    one, other = got.astype(np.float64), want.astype(np.float64)
    with np.errstate(invalid="ignore"):  # an infinity that both have is no distance
        distances = np.where(differing(got, want), np.abs(one - other), -1.0)
    distances = np.where(np.isnan(distances), np.inf, distances)
    if direction != "grad_boxes" and inputs.mode == "avg":
        near = LEAST_ROUNDINGS * UNIT[accumulated_in(inputs)] * np.minimum(np.abs(one), np.abs(other))
        distances = np.where(distances <= near, -1.0, distances)
    furthest = np.argsort(distances, axis=None)[::-1][:MOST_PLACES]
    places = [tuple(int(axis) for axis in np.unravel_index(flat, got.shape)) for flat in furthest]
    places = [place for place in places if distances[place] >= 0]
    if not places:
        return None  # before the oracle weighs anything
    for place, value in expected(inputs, direction, pinned=pinned, places=places):
        if value.ambiguous or not np.isfinite(float(value.value)):
            continue
        if not distances[place] <= 2 * value.bound:
            return f"{got[place]!r} at {place} is more than two bounds of {value.bound:.3g} from {want[place]!r}."
    return None
