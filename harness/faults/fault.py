"""What a planted fault is, and how one is made of an operator's step-by-step reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.backends import load
from harness.operators.arrays import DIRECTIONS, FLOATS, HALVES, SINGLE_AND_DOUBLE, Array, Direction
from harness.operators.crop_and_resize import reference as cropping
from harness.operators.crop_and_resize.reference import Scalar
from harness.operators.implementation import Backend
from harness.operators.roi_align import reference as pooling
from harness.operators.roi_align.case import SAMPLED, Mode
from harness.operators.sheet import OperatorName

FORWARD: tuple[Direction, ...] = ("forward",)
IMAGE: tuple[Direction, ...] = ("forward", "grad_image")
BOXES: tuple[Direction, ...] = ("grad_boxes",)
GRADIENTS: tuple[Direction, ...] = ("grad_image", "grad_boxes")

# np.float16 or ml_dtypes' bfloat16: a call rounds to it, and so does every operation on its scalars.
Half = Callable[[Any], Scalar]
Steps = dict[str, Callable[..., Any]]


@dataclass(frozen=True)
class Fault:
    """A wrong implementation: what it does, why that matters, and in which directions, of which images and in which
    modes it shows. It has to be found in each direction and mode."""

    name: str
    why: str
    directions: tuple[Direction, ...]
    backend: Backend[Any]
    image_dtypes: tuple[str, ...] = SINGLE_AND_DOUBLE
    modes: tuple[Mode, ...] = ("avg",)

    @property
    def operator(self) -> OperatorName:
        return self.backend.sheet.operator


@dataclass(frozen=True)
class Rule:
    """An operator's reference as faults are planted in it, and where they show unless one says otherwise.

    prefix   what the names of its faults begin with.
    build    (steps, name=, title=) -> the reference with these steps.
    """

    operator: OperatorName
    prefix: str
    steps: Any
    build: Callable[..., Backend[Any]]
    image_dtypes: tuple[str, ...]
    modes: tuple[Mode, ...]

    def step(
        self,
        name: str,
        why: str,
        directions: tuple[Direction, ...] = DIRECTIONS,
        modes: tuple[Mode, ...] = (),
        image_dtypes: tuple[str, ...] = (),
        **replacements: Callable[..., Any],
    ) -> Fault:
        """The reference with these steps replaced."""
        return self._fault(name, why, directions, self._reference(name, replacements), modes, image_dtypes)

    def around(
        self,
        name: str,
        why: str,
        directions: tuple[Direction, ...],
        wrap: Callable[[Callable[[], Array], Any], Array],
        image_dtypes: tuple[str, ...] = (),
    ) -> Fault:
        """The reference inside `wrap(call, inputs)`, which is run instead of the call."""
        honest = self._reference(name, {})

        def prepare(inputs: Any, direction: Direction) -> Callable[[], Array]:
            call = honest.prepare(inputs, direction)
            return lambda: wrap(call, inputs)

        return self._fault(name, why, directions, dataclasses.replace(honest, prepare=prepare), (), image_dtypes)

    def in_halves(
        self,
        name: str,
        why: str,
        directions: tuple[Direction, ...],
        replacements: Callable[[Half], Steps],
        image_dtypes: tuple[str, ...] = HALVES,
    ) -> Fault:
        """The reference with these steps replaced for half images; `replaced` gets the half's type."""
        honest = self._reference(name, {})

        def prepare(inputs: Any, direction: Direction) -> Callable[[], Any]:
            if inputs.image.dtype.name not in image_dtypes:
                return honest.prepare(inputs, direction)
            return self._reference(name, replacements(inputs.image.dtype.type)).prepare(inputs, direction)

        return self._fault(name, why, directions, dataclasses.replace(honest, prepare=prepare), (), image_dtypes)

    def instead(
        self,
        name: str,
        why: str,
        directions: tuple[Direction, ...],
        wrap: Callable[[Backend[Any], Any, Direction], Array],
    ) -> Fault:
        """What returns `wrap(this project's own backend, inputs, direction)`: plain loops are too slow for many boxes.
        It shows in images of float32 and float64, and in a mean."""

        def prepare(inputs: Any, direction: Direction) -> Callable[[], Array]:
            return lambda: wrap(load("roi_align", self.operator), inputs, direction)

        # The sheet is the reference's: a fault is loaded with all others, and must not cost an import of torch.
        honest = self._reference(name, {})
        backend = Backend(honest.name, honest.title, honest.sheet, prepare, np.asarray)
        return self._fault(name, why, directions, backend, ("avg",), SINGLE_AND_DOUBLE)

    def _reference(self, name: str, replacements: Steps) -> Backend[Any]:
        steps = dataclasses.replace(self.steps, **replacements)
        return self.build(steps, name=f"fault:{self.prefix}{name}", title=f"fault: {name}")

    def _fault(
        self,
        name: str,
        why: str,
        directions: tuple[Direction, ...],
        backend: Backend[Any],
        modes: tuple[Mode, ...],
        image_dtypes: tuple[str, ...],
    ) -> Fault:
        dtypes = image_dtypes or self.image_dtypes
        return Fault(f"{self.prefix}{name}", why, directions, backend, dtypes, modes or self.modes)


CROP_AND_RESIZE = Rule("crop_and_resize", "", cropping.STEPS, cropping.build, SINGLE_AND_DOUBLE, ("avg",))
# Integer maps are part of what roi_align's rule is asked for everywhere.
ROI_ALIGN = Rule("roi_align", "roi_", pooling.STEPS, pooling.build, (*FLOATS, "uint8", "int16"), SAMPLED)
