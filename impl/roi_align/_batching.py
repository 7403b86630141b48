"""How operators are mapped over a batch (torch.func.vmap): folded into one call, not looped.

A batch of images becomes more images, a batch of box lists one long list whose indices are moved on by as many images
as stand before theirs. An index that names no image must not come to name one of the next: it becomes -1, which is as
bad.

torch.autograd has an older vmap of its own, which asks no operator for its rule: `grad(..., is_grads_batched=True)`,
`functional.jacobian(vectorize=True)` and gradcheck's batched checks are mapped by it. Its tensors become those of
torch.func.vmap where a derivative begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def batched(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """The tensor with the batch as its first dimension, expanded if it has none."""
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def folded(tensor: Tensor) -> Tensor:
    """The batch folded into the dimension after it."""
    return tensor.flatten(0, 1)


def unfolded(tensor: Tensor, size: int) -> Tensor:
    return tensor.reshape(size, tensor.shape[0] // size if size else 0, *tensor.shape[1:])


def every(maps: Sequence[Tensor], dims: Sequence[int | None], size: int) -> list[Tensor]:
    """The images of all batches, for each of these maps; one that has no batch is the same for all."""
    return [folded(batched(each, dim, size)) for each, dim in zip(maps, dims, strict=True)]


def own(maps: Sequence[Tensor], dims: Sequence[int | None], size: int) -> tuple[int | None, list[Tensor]]:
    """How many images each batch has of its own, None if all share the same ones, and those of all batches."""
    if all(dim is None for dim in dims):
        return None, list(maps)
    return batched(maps[0], dims[0], size).shape[1], every(maps, dims, size)


def moved_on(box_indices: Tensor, images: int | None) -> Tensor:
    """Indices (B, M) into N images each as indices into all B * N; a bad one stays out of range. None: as they are."""
    if images is None:
        return box_indices
    before = torch.arange(len(box_indices), device=box_indices.device, dtype=box_indices.dtype)[:, None] * images
    known = (box_indices >= 0) & (box_indices < images)
    return torch.where(known, box_indices + before, torch.full_like(box_indices, -1))


def over_legacy_batches(function: Callable[..., list[Tensor | None]], *tensors: Tensor | None) -> list[Tensor | None]:
    """function(*tensors), by torch.func.vmap where tensors are mapped by torch.autograd's own vmap."""
    if not any(tensor is not None and torch._C._functorch.is_legacy_batchedtensor(tensor) for tensor in tensors):
        return function(*tensors)
    level = torch._C._vmapmode_increment_nesting() - 1  # the one that runs now
    torch._C._vmapmode_decrement_nesting()
    # What has no batch at this level is expanded to one of 1.
    plain = [None if tensor is None else torch._remove_batch_dim(tensor, level, 1, 0) for tensor in tensors]
    size = max(each.shape[0] for each in plain if each is not None)
    given = [None if each is None else each.expand(size, *each.shape[1:]) for each in plain]
    missing: list[bool] = []

    def mapped(*present: Tensor) -> list[Tensor]:
        rest = iter(present)
        results = function(*(None if each is None else next(rest) for each in given))
        missing[:] = [each is None for each in results]
        return [each for each in results if each is not None]

    outputs = iter(torch.func.vmap(mapped)(*(each for each in given if each is not None)))
    return [None if none else torch._add_batch_dim(next(outputs), 0, level) for none in missing]
