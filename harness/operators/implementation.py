"""What an implementation of an operator is to everything here: a record of functions and a capability sheet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from harness.operators import operator_of
from harness.operators.arrays import FLOATS, Array, Direction
from harness.operators.sheet import LARGEST, Sheet

AnyInputs = TypeVar("AnyInputs")


def _avoids_nothing(inputs: Any, direction: Direction) -> str | None:
    return None


@dataclass(frozen=True)
class Backend(Generic[AnyInputs]):
    """One implementation of one operator; AnyInputs are the inputs of that operator's cases.

    title       what tables call it, library and version, e.g. "TensorFlow 2.21.0 (CPU)".
    sheet       what it declares of itself.
    prepare     copies the inputs to where and how the library wants them and returns the call to be judged or timed.
    to_numpy    what that call returned, as an NCHW array (boxes: (M,4) or (K,5)), copied to the host.
    avoids      why it is not asked for a direction of inputs though its sheet declares them, or None: what is known to
                be another rule, or to end the process.
    same_rule   False if it computes another rule than its operator's and may only be timed, for scale.
    """

    name: str
    title: str
    sheet: Sheet
    prepare: Callable[[AnyInputs, Direction], Callable[[], Any]]
    to_numpy: Callable[[Any], Array]
    avoids: Callable[[AnyInputs, Direction], str | None] = _avoids_nothing
    same_rule: bool = True

    def refuses(self, inputs: AnyInputs, direction: Direction) -> str | None:
        """Why this backend cannot be asked for a direction of these inputs, or None if it can."""
        return lacks(self.sheet, inputs, direction) or self.avoids(inputs, direction)

    def run(self, inputs: AnyInputs, direction: Direction) -> Array:
        """One direction of one call, as NumPy."""
        return self.to_numpy(self.prepare(inputs, direction)())


def lacks(sheet: Sheet, inputs: Any, direction: Direction) -> str | None:
    """What of a call its sheet does not declare, in words, or None if all of it is declared."""
    if direction not in sheet.directions:
        return f"{direction} is not declared"
    image, boxes = inputs.image, inputs.boxes
    choices = [
        ("images", image.dtype.name, sheet.image_dtypes),
        ("boxes", boxes.dtype.name, sheet.boxes_dtypes),
        *((name, value, getattr(sheet, field)) for name, value, field in operator_of(inputs).choices(inputs)),
    ]
    for name, value, declared in choices:
        if value not in declared:
            return f"{name} {value!r}: not declared, only {', '.join(map(repr, declared))}"
    undefined = operator_of(inputs).undefined(inputs, direction)
    if undefined is not None:
        return undefined
    if direction == "grad_image" and image.dtype.name not in FLOATS:
        return f"images of {image.dtype} have no gradient"
    if sheet.same_dtype and boxes.dtype != image.dtype:
        return "boxes of another dtype than the image's are not declared"
    if "boxes" not in sheet.bad_input and not bool(np.all(np.abs(boxes.astype(np.float64)) <= LARGEST)):
        return f"boxes that are not finite, or beyond {LARGEST:.0f}, are not declared"
    if not sheet.special_values and not bool(np.all(np.isfinite(image.astype(np.float64)))):
        return "pixels that are NaN or infinite are not declared"
    if not sheet.empty and not (image.size and len(boxes)):
        return "empty inputs are not declared"
    if sheet.border == "zero" and operator_of(inputs).extrapolation_value(inputs) != 0:
        return "an extrapolation value other than 0 is not declared"
    return None
