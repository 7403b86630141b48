"""The derivatives of the operators, told to torch twice over the same functions.

The forward and the gradient of the image are each other's transpose, so the double backward of the image is the forward
again; through the boxes there is no second derivative here, and whoever asks for one is told so instead of getting a
silent zero. The same goes for forward-mode derivatives, which the operators do not have.

Compiled graphs, and calls of which no derivative is wanted, hold the operators themselves, with the derivatives that
`register_autograd` gave them. An eager call that is differentiated goes through a torch.autograd.Function over the same
formulas: it costs less than register_autograd's own, and the transforms of torch.func can see into it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from roi_align._cropping import operator
from roi_align._derivatives import (
    differentiable,
    is_differentiated,
    no_forward_mode,
    no_second_derivative,
    refuse_second_derivative,
    save_nothing,
)
from roi_align._library import channels_innermost


def crop_and_resize(*arguments: Any) -> Tensor:
    """The operator `roi_align::crop_and_resize`, differentiable in image and boxes."""
    if not is_differentiated(arguments[:2]):
        return operator.crop_and_resize(*arguments)  # type: ignore[no-any-return]
    call = _CropAndResize if torch._C._are_functorch_transforms_active() else _EagerCropAndResize
    return call.apply(*arguments)  # type: ignore[no-any-return]


def crop_and_resize_grad_image(*arguments: Any) -> Tensor:
    """The operator `roi_align::crop_and_resize_grad_image`, differentiable in the upstream gradient."""
    call = _GradImage.apply if is_differentiated(arguments[:2]) else operator.crop_and_resize_grad_image
    return call(*arguments)  # type: ignore[no-any-return]


def crop_and_resize_grad_boxes(*arguments: Any) -> Tensor:
    """The operator `roi_align::crop_and_resize_grad_boxes`, not differentiable any further."""
    call = _GradBoxes.apply if is_differentiated(arguments[:3]) else operator.crop_and_resize_grad_boxes
    return call(*arguments)  # type: ignore[no-any-return]


def _save_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    image, boxes, box_indices, _, _, ctx.method, _, ctx.box_rule, _ = inputs
    ctx.image_size = image.shape[0], image.shape[2], image.shape[3]
    ctx.channels_last = channels_innermost(image)
    # The gradient of the image does not depend on the image: do not keep it alive for that.
    ctx.save_for_backward(boxes, box_indices, image if ctx.needs_input_grad[1] else None)


def _backward_forward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    boxes, box_indices, image = ctx.saved_tensors
    grad_image = grad_boxes = None
    if ctx.needs_input_grad[0]:
        # On CUDA a sum by atomics is in no fixed order: who wants one gets other kernels.
        deterministic = torch.are_deterministic_algorithms_enabled()
        grad_image = crop_and_resize_grad_image(
            grad, boxes, box_indices, *ctx.image_size, ctx.channels_last, ctx.method, ctx.box_rule, deterministic
        )
    if ctx.needs_input_grad[1]:
        grad_boxes = crop_and_resize_grad_boxes(grad, image, boxes, box_indices, ctx.box_rule)
    return grad_image, grad_boxes, None, None, None, None, None, None, None


def _save_grad_image(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, boxes, box_indices, _, _, _, _, ctx.method, ctx.box_rule, _ = inputs
    ctx.crop_size = grad.shape[2], grad.shape[3]
    ctx.save_for_backward(boxes, box_indices)


def _backward_grad_image(ctx: Any, grad_grad: Tensor) -> tuple[Tensor | None, ...]:
    if ctx.needs_input_grad[1]:
        raise no_second_derivative("crop_and_resize", "image")
    boxes, box_indices = ctx.saved_tensors
    # Linear in the upstream gradient, and the transpose of the forward without its extrapolation.
    again = crop_and_resize(grad_grad, boxes, box_indices, *ctx.crop_size, ctx.method, 0.0, ctx.box_rule, False)
    return again, None, None, None, None, None, None, None, None, None


def _function(name: str, call: Callable[..., Tensor], save: Callable[..., None], derive: Callable[..., Any]) -> Any:
    return differentiable(name, "crop_and_resize", lambda *arguments: call(*arguments), save, derive)


_refuse = refuse_second_derivative("crop_and_resize", "image")
_CropAndResize = _function("CropAndResize", operator.crop_and_resize, _save_forward, _backward_forward)
_GradImage = _function("GradImage", operator.crop_and_resize_grad_image, _save_grad_image, _backward_grad_image)
_GradBoxes = _function("GradBoxes", operator.crop_and_resize_grad_boxes, save_nothing, _refuse)


class _EagerCropAndResize(torch.autograd.Function):
    """The same, of half the overhead, for calls that no transform of torch.func looks into."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        # Here a derivative is taken care of: what register_autograd would do in the call is left out.
        with torch._C._AutoDispatchBelowAutograd():
            output: Tensor = operator.crop_and_resize(*arguments)
        _save_forward(ctx, arguments, output)
        return output

    backward = staticmethod(_backward_forward)
    jvp = staticmethod(no_forward_mode("crop_and_resize"))


for _name, _derive, _save in (
    ("crop_and_resize", _backward_forward, _save_forward),
    ("crop_and_resize_grad_image", _backward_grad_image, _save_grad_image),
    ("crop_and_resize_grad_boxes", _refuse, save_nothing),
):
    torch.library.register_autograd(f"roi_align::{_name}", _derive, setup_context=_save)
