"""The operators behind `roi_align` and `multiscale_roi_align`, and what torch cannot see in them: shapes and strides.

All of them take the levels of a pyramid, of which a single map is one. What they share of their arguments is a Rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from roi_align._library import channels_innermost, dense  # which loads the compiled operators

# The codes that the compiled operators take (impl/csrc/roi_align/rule.h).
MODES = {"avg": 0, "max": 1}

forward = torch.ops.roi_align.roi_align.default
at_largest = torch.ops.roi_align.roi_align_at_largest.default
grad_features = torch.ops.roi_align.roi_align_grad_features.default
grad_boxes = torch.ops.roi_align.roi_align_grad_boxes.default


class Rule(NamedTuple):
    """How boxes are pooled, in the order in which the operators take it after the scales and the output size.

    first_level, canonical_scale and canonical_level say which level a box belongs to; one level gets every box.
    """

    sampling_ratio: int
    aligned: bool
    mode: int
    first_level: int = 0
    canonical_scale: float = 224.0
    canonical_level: int = 4

    def without_mode(self) -> tuple[int, bool, int, float, int]:
        """What `at_largest` takes, whose mode is the maximum."""
        return (self.sampling_ratio, self.aligned, self.first_level, self.canonical_scale, self.canonical_level)


def last_level(rule: Rule, scales: Sequence[float]) -> int:
    """The level that the last of a pyramid's maps stands for, as `level_rule` in impl/csrc/roi_align/rule.h."""
    return rule.first_level + math.frexp(scales[0] / scales[-1])[1] - 1


def _fake_forward(
    features: Sequence[Tensor], boxes: Tensor, scales: Sequence[float], height: int, width: int, *rule: Any
) -> Tensor:
    first = features[0]
    return dense(first, (boxes.shape[0], first.shape[1], height, width), channels_innermost(first))


def _fake_at_largest(values: Sequence[Tensor], *arguments: Any) -> Tensor:
    return _fake_forward(*arguments)


def _fake_grad_features(
    grad: Tensor, features: Sequence[Tensor], boxes: Tensor, sizes: Sequence[int], channels_last: bool, *rule: Any
) -> list[Tensor]:
    sides = zip(sizes[1::2], sizes[2::2], strict=True)
    return [dense(grad, (sizes[0], grad.shape[1], height, width), channels_last) for height, width in sides]


def _fake_grad_boxes(grad: Tensor, features: Sequence[Tensor], boxes: Tensor, *rule: Any) -> Tensor:
    return boxes.new_empty(boxes.shape)


torch.library.register_fake("roi_align::roi_align", _fake_forward)
torch.library.register_fake("roi_align::roi_align_at_largest", _fake_at_largest)
torch.library.register_fake("roi_align::roi_align_grad_features", _fake_grad_features)
torch.library.register_fake("roi_align::roi_align_grad_boxes", _fake_grad_boxes)
