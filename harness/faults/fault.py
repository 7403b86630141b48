"""What a planted fault is, and how one is made of the reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.operators.arrays import DIRECTIONS, HALVES, SINGLE_AND_DOUBLE, Direction
from harness.operators.crop_and_resize import reference as rule
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.crop_and_resize.reference import STEPS, Scalar, Steps
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import Mode
from harness.operators.sheet import OperatorName

FORWARD: tuple[Direction, ...] = ("forward",)
IMAGE: tuple[Direction, ...] = ("forward", "grad_image")
BOXES: tuple[Direction, ...] = ("grad_boxes",)
GRADIENTS: tuple[Direction, ...] = ("grad_image", "grad_boxes")

# np.float16 or ml_dtypes' bfloat16: a call rounds to it, and so does every operation on its scalars.
Half = Callable[[Any], Scalar]


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


def step(name: str, why: str, directions: tuple[Direction, ...] = DIRECTIONS, **replaced: Callable[..., Any]) -> Fault:
    """The reference with these steps replaced."""
    steps: Steps = dataclasses.replace(STEPS, **replaced)
    return Fault(name, why, directions, rule.build(steps, name=f"fault:{name}", title=f"fault: {name}"))


def in_halves(
    name: str,
    why: str,
    directions: tuple[Direction, ...],
    replaced: Callable[[Half], dict[str, Callable[..., Any]]],
    image_dtypes: tuple[str, ...] = HALVES,
) -> Fault:
    """The reference with these steps replaced for half images; `replaced` is told which half it is."""
    honest = rule.build(STEPS, name=f"fault:{name}", title=f"fault: {name}")

    def prepare(inputs: Inputs, direction: Direction) -> Callable[[], Any]:
        if inputs.image.dtype.name not in image_dtypes:
            return honest.prepare(inputs, direction)
        steps: Steps = dataclasses.replace(STEPS, **replaced(inputs.image.dtype.type))
        return rule.build(steps).prepare(inputs, direction)

    return Fault(name, why, directions, dataclasses.replace(honest, prepare=prepare), image_dtypes)


def around(
    name: str,
    why: str,
    directions: tuple[Direction, ...],
    wrap: Callable[..., Any],
    image_dtypes: tuple[str, ...] = SINGLE_AND_DOUBLE,
) -> Fault:
    """The reference inside `wrap(call, inputs)`, which is run instead of the call."""
    honest = rule.build(STEPS, name=f"fault:{name}", title=f"fault: {name}")

    def prepare(inputs: Inputs, direction: Direction) -> Callable[[], Any]:
        call = honest.prepare(inputs, direction)
        return lambda: wrap(call, inputs)

    return Fault(name, why, directions, dataclasses.replace(honest, prepare=prepare), image_dtypes)
