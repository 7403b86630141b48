"""What the samples of crop_and_resize read, told to `_slopes`: impl/csrc/crop_and_resize/rule.h in torch's operators.

Through the boxes a nearest crop has the derivatives of the bilinear one, as its first gradient has.
"""

from __future__ import annotations

import torch
from torch import Tensor

from roi_align._cropping.operator import BOX_RULES
from roi_align._slopes import Samples, Taps, taps_at


def samples_of(
    boxes: Tensor, box_indices: Tensor, image_size: tuple[int, int, int], crop_size: tuple[int, int], box_rule: int,
    dtype: torch.dtype,
) -> Samples:  # fmt: skip
    """Of boxes (M, 4) on N images of H x W, image_size, in weights of that dtype."""
    images, height, width = image_size
    known = (box_indices >= 0) & (box_indices < images)
    edges = _edges(boxes, box_rule)
    y = _taps(edges[:, 0], known, height, crop_size[0], box_rule, dtype)
    x = _taps(edges[:, 1], known, width, crop_size[1], box_rule, dtype)
    return Samples(torch.where(known, box_indices, 0).long(), y, x)


def velocity_of(tangent: Tensor, box_rule: int, dtype: torch.dtype) -> Tensor:
    """A tangent of the boxes (M, 4) as (M, 2, 2): of y and x, the first edge and the second."""
    return _edges(tangent, box_rule).to(dtype)


def boxes_of(edges: Tensor, box_rule: int) -> Tensor:
    """The opposite of velocity_of."""
    return _in_order(edges.transpose(1, 2), box_rule).flatten(1)


def _edges(boxes: Tensor, box_rule: int) -> Tensor:
    return _in_order(boxes.reshape(-1, 2, 2), box_rule).transpose(1, 2)


def _in_order(corners: Tensor, box_rule: int) -> Tensor:
    """Normalised boxes give y first, those in pixels x."""
    return corners if box_rule == BOX_RULES["normalized"] else corners.flip(2)


def _taps(edges: Tensor, known: Tensor, length: int, crop: int, box_rule: int, dtype: torch.dtype) -> Taps:
    """Of edges (M, 2) on one axis."""
    positions = _positions(edges[:, 0, None], edges[:, 1, None], length, crop, box_rule)[..., None]
    inside = (positions >= 0) & (positions <= length - 1) & known[:, None, None]
    shares = _shares(crop, box_rule, edges.device)
    unit = length - 1 if box_rule == BOX_RULES["normalized"] else 1
    slopes = unit * torch.stack([1 - shares, shares])[..., None]
    return taps_at(positions, inside, torch.ones_like(inside), length, slopes, inside.new_ones(1, dtype=dtype), dtype)


def _positions(a1: Tensor, a2: Tensor, length: int, crop: int, box_rule: int) -> Tensor:
    """The pinned order: every operation rounds on its own, as in the kernels. Divisors are tensors, for CUDA
    multiplies by the reciprocal of a number."""
    extent, bins, gaps = (a1.new_full((1,), float(value)) for value in (length - 1, crop, crop - 1))
    order = torch.arange(crop, device=a1.device, dtype=a1.dtype)
    if box_rule == BOX_RULES["bin_centres"]:
        size = (a2 - a1) / bins
        first = a1 + size / 2 - 0.5
        if length == 1:
            return first + order * size
        a1, a2 = first / extent, first / extent + size * gaps / extent
    elif box_rule == BOX_RULES["corners"] and length > 1:
        a1, a2 = a1 / extent, a2 / extent
    elif box_rule == BOX_RULES["corners"]:
        extent = torch.ones_like(extent)
    if crop == 1:
        return ((a1 + a2).double() * 0.5 * extent.double()).to(a1.dtype)
    return a1 * extent + order * (((a2 - a1) * extent) / gaps)


def _shares(crop: int, box_rule: int, device: torch.device) -> Tensor:
    """How far each sample is from the first edge to the second."""
    order = torch.arange(crop, device=device, dtype=torch.float64)
    if box_rule == BOX_RULES["bin_centres"]:
        return (order + 0.5) / crop
    return order / (crop - 1) if crop > 1 else order + 0.5
