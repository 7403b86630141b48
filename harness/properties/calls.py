"""Compares the results of related calls, for the relations in lists.py, images.py and geometry.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.operators import AnyInput
from harness.operators.arrays import Array, Direction, differing
from harness.operators.implementation import Backend
from harness.operators.judgement import beyond_two_bounds


def same(
    backend: Backend[Any],
    inputs: AnyInput,
    direction: Direction,
    result: Array,
    expected: Array,
    *promises: tuple[Direction, ...],
) -> str | None:
    """How two results for these inputs differ, or None: by bits if the sheet promises them, else by bounds.

    promises: the sheet's fields, layout_bits and list_bits, that promise equal bits for two such calls.
    """
    if result.shape != expected.shape or result.dtype != expected.dtype:
        return f"one is {result.dtype} of shape {result.shape}, the other {expected.dtype} of shape {expected.shape}"
    sheet = backend.sheet
    if direction in sheet.unordered or not all(direction in promise for promise in promises):
        return beyond_two_bounds(inputs, direction, result, expected, pinned=direction in sheet.pinned)
    different = differing(result, expected)
    if not different.any():
        return None
    place = tuple(int(axis[0]) for axis in np.nonzero(different))
    count = f"{int(different.sum())} of {result.size} values differ"
    return f"{count}; at {place} one is {result[place]!r}, the other {expected[place]!r}"


def sentence(claim: str, difference: str | None) -> str | None:
    """The violated claim with the difference, as a sentence; None if there is no difference."""
    return None if difference is None else f"{claim}: {difference}."
