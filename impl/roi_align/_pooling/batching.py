"""How roi_align's operators are mapped over a batch (torch.func.vmap), as _batching.py folds it into one call.

Maps of a batch become more images, and the index column of its boxes moves on by as many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from roi_align._batching import batched, every, folded, moved_on, own, unfolded
from roi_align._pooling import operator


def _moved_on(boxes: Tensor, images: int | None) -> Tensor:
    """Boxes (B, K, 5) of N images each as one list of boxes of all B * N; of None, of images that all share."""
    return folded(torch.cat([moved_on(boxes[..., 0], images)[..., None], boxes[..., 1:]], dim=-1))


def _forward(info: Any, in_dims: Any, features: Sequence[Tensor], boxes: Tensor, *rest: Any) -> tuple[Tensor, int]:
    size = info.batch_size
    images, features = own(features, in_dims[0], size)
    boxes = _moved_on(batched(boxes, in_dims[1], size), images)
    return unfolded(operator.forward(features, boxes, *rest), size), 0


def _at_largest(
    info: Any, in_dims: Any, values: Sequence[Tensor], features: Sequence[Tensor], boxes: Tensor, *rest: Any
) -> tuple[Tensor, int]:
    size = info.batch_size
    values, features = every(values, in_dims[0], size), every(features, in_dims[1], size)
    boxes = _moved_on(batched(boxes, in_dims[2], size), features[0].shape[0] // size)
    return unfolded(operator.at_largest(values, features, boxes, *rest), size), 0


def _grad_features(
    info: Any, in_dims: Any, grad: Tensor, features: Sequence[Tensor], boxes: Tensor, sizes: Sequence[int], *rest: Any
) -> tuple[list[Tensor], list[int]]:
    size = info.batch_size
    grad, boxes = folded(batched(grad, in_dims[0], size)), batched(boxes, in_dims[2], size)
    features, boxes = every(features, in_dims[1], size), _moved_on(boxes, sizes[0])
    found = operator.grad_features(grad, features, boxes, [size * sizes[0], *sizes[1:]], *rest)
    return [unfolded(each, size) for each in found], [0] * len(found)


def _grad_boxes(
    info: Any, in_dims: Any, grad: Tensor, features: Sequence[Tensor], boxes: Tensor, *rest: Any
) -> tuple[Tensor, int]:
    size = info.batch_size
    images, features = own(features, in_dims[1], size)
    grad, boxes = folded(batched(grad, in_dims[0], size)), _moved_on(batched(boxes, in_dims[2], size), images)
    return unfolded(operator.grad_boxes(grad, features, boxes, *rest), size), 0


torch.library.register_vmap("roi_align::roi_align", _forward)
torch.library.register_vmap("roi_align::roi_align_at_largest", _at_largest)
torch.library.register_vmap("roi_align::roi_align_grad_features", _grad_features)
torch.library.register_vmap("roi_align::roi_align_grad_boxes", _grad_boxes)
