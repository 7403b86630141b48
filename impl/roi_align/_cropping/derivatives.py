"""The derivatives of crop_and_resize's operators; `_derivatives` tells torch of them.

The forward and the gradient of the image are each other's transpose, so the double backward of the image is the forward
again; through the boxes there is no second derivative.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from roi_align._cropping import operator
from roi_align._derivatives import differentiable, no_second_derivative, refuse_second_derivative, save_nothing
from roi_align._library import channels_innermost


def _save_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    image, boxes, box_indices, _, _, ctx.method, _, ctx.box_rule, _ = inputs
    ctx.image_size = image.shape[0], image.shape[2], image.shape[3]
    ctx.channels_last = channels_innermost(image)
    # The gradient of the image does not depend on the image: do not keep it alive for that.
    ctx.save_for_backward(boxes, box_indices, image if ctx.needs[1] else None)


def _derive_forward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    boxes, box_indices, image = ctx.saved_tensors
    grad_image = grad_boxes = None
    if ctx.needs[0]:
        # On CUDA a sum by atomics is in no fixed order: who wants one gets other kernels.
        deterministic = torch.are_deterministic_algorithms_enabled()
        grad_image = crop_and_resize_grad_image(
            grad, boxes, box_indices, *ctx.image_size, ctx.channels_last, ctx.method, ctx.box_rule, deterministic
        )
    if ctx.needs[1]:
        grad_boxes = crop_and_resize_grad_boxes(grad, image, boxes, box_indices, ctx.box_rule)
    return grad_image, grad_boxes, None


def _save_grad_image(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, boxes, box_indices, _, _, _, _, ctx.method, ctx.box_rule, _ = inputs
    ctx.crop_size = grad.shape[2], grad.shape[3]
    ctx.save_for_backward(boxes, box_indices)


def _derive_grad_image(ctx: Any, grad_grad: Tensor) -> tuple[Tensor | None, ...]:
    if ctx.needs[1]:
        raise no_second_derivative("crop_and_resize", "image")
    boxes, box_indices = ctx.saved_tensors
    # Linear in the upstream gradient, and the transpose of the forward without its extrapolation.
    again = crop_and_resize(grad_grad, boxes, box_indices, *ctx.crop_size, ctx.method, 0.0, ctx.box_rule, False)
    return again, None, None


_refuse = refuse_second_derivative("crop_and_resize", "image")
# Each is called as the operator of its name, and differentiable in all of its tensors.
crop_and_resize, crop_and_resize_grad_image, crop_and_resize_grad_boxes = (
    differentiable(overload, tensors, save, derive, "crop_and_resize")
    for overload, tensors, save, derive in (
        (operator.crop_and_resize, 3, _save_forward, _derive_forward),
        (operator.crop_and_resize_grad_image, 3, _save_grad_image, _derive_grad_image),
        (operator.crop_and_resize_grad_boxes, 4, save_nothing, _refuse),
    )
)
