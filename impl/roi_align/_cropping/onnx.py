"""How torch.onnx.export writes `crop_and_resize`, for which ONNX has no operator: in torch's, which the exporters know.

Positions are order A's, step by step, so that where a runtime rounds each operation, as ONNX Runtime does, the crops
have the kernel's bits (impl/csrc/crop_and_resize/rule.h).
"""

from __future__ import annotations

import torch
from torch import Tensor


def crop(
    image: Tensor,
    boxes: Tensor,
    box_indices: Tensor,
    height: int,
    width: int,
    method: str,
    extrapolation_value: float,
    box_rule: str,
    validate: bool,
) -> Tensor:
    """What `operator.crop_and_resize` gives of the same arguments, in operators that ONNX has."""
    if validate:
        raise ValueError("validate must be False in a model for ONNX: ONNX has no errors for boxes.")
    result = image.dtype if image.is_floating_point() else torch.float32
    wide = torch.promote_types(result, torch.float32)
    images, channels, rows, columns = image.shape
    y, x = (0, 1) if box_rule == "normalized" else (1, 0)
    top, bottom, ly, inside_y = _taps(boxes[:, y], boxes[:, y + 2], rows, height, method, box_rule)
    left, right, lx, inside_x = _taps(boxes[:, x], boxes[:, x + 2], columns, width, method, box_rule)
    pixels = image.permute(0, 2, 3, 1).reshape(images * rows * columns, channels).to(wide)
    first = (box_indices.to(torch.int64) * rows)[:, None]

    def at(row: Tensor, column: Tensor) -> Tensor:
        """(M, height, width, C)"""
        return pixels[((first + row) * columns)[:, :, None] + column[:, None, :]]

    ly, lx = ly.to(wide)[:, :, None, None], lx.to(wide)[:, None, :, None]
    value = at(top, left)
    if method == "bilinear":
        value = value + (at(top, right) - value) * lx
        below = at(bottom, left)
        below = below + (at(bottom, right) - below) * lx
        value = value + (below - value) * ly
    inside = (inside_y[:, :, None] & inside_x[:, None, :])[..., None]
    return value.masked_fill(~inside, extrapolation_value).permute(0, 3, 1, 2).to(result)


def _taps(
    a1: Tensor, a2: Tensor, length: int, count: int, method: str, box_rule: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each sample (M, count) of an axis: two pixels, the way from one to the other, and whether it is inside."""
    position = _positions(a1, a2, length, count, box_rule)
    inside = (position >= 0) & (position <= length - 1)
    position = torch.where(inside, position, torch.zeros_like(position))
    low = position.floor()
    way = position - low
    if method == "nearest":
        low = low + (way >= 0.5).to(low.dtype)
    high = low + (way > 0).to(low.dtype)
    last = length - 1
    return low.to(torch.int64).clamp(max=last), high.to(torch.int64).clamp(max=last), way, inside


def _positions(a1: Tensor, a2: Tensor, length: int, count: int, box_rule: str) -> Tensor:
    extent = length - 1
    if box_rule == "bin_centres":
        size = (a2 - a1) / count
        first = a1 + size / 2 - 0.5
        if length == 1:
            return _samples(first, size, count)
        a1 = first / extent
        a2 = a1 + size * (count - 1) / extent
    elif box_rule == "corners":
        if length == 1:
            extent = 1
        else:
            a1, a2 = a1 / extent, a2 / extent
    if count == 1:
        return ((a1 + a2).to(torch.float64) * 0.5 * extent).to(a1.dtype)[:, None]
    return _samples(a1 * extent, (a2 - a1) * extent / (count - 1), count)


def _samples(start: Tensor, step: Tensor, count: int) -> Tensor:
    steps = torch.arange(count, dtype=start.dtype, device=start.device)
    return start[:, None] + steps[None, :] * step[:, None]
