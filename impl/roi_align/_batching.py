"""Batching rules of the operators (torch.func.vmap): a batch is folded into one call, not looped over.

A batch of images is folded into the image dimension. A batch of box lists becomes one long list, whose indices are
shifted by the number of images in the batches before. An index out of range must not be shifted into another batch's
images: it becomes -1, which is out of range too.

torch.autograd has an older vmap of its own, which ignores the operators' rules: `grad(..., is_grads_batched=True)`,
`functional.jacobian(vectorize=True)` and gradcheck's batched checks use it. Its tensors are converted to those of
torch.func.vmap where a derivative begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def batch_first(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """The tensor with the batch as its first dimension, expanded if it has no batch dimension."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def fold(tensor: Tensor) -> Tensor:
    """The tensor with the batch folded into the dimension after it."""
    return tensor.flatten(0, 1)


def unfold(tensor: Tensor, size: int) -> Tensor:
    return tensor.reshape(size, tensor.shape[0] // size if size else 0, *tensor.shape[1:])


def fold_each(maps: Sequence[Tensor], dims: Sequence[int | None], size: int) -> list[Tensor]:
    """Each map with its batches folded into the images; a map without a batch is repeated for each batch."""
    return [fold(batch_first(each, dim, size)) for each, dim in zip(maps, dims, strict=True)]


def fold_own(maps: Sequence[Tensor], dims: Sequence[int | None], size: int) -> tuple[int | None, list[Tensor]]:
    """The number of images per batch and the folded maps; None and the maps themselves if all batches share them."""
    if all(dim is None for dim in dims):
        return None, list(maps)
    return batch_first(maps[0], dims[0], size).shape[1], fold_each(maps, dims, size)


def shift(box_indices: Tensor, images: int | None) -> Tensor:
    """Indices (B, M) into the N images of each batch, as indices into all B * N images.

    An index out of range becomes -1. With images=None all batches share the images, and the indices are unchanged.
    """
    if images is None:
        return box_indices
    before = torch.arange(len(box_indices), device=box_indices.device, dtype=box_indices.dtype)[:, None] * images
    in_range = (box_indices >= 0) & (box_indices < images)
    return torch.where(in_range, box_indices + before, torch.full_like(box_indices, -1))


def over_legacy_batches(function: Callable[..., list[Tensor | None]], *tensors: Tensor | None) -> list[Tensor | None]:
    """function(*tensors), under torch.func.vmap if torch.autograd's own vmap maps any of the tensors."""
    if not any(tensor is not None and torch._C._functorch.is_legacy_batchedtensor(tensor) for tensor in tensors):
        return function(*tensors)
    level = torch._C._vmapmode_increment_nesting() - 1  # the current level: there is no getter for it
    torch._C._vmapmode_decrement_nesting()
    # A tensor without a batch at this level gets a batch of 1.
    plain = [None if tensor is None else torch._remove_batch_dim(tensor, level, 1, 0) for tensor in tensors]
    size = max(each.shape[0] for each in plain if each is not None)
    expanded = [None if each is None else each.expand(size, *each.shape[1:]) for each in plain]
    is_none: list[bool] = []

    def mapped(*present: Tensor) -> list[Tensor]:
        rest = iter(present)
        results = function(*(None if each is None else next(rest) for each in expanded))
        is_none[:] = [each is None for each in results]
        return [each for each in results if each is not None]

    outputs = iter(torch.func.vmap(mapped)(*(each for each in expanded if each is not None)))
    return [None if none else torch._add_batch_dim(next(outputs), 0, level) for none in is_none]
