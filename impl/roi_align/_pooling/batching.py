"""How roi_align's operators are mapped over a batch (torch.func.vmap), as _batching.py folds it into one call.

Maps of a batch become more images, and the index column of its boxes moves on by as many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from roi_align._batching import batched, folded, moved_on, unfolded
from roi_align._pooling import operator

Dims = Sequence[int | None]


def _moved_on(boxes: Tensor, images: int) -> Tensor:
    """Boxes (B, K, 5) of N images each as boxes of all B * N."""
    return torch.cat([moved_on(boxes[..., 0], images)[..., None], boxes[..., 1:]], dim=-1)


def _all(tensors: Sequence[Tensor], dims: Dims, size: int) -> list[Tensor]:
    """Every map of every batch; one that has no batch is the same for all."""
    return [folded(batched(tensor, dim, size)) for tensor, dim in zip(tensors, dims, strict=True)]


def _none(dims: Dims) -> bool:
    return all(dim is None for dim in dims)


def _forward(info: Any, in_dims: Any, features: Sequence[Tensor], boxes: Tensor, *rest: Any) -> tuple[Tensor, int]:
    size = info.batch_size
    boxes = batched(boxes, in_dims[1], size)
    if not _none(in_dims[0]):
        features = _all(features, in_dims[0], size)
        boxes = _moved_on(boxes, features[0].shape[0] // size)
    return unfolded(operator.forward(features, folded(boxes), *rest), size), 0


def _at_largest(
    info: Any, in_dims: Any, values: Sequence[Tensor], features: Sequence[Tensor], boxes: Tensor, *rest: Any
) -> tuple[Tensor, int]:
    size = info.batch_size
    values, features = _all(values, in_dims[0], size), _all(features, in_dims[1], size)
    boxes = _moved_on(batched(boxes, in_dims[2], size), features[0].shape[0] // size)
    return unfolded(operator.at_largest(values, features, folded(boxes), *rest), size), 0


def _grad_features(
    info: Any, in_dims: Any, grad: Tensor, features: Sequence[Tensor], boxes: Tensor, sizes: Sequence[int], *rest: Any
) -> tuple[list[Tensor], list[int]]:
    size = info.batch_size
    grad, boxes = folded(batched(grad, in_dims[0], size)), batched(boxes, in_dims[2], size)
    features, boxes = _all(features, in_dims[1], size), folded(_moved_on(boxes, sizes[0]))
    found = operator.grad_features(grad, features, boxes, [size * sizes[0], *sizes[1:]], *rest)
    return [unfolded(each, size) for each in found], [0] * len(found)


def _grad_boxes(
    info: Any, in_dims: Any, grad: Tensor, features: Sequence[Tensor], boxes: Tensor, *rest: Any
) -> tuple[Tensor, int]:
    size = info.batch_size
    grad, boxes = folded(batched(grad, in_dims[0], size)), batched(boxes, in_dims[2], size)
    if not _none(in_dims[1]):
        features = _all(features, in_dims[1], size)
        boxes = _moved_on(boxes, features[0].shape[0] // size)
    return unfolded(operator.grad_boxes(grad, features, folded(boxes), *rest), size), 0


torch.library.register_vmap("roi_align::roi_align", _forward)
torch.library.register_vmap("roi_align::roi_align_at_largest", _at_largest)
torch.library.register_vmap("roi_align::roi_align_grad_features", _grad_features)
torch.library.register_vmap("roi_align::roi_align_grad_boxes", _grad_boxes)
