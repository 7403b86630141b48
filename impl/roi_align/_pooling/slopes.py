"""The terms of `_slopes` for roi_align, in the tensors and dtypes of its operators, added up over the levels.

`along` is a direction of the boxes, of their shape. A maximum is that of the features that it was taken of, whatever
values it is then asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from roi_align import _slopes
from roi_align._pooling.operator import MODES, Rule
from roi_align._pooling.samples import boxes_of, samples_of, velocity_of
from roi_align._slopes import Samples, sum_dtype


class Pooled(NamedTuple):
    """Which samples are pooled: of boxes, on the levels of these scales. Of a mean the features do not matter."""

    boxes: Tensor
    features: Sequence[Tensor]
    scales: Sequence[float]
    output_size: Sequence[int]
    rule: Rule

    def samples(self, sizes: Sequence[int], dtype: torch.dtype) -> list[Samples]:
        """Of each level; sizes are N and the H and W of all levels."""
        sides = list(zip(sizes[1::2], sizes[2::2], strict=True))
        largest_of = [each.to(dtype) for each in self.features] if self.rule.mode == MODES["max"] else []
        height, width = self.output_size
        return samples_of(self.boxes, sizes[0], sides, self.scales, (height, width), self.rule, dtype, largest_of)


def sizes_of(features: Sequence[Tensor]) -> list[int]:
    """N and the H and W of all levels, as roi_align_grad_features takes them."""
    return [features[0].shape[0], *(side for each in features for side in each.shape[2:])]


def slope(values: Sequence[Tensor], pooled: Pooled, along: Tensor) -> Tensor:
    """The derivative of what is pooled from values."""
    dtype = sum_dtype(values[0])
    velocity = velocity_of(along, dtype)
    levels = zip(values, pooled.samples(sizes_of(values), dtype), strict=True)
    moved = torch.stack([_slopes.slope(each.to(dtype), samples, velocity) for each, samples in levels]).sum(0)
    return moved.to(values[0].dtype) if values[0].is_floating_point() else moved


def slope_transposed(grad: Tensor, sizes: Sequence[int], pooled: Pooled, along: Tensor) -> list[Tensor]:
    """The gradient in the features, of these sizes, of the sum of the slope times grad."""
    dtype = sum_dtype(grad)
    velocity = velocity_of(along, dtype)
    levels = zip(pooled.samples(sizes, dtype), sizes[1::2], sizes[2::2], strict=True)
    return [
        _slopes.slope_transposed(grad.to(dtype), samples, velocity, (sizes[0], grad.shape[1], height, width)).to(
            grad.dtype
        )
        for samples, height, width in levels
    ]


def gradient_of_boxes(grad: Tensor, values: Sequence[Tensor], pooled: Pooled, along: Tensor | None = None) -> Tensor:
    """The gradient in the boxes of the sum of grad times what is pooled from values, or times its slope."""
    dtype = sum_dtype(grad)
    velocity = None if along is None else velocity_of(along, dtype)
    levels = zip(values, pooled.samples(sizes_of(values), dtype), strict=True)
    edges = [_slopes.gradient_of_boxes(grad.to(dtype), each.to(dtype), samples, velocity) for each, samples in levels]
    return boxes_of(torch.stack(edges).sum(0)).to(pooled.boxes.dtype)
