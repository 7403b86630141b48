"""Judging a result of either operator, against the oracle or against another result.

`judge` compares a result with the oracle. `beyond_two_bounds` compares it with another implementation's, or with its
own in another layout or run: two right results may lie on both sides of the exact value, two bounds apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from harness.operators import operator_of
from harness.operators.arrays import Array, Direction, differing
from harness.operators.expected import Place, accumulated_in, before_rounding
from harness.operators.rounding import UNIT
from harness.operators.sheet import Sheet
from harness.operators.verdict import Verdict, verdict_on, without_result, without_verdict


def judge(
    inputs: Any,
    direction: Direction,
    result: Array | BaseException,
    *,
    pinned: bool,
    places: Iterable[Place] | None = None,
) -> Verdict:
    """Judges `result`, a result or the exception in its place, against the oracle, at all places or those in `places`.

    pinned: whether the implementation rounds positions in the pinned order; then no value may be ambiguous. An
    exception of the oracle gives a verdict too, Status.JUDGE.
    """
    if isinstance(result, BaseException):
        return without_result(result)
    try:
        operator = operator_of(inputs)
        shape, dtype = operator.result_type(inputs, direction)
        values = operator.expected(inputs, direction, pinned=pinned, places=places)
        return verdict_on(result, direction, shape, dtype, before_rounding(inputs, dtype.name), values)
    except Exception as error:
        return without_verdict(error)


def beyond_two_bounds(
    inputs: Any, direction: Direction, result: Array, other: Array, *, pinned: bool = True
) -> str | None:
    """Describes a value that differs from its counterpart by more than twice the oracle's bound; None if there is none.

    The largest differences are checked first. pinned: whether both round positions in the pinned order; if not,
    ambiguous and non-finite values are skipped: the judge covers those.
    """
    if result.shape != other.shape or result.dtype != other.dtype:
        return f"It is {result.dtype} of shape {result.shape}, the other {other.dtype} of shape {other.shape}."
    operator = operator_of(inputs)
    one, two = result.astype(np.float64), other.astype(np.float64)
    unit = operator.least_roundings(inputs, direction) * UNIT[accumulated_in(inputs)]
    with np.errstate(invalid="ignore"):  # equal infinities are at distance 0
        distances = np.where(differing(result, other), np.abs(one - two), -1.0)
        # Differences below a result's own roundings are within its bound without asking the oracle.
        near = distances <= unit * np.minimum(np.abs(one), np.abs(two))
    distances = np.where(near, -1.0, np.where(np.isnan(distances), np.inf, distances))
    furthest = np.argsort(distances, axis=None)[::-1][: operator.most_places]
    places = [tuple(int(axis) for axis in np.unravel_index(flat, result.shape)) for flat in furthest]
    places = [place for place in places if distances[place] >= 0]
    if not places:
        return None  # before the oracle computes anything
    unrounded = before_rounding(inputs, result.dtype.name)
    for place, value in operator.expected(inputs, direction, pinned=pinned, places=places):
        if value.ambiguous or not np.isfinite(float(value.value)):
            continue
        low, high = unrounded(float(result[place])), unrounded(float(other[place]))
        distance = max(low[0] - high[1], high[0] - low[1], 0.0)
        if not distance <= 2 * value.bound:  # a NaN is not <= either
            return f"{result[place]!r} at {place} is more than two bounds of {value.bound:.3g} from {other[place]!r}."
    return None


def unlike_peer(sheet: Sheet, inputs: Any, direction: Direction, result: Array, peer_result: Array) -> str | None:
    """How a result differs from that of its operator's peer, in words, or None.

    By any bit where the sheet promises TensorFlow's bits, else by more than two bounds.
    """
    peer = operator_of(inputs).peer
    if result.shape == peer_result.shape and result.dtype == peer_result.dtype and direction in sheet.tensorflow_bits:
        different = differing(result, peer_result)
        if not different.any():
            return None
        place = tuple(int(axis[0]) for axis in np.nonzero(different))
        count = f"{int(different.sum())} values differ from {peer.title}'s"
        return f"{count}; at {place} {result[place]!r}, not {peer_result[place]!r}."
    pinned = direction in sheet.pinned and direction in peer.pinned
    message = beyond_two_bounds(inputs, direction, result, peer_result, pinned=pinned)
    return message and f"{message[:-1]}, which is {peer.title}'s."
