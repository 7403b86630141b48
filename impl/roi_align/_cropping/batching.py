"""How the operators are mapped over a batch (torch.func.vmap): folded into one call, not looped.

A batch of images becomes more images, a batch of box lists one long list whose indices are moved on by as many images
as stand before theirs. An index that names no image must not come to name one of the next: it stays as bad as it was.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from roi_align._cropping import operator

Dims = tuple[int | None, ...]


def batched(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """The tensor with the batch as its first dimension, expanded if it has none."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def folded(tensor: Tensor) -> Tensor:
    """The batch folded into the dimension after it."""
    return tensor.flatten(0, 1)


def unfolded(tensor: Tensor, size: int) -> Tensor:
    return tensor.reshape(size, tensor.shape[0] // size if size else 0, *tensor.shape[1:])


def _moved_on(box_indices: Tensor, images: int) -> Tensor:
    """Indices (B, M) into N images each as indices into all B * N; a bad one stays out of range."""
    before = torch.arange(len(box_indices), device=box_indices.device, dtype=box_indices.dtype)[:, None] * images
    known = (box_indices >= 0) & (box_indices < images)
    return torch.where(known, box_indices + before, torch.full_like(box_indices, -1))


def _boxes_and_indices(
    size: int, images: int | None, boxes: Tensor, box_indices: Tensor, in_dims: Dims
) -> tuple[Tensor, Tensor]:
    """One long list of boxes; `images` is how many each batch has of its own, None if all share the same ones."""
    boxes, box_indices = batched(boxes, in_dims[0], size), batched(box_indices, in_dims[1], size)
    return folded(boxes), folded(box_indices if images is None else _moved_on(box_indices, images))


def _forward(
    info: Any, in_dims: Dims, image: Tensor, boxes: Tensor, box_indices: Tensor, *rest: Any
) -> tuple[Tensor, int]:
    size, images = info.batch_size, None
    if in_dims[0] is not None:
        image = image.movedim(in_dims[0], 0)
        images, image = image.shape[1], folded(image)
    boxes, box_indices = _boxes_and_indices(size, images, boxes, box_indices, in_dims[1:3])
    return unfolded(operator.crop_and_resize(image, boxes, box_indices, *rest), size), 0


def _grad_image(
    info: Any, in_dims: Dims, grad: Tensor, boxes: Tensor, box_indices: Tensor, images: int, *rest: Any
) -> tuple[Tensor, int]:
    size = info.batch_size
    boxes, box_indices = _boxes_and_indices(size, images, boxes, box_indices, in_dims[1:3])
    grad = folded(batched(grad, in_dims[0], size))
    return unfolded(operator.crop_and_resize_grad_image(grad, boxes, box_indices, size * images, *rest), size), 0


def _grad_boxes(
    info: Any, in_dims: Dims, grad: Tensor, image: Tensor, boxes: Tensor, box_indices: Tensor, box_rule: int
) -> tuple[Tensor, int]:
    size, images = info.batch_size, None
    if in_dims[1] is not None:
        image = image.movedim(in_dims[1], 0)
        images, image = image.shape[1], folded(image)
    boxes, box_indices = _boxes_and_indices(size, images, boxes, box_indices, in_dims[2:4])
    grad = folded(batched(grad, in_dims[0], size))
    return unfolded(operator.crop_and_resize_grad_boxes(grad, image, boxes, box_indices, box_rule), size), 0


torch.library.register_vmap("roi_align::crop_and_resize", _forward)
torch.library.register_vmap("roi_align::crop_and_resize_grad_image", _grad_image)
torch.library.register_vmap("roi_align::crop_and_resize_grad_boxes", _grad_boxes)
