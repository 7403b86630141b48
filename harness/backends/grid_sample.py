"""crop_and_resize by way of torch's grid_sample, which is how it is mostly written by those who have no operator.

Positions go through [-1, 1] and back, so they are rounded in another order than A, and a grid must be of the image's
dtype: the judge grants what that can change. Its nearest mode rounds halves to even, which is another rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from harness.backends import Backend
from harness.case import Array, Direction, Inputs


def axis_positions(first: Tensor, last: Tensor, count: int, length: int) -> Tensor:
    """Positions in pixel indices, (M, count), differentiable in the box."""
    if count == 1:
        return (0.5 * (first + last) * (length - 1))[:, None]
    share = torch.arange(count, dtype=first.dtype) / (count - 1)
    return (first[:, None] + (last - first)[:, None] * share) * (length - 1)


def crop_and_resize(
    image: Tensor, boxes: Tensor, box_indices: Tensor, crop_size: tuple[int, int], extrapolation_value: float
) -> Tensor:
    """Crops (M,C,h,w); the boxes of one image go through one grid, so that no image is copied for each of its boxes."""
    height, width = image.shape[2:]
    boxes = boxes.to(torch.promote_types(boxes.dtype, image.dtype))
    y = axis_positions(boxes[:, 0], boxes[:, 2], crop_size[0], height)
    x = axis_positions(boxes[:, 1], boxes[:, 3], crop_size[1], width)
    inside = ((y >= 0) & (y <= height - 1))[:, :, None] & ((x >= 0) & (x <= width - 1))[:, None, :]
    grid = torch.stack(
        [
            (x * (2 / max(width - 1, 1)) - 1)[:, None, :].expand(-1, crop_size[0], -1),
            (y * (2 / max(height - 1, 1)) - 1)[:, :, None].expand(-1, -1, crop_size[1]),
        ],
        dim=-1,
    ).to(image.dtype)
    order, crops = [], []
    for n in range(image.shape[0]):
        mine = torch.nonzero(box_indices == n)[:, 0]
        if len(mine):
            rows = grid[mine].reshape(1, len(mine) * crop_size[0], crop_size[1], 2)
            sampled = functional.grid_sample(image[n : n + 1], rows, padding_mode="border", align_corners=True)
            crops.append(sampled.reshape(-1, len(mine), *crop_size).transpose(0, 1))
            order.append(mine)
    gathered = torch.cat(crops)[torch.argsort(torch.cat(order))]
    return torch.where(inside[:, None], gathered, torch.as_tensor(extrapolation_value, dtype=image.dtype))


def refuses(inputs: Inputs, direction: Direction) -> str | None:
    if inputs.box_rule != "normalized":
        return "grid_sample is written here for normalised boxes only."
    if direction != "grad_boxes" and inputs.method == "nearest":
        return "grid_sample's nearest mode rounds halves to even: another rule."
    if not np.issubdtype(inputs.image.dtype, np.floating):
        return "grid_sample takes no integer image."
    if not inputs.boxes.size or not inputs.image.size:
        return "grid_sample takes no empty input."
    if direction == "grad_boxes" and not bool(np.all(np.isfinite(inputs.image))):
        return "grid_sample differentiates through samples that are masked afterwards, and 0 times NaN is NaN."
    limit = 2.0**20
    if not bool(np.all(np.abs(inputs.boxes) < limit)):
        return "grid_sample is asked for finite boxes of moderate size only: it differentiates through all of them."
    return None


def prepare(inputs: Inputs, direction: Direction) -> Callable[[], Any]:
    image, boxes, upstream = (_tensor(array) for array in (inputs.image, inputs.boxes, inputs.upstream))
    indices = _tensor(inputs.box_indices)

    def forward() -> Tensor:
        return crop_and_resize(image, boxes, indices, inputs.crop_size, inputs.extrapolation_value)

    if direction == "forward":
        return forward
    wanted = image if direction == "grad_image" else boxes
    wanted.requires_grad_()

    def gradient() -> Tensor:
        return torch.autograd.grad(forward(), wanted, upstream)[0]

    return gradient


def _tensor(array: Array) -> Tensor:
    """A tensor with the array's strides; a copy where the array may not be written or overlaps itself."""
    if not array.flags.writeable or 0 in array.strides:
        array = array.copy()
    return torch.from_numpy(array)


def to_numpy(result: Tensor) -> Array:
    return result.detach().numpy()


backend = Backend("grid_sample", f"grid_sample, torch {torch.__version__} (CPU)", refuses, prepare, to_numpy)
