"""What the samples of roi_align read, told to `_slopes`: impl/csrc/roi_align/rule.h in torch's operators."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from roi_align._pooling.operator import MODES, Rule, last_level
from roi_align._slopes import Samples, Taps, taps_at

Size = tuple[int, int]


def samples_of(
    boxes: Tensor, images: int, sizes: Sequence[Size], scales: Sequence[float], output_size: Size, rule: Rule,
    dtype: torch.dtype, largest_of: Sequence[Tensor] = (),
) -> list[Samples]:  # fmt: skip
    """Of boxes (K, 5) on each level of N images, in weights of that dtype; on other levels than its own a box reads
    nothing. sizes are (H, W) of the levels; of a maximum, largest_of are the levels whose largest samples count."""
    index = boxes[:, 0].detach()
    known = (index >= 0) & (index < images) & (index == index.floor())
    indices, levels = torch.where(known, index, 0.0).long(), levels_of(boxes.detach(), scales, rule)
    samples = []
    for level, ((height, width), scale) in enumerate(zip(sizes, scales, strict=True)):
        here = known & (levels == level)
        x, y = (
            _taps(boxes[:, first], boxes[:, first + 2], here, length, bins, scale, rule, dtype)
            for first, length, bins in ((1, width, output_size[1]), (2, height, output_size[0]))
        )
        samples.append(Samples(indices, y, x, largest_of[level] if largest_of else None))
    return samples


def velocity_of(tangent: Tensor, dtype: torch.dtype) -> Tensor:
    """A tangent of the boxes (K, 5) as (K, 2, 2): of y and x, the first edge and the second."""
    return tangent[:, 1:].reshape(-1, 2, 2).flip(2).transpose(1, 2).to(dtype)


def boxes_of(edges: Tensor) -> Tensor:
    """The opposite of velocity_of; the index of a box has no derivative."""
    rows = edges.transpose(1, 2).flip(2).flatten(1)
    return torch.cat([torch.zeros_like(rows[:, :1]), rows], dim=1)


def levels_of(boxes: Tensor, scales: Sequence[float], rule: Rule) -> Tensor:
    """The map of each box, counted from the first; -1, or one past the maps, if it has none."""
    if len(scales) == 1:
        return torch.zeros_like(boxes[:, 0]).long()
    side = ((boxes[:, 3] - boxes[:, 1]) * (boxes[:, 4] - boxes[:, 2])).sqrt()
    octaves = (side / torch.full_like(side, rule.canonical_scale)).double().log2().to(boxes.dtype)
    level = (rule.canonical_level + octaves + 1e-6).clamp(rule.first_level, last_level(rule, scales))
    return torch.where(level.isnan(), -1.0, level.floor() - rule.first_level).long()


def _taps(
    a1: Tensor, a2: Tensor, here: Tensor, length: int, bins: int, scale: float, rule: Rule, dtype: torch.dtype
) -> Taps:
    """Of edges (K,) on one axis, of the boxes that are here."""
    offset = 0.5 if rule.aligned else 0.0
    start, end = a1 * scale - offset, a2 * scale - offset
    size = end - start
    stretched = (size.detach() < 1) & (not rule.aligned)
    size = torch.where(stretched, 1.0, size)
    size = (size / size.new_full((1,), float(bins)))[:, None, None]
    start, grid = start[:, None, None], _grid(size.detach(), rule.sampling_ratio)
    order = torch.arange(bins, device=a1.device, dtype=a1.dtype)[:, None]
    base = start + order * size
    samples = _window(base.detach(), size.detach(), grid, length, rule.sampling_ratio)
    divisor = grid.clamp(min=1).to(a1.dtype)
    positions = base + ((samples + 0.5) * size) / divisor
    exists = ((samples < grid) & here[:, None, None]).expand_as(positions)
    read = exists & (positions >= -1) & (positions <= length)
    way = (order + (samples + 0.5) / divisor).double() / bins
    ways = torch.where(stretched[:, None, None], 0.0, way)
    slopes = scale * torch.stack([1 - ways, ways], dim=1)
    share = torch.ones_like(divisor) if rule.mode == MODES["max"] else 1 / divisor
    return taps_at(positions, read, exists, length, slopes, share.to(dtype), dtype)


def _grid(size: Tensor, sampling_ratio: int) -> Tensor:
    """How many samples a bin of that size has."""
    if sampling_ratio > 0:
        return torch.full_like(size, sampling_ratio).long()
    return torch.where((size > 0) & (size < 2**31), size, 0.0).ceil().long()


def _window(base: Tensor, size: Tensor, grid: Tensor, length: int, sampling_ratio: int) -> Tensor:
    """The samples (K, n, S) of each bin to look at, in the boxes' dtype: all of them, or those around the map.

    A grid may have billions. More than half a pixel lies between an adaptive grid's samples, so few of them are near.
    """
    if sampling_ratio > 0:
        return torch.arange(sampling_ratio, device=base.device, dtype=base.dtype)
    near = 2 * length + 8
    count = min(near, max(1, _largest(grid)))
    spacing = size / grid.clamp(min=1).to(size.dtype)
    before = ((-1 - base) / spacing - 0.5).floor() - 1
    most = (grid - count).clamp(min=0).to(base.dtype)
    first = torch.where(before > 0, torch.minimum(before, most), 0.0)
    return first + torch.arange(count, device=base.device, dtype=base.dtype)


def _largest(grid: Tensor) -> int:
    """Over all calls that torch.func maps: a shape is one for all of them."""
    while torch._C._functorch.is_functorch_wrapped_tensor(grid):
        grid = torch._C._functorch.get_unwrapped(grid)
    return int(grid.max()) if grid.numel() else 0
