"""The derivatives of crop_and_resize's operators; `_derivatives` tells torch of them.

The forward and the gradient of the image are each other's transpose, so the double backward of the image is the forward
again, and that of the boxes through the image's gradient is their own gradient. The other terms through the boxes are
`_slopes`'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from roi_align._cropping import operator
from roi_align._cropping.slopes import gradient_along, slope, slope_transposed
from roi_align._derivatives import added, differentiable
from roi_align._library import channels_innermost

Tangents = Sequence[Tensor | None]


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


def _push_forward(inputs: tuple[Any, ...], tangents: Tangents) -> Tensor | None:
    image, boxes, box_indices, height, width, method, _, box_rule, _ = inputs
    of_image, of_boxes, _ = tangents
    again = along = None
    if of_image is not None:
        again = crop_and_resize(of_image, boxes, box_indices, height, width, method, 0.0, box_rule, False)
    if of_boxes is not None:
        along = slope(image, boxes, box_indices, (height, width), box_rule, of_boxes)
    return added(again, along)


def _save_grad_image(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, boxes, box_indices, _, _, _, _, ctx.method, ctx.box_rule, _ = inputs
    ctx.crop_size = grad.shape[2], grad.shape[3]
    ctx.save_for_backward(boxes, box_indices, grad if ctx.needs[1] else None)


def _derive_grad_image(ctx: Any, grad_grad: Tensor) -> tuple[Tensor | None, ...]:
    boxes, box_indices, grad = ctx.saved_tensors
    again = of_boxes = None
    if ctx.needs[0]:
        # Linear in the upstream gradient, and the transpose of the forward without its extrapolation.
        again = crop_and_resize(grad_grad, boxes, box_indices, *ctx.crop_size, ctx.method, 0.0, ctx.box_rule, False)
    if ctx.needs[1]:
        of_boxes = crop_and_resize_grad_boxes(grad, grad_grad, boxes, box_indices, ctx.box_rule)
    return again, of_boxes, None


def _push_grad_image(inputs: tuple[Any, ...], tangents: Tangents) -> Tensor | None:
    grad, boxes, box_indices, images, height, width, _, _, box_rule, _ = inputs
    of_grad, of_boxes, _ = tangents
    again = along = None
    if of_grad is not None:
        again = crop_and_resize_grad_image(of_grad, *inputs[1:])
    if of_boxes is not None:
        along = slope_transposed(grad, (images, height, width), boxes, box_indices, box_rule, of_boxes)
    return added(again, along)


def _save_grad_boxes(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.box_rule = inputs
    ctx.save_for_backward(*tensors)


def _derive_grad_boxes(ctx: Any, velocity: Tensor) -> tuple[Tensor | None, ...]:
    grad, image, boxes, box_indices = ctx.saved_tensors
    where = boxes, box_indices
    images, _, height, width = image.shape
    of_grad = of_image = of_boxes = None
    if ctx.needs[0]:
        of_grad = slope(image, *where, (grad.shape[2], grad.shape[3]), ctx.box_rule, velocity)
    if ctx.needs[1]:
        of_image = slope_transposed(grad, (images, height, width), *where, ctx.box_rule, velocity)
    if ctx.needs[2]:
        of_boxes = gradient_along(grad, image, *where, ctx.box_rule, velocity)
    return of_grad, of_image, of_boxes, None


def _push_grad_boxes(inputs: tuple[Any, ...], tangents: Tangents) -> Tensor | None:
    grad, image, boxes, box_indices, box_rule = inputs
    of_grad, of_image, of_boxes, _ = tangents
    first = second = along = None
    if of_grad is not None:
        first = crop_and_resize_grad_boxes(of_grad, *inputs[1:])
    if of_image is not None:
        second = crop_and_resize_grad_boxes(grad, of_image, *inputs[2:])
    if of_boxes is not None:
        along = gradient_along(grad, image, boxes, box_indices, box_rule, of_boxes)
    return added(first, second, along)


# Each is called as the operator of its name, and differentiable in all of its tensors.
crop_and_resize, crop_and_resize_grad_image, crop_and_resize_grad_boxes = (
    differentiable(overload, tensors, save, derive, push, "crop_and_resize")
    for overload, tensors, save, derive, push in (
        (operator.crop_and_resize, 3, _save_forward, _derive_forward, _push_forward),
        (operator.crop_and_resize_grad_image, 3, _save_grad_image, _derive_grad_image, _push_grad_image),
        (operator.crop_and_resize_grad_boxes, 4, _save_grad_boxes, _derive_grad_boxes, _push_grad_boxes),
    )
)
