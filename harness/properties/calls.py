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
    got: Array,
    want: Array,
    *promises: tuple[Direction, ...],
) -> str | None:
    """How two results for these inputs differ, or None: by bits if the sheet promises them, else by bounds.

    promises: the sheet's fields, layout_bits and list_bits, that promise equal bits for two such calls.
    """
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"one is {got.dtype} of shape {got.shape}, the other {want.dtype} of shape {want.shape}"
    sheet = backend.sheet
    if direction in sheet.unordered or not all(direction in promise for promise in promises):
        return beyond_two_bounds(inputs, direction, got, want, pinned=direction in sheet.pinned)
    different = differing(got, want)
    if not different.any():
        return None
    place = tuple(int(axis[0]) for axis in np.nonzero(different))
    count = f"{int(different.sum())} of {got.size} values differ"
    return f"{count}; at {place} one is {got[place]!r}, the other {want[place]!r}"


def sentence(claim: str, difference: str | None) -> str | None:
    """The violated claim with the difference, as a sentence; None if there is no difference."""
    return None if difference is None else f"{claim}: {difference}."
