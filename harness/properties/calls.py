"""Calls tied to one another: the same with other boxes, or another image, and whether their results are the same."""

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
    """How two results for these inputs are not the same, or None: by bits where these are promised, else within bounds.

    promises: the fields of its sheet, layout_bits and list_bits, that promise the bits of such two calls.
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
    """What fails to hold, with how it does; None where nothing does."""
    return None if difference is None else f"{claim}: {difference}."
