"""Planted faults, and how they are built from an operator's step-by-step reference."""

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

# np.float16 or ml_dtypes' bfloat16: calling it rounds, and so does every operation on its scalars.
Half = Callable[[Any], Scalar]
Steps = dict[str, Callable[..., Any]]


@dataclass(frozen=True)
class Fault:
    """A wrong implementation: what is wrong, and the directions, images and modes in which it shows. It must be found
    in each direction and mode."""

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
    """An operator's reference as the base for faults, with the default images and modes in which they show.

    prefix   the prefix of its faults' names.
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
        """The reference with `wrap(call, inputs)` in place of the call."""
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
        """The reference with these steps replaced for half images; `replacements` gets the half type."""
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
        """A fault that returns `wrap(this project's own backend, inputs, direction)`, since plain loops are too slow
        for many boxes. It shows for float32 and float64 images, in mode avg."""

        def prepare(inputs: Any, direction: Direction) -> Callable[[], Array]:
            return lambda: wrap(load("roi_align", self.operator), inputs, direction)

        # The sheet is the reference's: all faults are loaded together, and must not import torch.
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
# All checks of roi_align include integer maps.
ROI_ALIGN = Rule("roi_align", "roi_", pooling.STEPS, pooling.build, (*FLOATS, "uint8", "int16"), SAMPLED)
