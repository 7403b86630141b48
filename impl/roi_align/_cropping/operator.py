"""The operators behind `crop_and_resize`, and their fake kernels: the shapes, dtypes and strides of their results.

All public functions and classes use three operators: the forward, the image gradient and the box gradient.
derivatives.py registers their derivatives with torch, and batching.py their batching rules.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from roi_align._library import channels_innermost, dense  # the import loads the compiled operators

# The codes that the compiled operators take (impl/csrc/crop_and_resize/rule.h).
METHODS = {"bilinear": 0, "nearest": 1}
BOX_RULES = {"normalized": 0, "bin_centres": 1, "corners": 2}

crop_and_resize = torch.ops.roi_align.crop_and_resize.default
crop_and_resize_grad_image = torch.ops.roi_align.crop_and_resize_grad_image.default
crop_and_resize_grad_boxes = torch.ops.roi_align.crop_and_resize_grad_boxes.default


def _fake_forward(
    image: Tensor, boxes: Tensor, box_indices: Tensor, crop_height: int, crop_width: int, *rest: Any
) -> Tensor:
    return dense(image, (boxes.shape[0], image.shape[1], crop_height, crop_width), channels_innermost(image))


def _fake_grad_image(
    grad: Tensor,
    boxes: Tensor,
    box_indices: Tensor,
    images: int,
    height: int,
    width: int,
    channels_last: bool,
    *rest: Any,
) -> Tensor:
    return dense(grad, (images, grad.shape[1], height, width), channels_last)


def _fake_grad_boxes(grad: Tensor, image: Tensor, boxes: Tensor, box_indices: Tensor, box_rule: int) -> Tensor:
    return boxes.new_empty(boxes.shape)


torch.library.register_fake("roi_align::crop_and_resize", _fake_forward)
torch.library.register_fake("roi_align::crop_and_resize_grad_image", _fake_grad_image)
torch.library.register_fake("roi_align::crop_and_resize_grad_boxes", _fake_grad_boxes)
