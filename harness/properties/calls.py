"""Calls tied to one another: the same with other boxes, or another image, and whether their results are the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from harness.backends import Backend
from harness.operators.crop_and_resize.agreement import differing
from harness.operators.crop_and_resize.case import Array, Direction
from harness.operators.operator import AnyInput, operator_of
from harness.operators.roi_align.case import RoiInputs


def image_of(inputs: AnyInput) -> Array:
    """What a call reads its pixels from, whatever its operator calls it."""
    return inputs.input if isinstance(inputs, RoiInputs) else inputs.image


def with_image(inputs: Any, image: Array, **others: Any) -> Any:
    """The call with this image, and these other arrays."""
    return replace(inputs, **{"input" if isinstance(inputs, RoiInputs) else "image": image}, **others)


def with_boxes(inputs: Any, rows: Any) -> Any:
    """The call with these of its boxes."""
    names = operator_of(inputs).arrays[1:]
    return replace(inputs, **{name: np.ascontiguousarray(getattr(inputs, name)[rows]) for name in names})


def same(
    backend: Backend[Any], inputs: AnyInput, direction: Direction, got: Array, want: Array, *, layouts: bool = False
) -> str | None:
    """How two results for these inputs are not the same, or None: by bits where the order of sums is known to be one.

    layouts: whether they come from two layouts or dtypes.
    """
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"one is {got.dtype} of shape {got.shape}, the other {want.dtype} of shape {want.shape}"
    sheet = backend.sheet
    if direction in sheet.unordered or (layouts and direction in sheet.layout_order):
        return operator_of(inputs).apart(inputs, direction, got, want, direction in sheet.pinned)
    different = differing(got, want)
    if not different.any():
        return None
    place = tuple(int(axis[0]) for axis in np.nonzero(different))
    count = f"{int(different.sum())} of {got.size} values differ"
    return f"{count}; at {place} one is {got[place]!r}, the other {want[place]!r}"


def said(what: str, broken: str | None) -> str | None:
    """What fails to hold, with how it does; None where nothing does."""
    return None if broken is None else f"{what}: {broken}."
