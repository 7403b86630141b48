"""The terms of `_slopes` for crop_and_resize, in the tensors and dtypes of its operators.

`along` is a direction of the boxes, of their shape.
"""

from __future__ import annotations

from torch import Tensor

from roi_align import _slopes
from roi_align._cropping.samples import boxes_of, samples_of, velocity_of
from roi_align._slopes import sum_dtype

Size = tuple[int, int]


def slope(image: Tensor, boxes: Tensor, box_indices: Tensor, crop_size: Size, box_rule: int, along: Tensor) -> Tensor:
    """The derivative of the crops."""
    dtype = sum_dtype(image)
    samples = samples_of(boxes, box_indices, _size(image), crop_size, box_rule, dtype)
    moved = _slopes.slope(image.to(dtype), samples, velocity_of(along, box_rule, dtype))
    return moved.to(image.dtype) if image.is_floating_point() else moved


def slope_transposed(
    grad: Tensor, image_size: tuple[int, int, int], boxes: Tensor, box_indices: Tensor, box_rule: int, along: Tensor
) -> Tensor:
    """The gradient in the image, N images of H x W, of the sum of the slope times grad."""
    dtype = sum_dtype(grad)
    samples = samples_of(boxes, box_indices, image_size, _crop_size(grad), box_rule, dtype)
    shape = image_size[0], grad.shape[1], image_size[1], image_size[2]
    return _slopes.slope_transposed(grad.to(dtype), samples, velocity_of(along, box_rule, dtype), shape).to(grad.dtype)


def gradient_along(
    grad: Tensor, image: Tensor, boxes: Tensor, box_indices: Tensor, box_rule: int, along: Tensor
) -> Tensor:
    """The gradient in the boxes of the sum of the slope times grad."""
    dtype = sum_dtype(image)
    samples = samples_of(boxes, box_indices, _size(image), _crop_size(grad), box_rule, dtype)
    velocity = velocity_of(along, box_rule, dtype)
    edges = _slopes.gradient_of_boxes(grad.to(dtype), image.to(dtype), samples, velocity)
    return boxes_of(edges, box_rule).to(boxes.dtype)


def _size(image: Tensor) -> tuple[int, int, int]:
    return image.shape[0], image.shape[2], image.shape[3]


def _crop_size(grad: Tensor) -> Size:
    return grad.shape[2], grad.shape[3]
