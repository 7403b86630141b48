"""How crop_and_resize's operators are mapped over a batch (torch.func.vmap), as _batching.py folds it into one call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from roi_align._batching import batched, folded, moved_on, own, unfolded
from roi_align._cropping import operator

Dims = tuple[int | None, ...]


def _boxes_and_indices(
    size: int, images: int | None, boxes: Tensor, box_indices: Tensor, in_dims: Dims
) -> tuple[Tensor, Tensor]:
    """One long list of boxes; `images` is how many each batch has of its own, None if all share the same ones."""
    boxes, box_indices = batched(boxes, in_dims[0], size), batched(box_indices, in_dims[1], size)
    return folded(boxes), folded(moved_on(box_indices, images))


def _forward(
    info: Any, in_dims: Dims, image: Tensor, boxes: Tensor, box_indices: Tensor, *rest: Any
) -> tuple[Tensor, int]:
    size = info.batch_size
    images, (image,) = own([image], in_dims[:1], size)
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
    size = info.batch_size
    images, (image,) = own([image], in_dims[1:2], size)
    boxes, box_indices = _boxes_and_indices(size, images, boxes, box_indices, in_dims[2:4])
    grad = folded(batched(grad, in_dims[0], size))
    return unfolded(operator.crop_and_resize_grad_boxes(grad, image, boxes, box_indices, box_rule), size), 0


torch.library.register_vmap("roi_align::crop_and_resize", _forward)
torch.library.register_vmap("roi_align::crop_and_resize_grad_image", _grad_image)
torch.library.register_vmap("roi_align::crop_and_resize_grad_boxes", _grad_boxes)
