"""This project's operator on the CPU, asked through what users call, gradients through autograd.

The layout of the inputs is passed on as it is: whether the operator keeps it is part of what is judged.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch

from harness.backends import Backend
from harness.case import DIRECTIONS, Array, Direction, Inputs
from roi_align import RoIAlign, crop_and_resize
from roi_align.functional import BOX_DTYPES, IMAGE_DTYPES


def _tensor(array: Array) -> torch.Tensor:
    """The array's own memory and strides: nothing is copied."""
    return torch.from_numpy(array)


def _call(inputs: Inputs, image: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    box_indices = _tensor(inputs.box_indices)
    if inputs.box_rule == "normalized":
        return crop_and_resize(image, boxes, box_indices, inputs.crop_size, inputs.method, inputs.extrapolation_value)
    align = RoIAlign(*inputs.crop_size, inputs.extrapolation_value, inputs.box_rule == "bin_centres")
    crops: torch.Tensor = align(image, boxes, box_indices)
    return crops


def refuses(inputs: Inputs, direction: Direction) -> str | None:
    if inputs.image.dtype.name not in [str(dtype).removeprefix("torch.") for dtype in IMAGE_DTYPES]:
        return f"images of {inputs.image.dtype} are not taken yet"
    if inputs.boxes.dtype.name not in [str(dtype).removeprefix("torch.") for dtype in BOX_DTYPES]:
        return f"boxes of {inputs.boxes.dtype} are not taken"
    if inputs.box_rule != "normalized" and inputs.method != "bilinear":
        return "RoIAlign has no method: it is bilinear"
    return None


def prepare(inputs: Inputs, direction: Direction) -> Callable[[], torch.Tensor]:
    image, boxes = _tensor(inputs.image), _tensor(inputs.boxes)
    if direction == "forward":
        return lambda: _call(inputs, image, boxes)
    wanted = image if direction == "grad_image" else boxes
    wanted.requires_grad_()
    crops = _call(inputs, image, boxes)
    upstream = _tensor(inputs.upstream)

    def gradient() -> torch.Tensor:
        return torch.autograd.grad(crops, wanted, upstream, retain_graph=True)[0]

    return gradient


def to_numpy(result: torch.Tensor) -> Array:
    return np.array(result.detach().numpy(), order="K")


backend = Backend(
    name="roi_align",
    title=f"roi_align {version('roi-align')} (CPU)",
    refuses=refuses,
    prepare=prepare,
    to_numpy=to_numpy,
    order_a=frozenset(DIRECTIONS),
)
