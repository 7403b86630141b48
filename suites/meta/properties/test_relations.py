"""Relations between calls fail a backend that is wrong where they look, and accept harmless last bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.backends import load
from harness.operators.arrays import Array, Direction
from harness.operators.crop_and_resize.case import Case, Inputs
from harness.operators.implementation import Backend
from harness.operators.verdict import Status
from harness.properties import bounds, images, lists

OURS = load("roi_align")
BOXES = ((0.1, 0.2, 0.8, 0.9), (0.03, 0.05, 0.97, 0.93), (0.3, 0.1, 0.4, 0.7))  # no sample lies on a pixel


def altered(change: Callable[[Inputs, Direction, Array], None], **declared: Any) -> Backend[Inputs]:
    """This project's operator with its results changed in place, and these fields of its sheet."""

    def prepare(inputs: Inputs, direction: Direction) -> Callable[[], Array]:
        def call() -> Array:
            result = OURS.run(inputs, direction).copy()
            change(inputs, direction, result)
            return result

        return call

    return replace(OURS, prepare=prepare, to_numpy=np.asarray, sheet=replace(OURS.sheet, **declared))


def test_rows_beyond_16_bits_are_looked_at_behind_last_bits() -> None:
    case = Case((1, 2, 6, 7), BOXES, (0, 0, 0), (2, 3), seed=1)

    def last_bits(inputs: Inputs, direction: Direction, result: Array) -> None:
        if len(inputs.boxes) > 1000:
            result[:100] = np.nextafter(result[:100], np.float32(0))

    def zeros(inputs: Inputs, direction: Direction, result: Array) -> None:
        last_bits(inputs, direction, result)
        result[65_536:] = 0

    unpromised = {"list_bits": (), "layout_bits": ()}
    assert lists.long_list(altered(last_bits, **unpromised), case, "forward") is None
    message = lists.long_list(altered(zeros, **unpromised), case, "forward")
    assert "Of 65600 boxes one does not give what it gives among 3" in str(message)
    assert lists.long_list(altered(last_bits), case, "forward") is not None  # where bits are promised


@pytest.mark.parametrize("beyond", [0, 256])
def test_a_gradient_that_is_missing_on_a_large_image_is_out(beyond: int) -> None:
    """All of it, or beyond so many columns, as a grid of too few blocks leaves it."""
    case = Case((1, 1, 5, 600), ((0.0, 0.3, 1.0, 0.9),), (0,), (3, 40), values="normal")

    def missing(inputs: Inputs, direction: Direction, result: Array) -> None:
        result[..., beyond:] = 0

    assert bounds.reached_within_bound(OURS, case, "grad_image").passed
    assert bounds.reached_within_bound(altered(missing), case, "grad_image").status is Status.OUT


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_gradient_of_zeros_is_no_adjoint(dtype: str) -> None:
    case = Case((1, 4, 9, 11), BOXES, (0, 0, 0), (7, 7), image_dtype=dtype)

    def zeros(inputs: Inputs, direction: Direction, result: Array) -> None:
        if direction == "grad_image":
            result[...] = 0

    assert images.adjoint(OURS, case, "grad_image") is None
    assert "further apart than" in str(images.adjoint(altered(zeros), case, "grad_image"))
