"""Batching rules of roi_align's operators (torch.func.vmap); _batching.py folds a batch into one call.

The maps of all batches become the images of one call, and the index column of the boxes is shifted accordingly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from roi_align._batching import batch_first, fold, fold_each, fold_own, shift, unfold
from roi_align._pooling import operator


def _shift(boxes: Tensor, images: int | None) -> Tensor:
    """Boxes (B, K, 5), indexing the N images of each batch, as one list indexing all B * N; None: images are shared."""
    return fold(torch.cat([shift(boxes[..., 0], images)[..., None], boxes[..., 1:]], dim=-1))


def _forward(info: Any, in_dims: Any, features: Sequence[Tensor], boxes: Tensor, *rest: Any) -> tuple[Tensor, int]:
    size = info.batch_size
    images, features = fold_own(features, in_dims[0], size)
    boxes = _shift(batch_first(boxes, in_dims[1], size), images)
    return unfold(operator.forward(features, boxes, *rest), size), 0


def _at_largest(
    info: Any, in_dims: Any, values: Sequence[Tensor], features: Sequence[Tensor], boxes: Tensor, *rest: Any
) -> tuple[Tensor, int]:
    size = info.batch_size
    values, features = fold_each(values, in_dims[0], size), fold_each(features, in_dims[1], size)
    boxes = _shift(batch_first(boxes, in_dims[2], size), features[0].shape[0] // size)
    return unfold(operator.at_largest(values, features, boxes, *rest), size), 0


def _grad_features(
    info: Any, in_dims: Any, grad: Tensor, features: Sequence[Tensor], boxes: Tensor, sizes: Sequence[int], *rest: Any
) -> tuple[list[Tensor], list[int]]:
    size = info.batch_size
    grad, boxes = fold(batch_first(grad, in_dims[0], size)), batch_first(boxes, in_dims[2], size)
    features, boxes = fold_each(features, in_dims[1], size), _shift(boxes, sizes[0])
    gradients = operator.grad_features(grad, features, boxes, [size * sizes[0], *sizes[1:]], *rest)
    return [unfold(each, size) for each in gradients], [0] * len(gradients)


def _grad_boxes(
    info: Any, in_dims: Any, grad: Tensor, features: Sequence[Tensor], boxes: Tensor, *rest: Any
) -> tuple[Tensor, int]:
    size = info.batch_size
    images, features = fold_own(features, in_dims[1], size)
    grad, boxes = fold(batch_first(grad, in_dims[0], size)), _shift(batch_first(boxes, in_dims[2], size), images)
    return unfold(operator.grad_boxes(grad, features, boxes, *rest), size), 0


torch.library.register_vmap("roi_align::roi_align", _forward)
torch.library.register_vmap("roi_align::roi_align_at_largest", _at_largest)
torch.library.register_vmap("roi_align::roi_align_grad_features", _grad_features)
torch.library.register_vmap("roi_align::roi_align_grad_boxes", _grad_boxes)
