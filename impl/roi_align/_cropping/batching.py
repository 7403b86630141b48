"""Batching rules of crop_and_resize's operators (torch.func.vmap); _batching.py folds a batch into one call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from roi_align._batching import batch_first, fold, fold_own, shift, unfold
from roi_align._cropping import operator

Dims = tuple[int | None, ...]


def _boxes_and_indices(
    size: int, images: int | None, boxes: Tensor, box_indices: Tensor, in_dims: Dims
) -> tuple[Tensor, Tensor]:
    """All batches as one list of boxes; `images` is the number of images per batch, None if all batches share them."""
    boxes, box_indices = batch_first(boxes, in_dims[0], size), batch_first(box_indices, in_dims[1], size)
    return fold(boxes), fold(shift(box_indices, images))


def _forward(
    info: Any, in_dims: Dims, image: Tensor, boxes: Tensor, box_indices: Tensor, *rest: Any
) -> tuple[Tensor, int]:
    size = info.batch_size
    images, (image,) = fold_own([image], in_dims[:1], size)
    boxes, box_indices = _boxes_and_indices(size, images, boxes, box_indices, in_dims[1:3])
    return unfold(operator.crop_and_resize(image, boxes, box_indices, *rest), size), 0


def _grad_image(
    info: Any, in_dims: Dims, grad: Tensor, boxes: Tensor, box_indices: Tensor, images: int, *rest: Any
) -> tuple[Tensor, int]:
    size = info.batch_size
    boxes, box_indices = _boxes_and_indices(size, images, boxes, box_indices, in_dims[1:3])
    grad = fold(batch_first(grad, in_dims[0], size))
    return unfold(operator.crop_and_resize_grad_image(grad, boxes, box_indices, size * images, *rest), size), 0


def _grad_boxes(
    info: Any, in_dims: Dims, grad: Tensor, image: Tensor, boxes: Tensor, box_indices: Tensor, box_rule: int
) -> tuple[Tensor, int]:
    size = info.batch_size
    images, (image,) = fold_own([image], in_dims[1:2], size)
    boxes, box_indices = _boxes_and_indices(size, images, boxes, box_indices, in_dims[2:4])
    grad = fold(batch_first(grad, in_dims[0], size))
    return unfold(operator.crop_and_resize_grad_boxes(grad, image, boxes, box_indices, box_rule), size), 0


torch.library.register_vmap("roi_align::crop_and_resize", _forward)
torch.library.register_vmap("roi_align::crop_and_resize_grad_image", _grad_image)
torch.library.register_vmap("roi_align::crop_and_resize_grad_boxes", _grad_boxes)
