"""The taps of crop_and_resize's samples, for `_slopes`: impl/csrc/crop_and_resize/rule.h in torch's operators.

With respect to the boxes a nearest crop has the derivatives of the bilinear one, like its first gradient.
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
    """The samples of boxes (M, 4) on images of image_size (N, H, W), with weights of this dtype."""
    images, height, width = image_size
    in_range = (box_indices >= 0) & (box_indices < images)
    edges = _edges(boxes, box_rule)
    y = _taps(edges[:, 0], in_range, height, crop_size[0], box_rule, dtype)
    x = _taps(edges[:, 1], in_range, width, crop_size[1], box_rule, dtype)
    return Samples(torch.where(in_range, box_indices, 0).long(), y, x)


def velocity_of(tangent: Tensor, box_rule: int, dtype: torch.dtype) -> Tensor:
    """A tangent of the boxes (M, 4) as velocities (M, 2, 2): axis y or x, then its first edge and its second."""
    return _edges(tangent, box_rule).to(dtype)


def boxes_of(edges: Tensor, box_rule: int) -> Tensor:
    """The inverse of velocity_of."""
    return _in_order(edges.transpose(1, 2), box_rule).flatten(1)


def _edges(boxes: Tensor, box_rule: int) -> Tensor:
    return _in_order(boxes.reshape(-1, 2, 2), box_rule).transpose(1, 2)


def _in_order(corners: Tensor, box_rule: int) -> Tensor:
    """Corners with y first: normalised boxes start with y, boxes in pixels with x."""
    return corners if box_rule == BOX_RULES["normalized"] else corners.flip(2)


def _taps(edges: Tensor, in_range: Tensor, length: int, crop: int, box_rule: int, dtype: torch.dtype) -> Taps:
    """The taps of edges (M, 2) on one axis; boxes whose index is not in range read nothing."""
    positions = _positions(edges[:, 0, None], edges[:, 1, None], length, crop, box_rule)[..., None]
    inside = (positions >= 0) & (positions <= length - 1) & in_range[:, None, None]
    shares = _shares(crop, box_rule, edges.device)
    unit = length - 1 if box_rule == BOX_RULES["normalized"] else 1
    slopes = unit * torch.stack([1 - shares, shares])[..., None]
    return taps_at(positions, inside, torch.ones_like(inside), length, slopes, inside.new_ones(1, dtype=dtype), dtype)


def _positions(a1: Tensor, a2: Tensor, length: int, crop: int, box_rule: int) -> Tensor:
    """Positions in the pinned order: every operation rounds on its own, as in the kernels.

    Divisors are tensors, because torch on CUDA divides by a Python number by multiplying by its reciprocal.
    """
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
    """Each sample's place between the first edge (0) and the second (1)."""
    order = torch.arange(crop, device=device, dtype=torch.float64)
    if box_rule == BOX_RULES["bin_centres"]:
        return (order + 0.5) / crop
    return order / (crop - 1) if crop > 1 else order + 0.5
