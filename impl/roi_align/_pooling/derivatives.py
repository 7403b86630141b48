"""The derivatives of roi_align, told to torch twice over the same functions, as crop_and_resize's are.

The mean is linear in its features, so its double backward is the forward again. The maximum is linear as long as the
same samples are the largest: its double backward pools the second gradient at those samples. Through the boxes there is
no second derivative, and there is no forward mode: whoever asks is told so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from roi_align._derivatives import (
    differentiable,
    is_differentiated,
    no_second_derivative,
    refuse_second_derivative,
    save_nothing,
)
from roi_align._library import channels_innermost
from roi_align._pooling import operator
from roi_align._pooling.operator import MODES, Rule

Scales = tuple[float, ...]


def roi_align(
    features: Sequence[Tensor],
    boxes: Tensor,
    scales: Scales,
    height: int,
    width: int,
    rule: Rule,
    validate: bool = False,
) -> Tensor:
    """The operator `roi_align::roi_align`, differentiable in features and boxes."""
    if is_differentiated((boxes, *features)):
        return _RoIAlign.apply(scales, height, width, rule, validate, boxes, *features)  # type: ignore[no-any-return]
    return operator.forward(list(features), boxes, scales, height, width, *rule, validate)  # type: ignore[no-any-return]


def _at_largest(
    values: Sequence[Tensor],
    features: Sequence[Tensor],
    boxes: Tensor,
    scales: Scales,
    height: int,
    width: int,
    rule: Rule,
) -> Tensor:
    """The operator `roi_align::roi_align_at_largest`, differentiable in the values."""
    if is_differentiated((boxes, *values, *features)):
        return _AtLargest.apply(scales, height, width, rule, boxes, *values, *features)  # type: ignore[no-any-return]
    arguments = (list(values), list(features), boxes, scales, height, width, *rule.without_mode())
    return operator.at_largest(*arguments)  # type: ignore[no-any-return]


def _grad_features(
    grad: Tensor,
    features: Sequence[Tensor],
    boxes: Tensor,
    sizes: Sequence[int],
    last: bool,
    scales: Scales,
    rule: Rule,
) -> Sequence[Tensor]:
    """The operator `roi_align::roi_align_grad_features`, differentiable in the upstream gradient."""
    if is_differentiated((grad, boxes, *features)):
        return _GradFeatures.apply(sizes, last, scales, rule, grad, boxes, *features)  # type: ignore[no-any-return]
    return operator.grad_features(grad, list(features), boxes, sizes, last, scales, *rule)  # type: ignore[no-any-return]


def _grad_boxes(grad: Tensor, features: Sequence[Tensor], boxes: Tensor, scales: Scales, rule: Rule) -> Tensor:
    """The operator `roi_align::roi_align_grad_boxes`, not differentiable any further."""
    if is_differentiated((grad, boxes, *features)):
        return _GradBoxes.apply(scales, rule, grad, boxes, *features)  # type: ignore[no-any-return]
    return operator.grad_boxes(grad, list(features), boxes, scales, *rule)  # type: ignore[no-any-return]


def _is_mean(rule: Rule) -> bool:
    return rule.mode == MODES["avg"]


def _keep(ctx: Any, features: Sequence[Tensor], boxes: Tensor, scales: Scales, rule: Rule, of_boxes: bool) -> None:
    """What a backward needs; the mean's gradient does not depend on the features, so they are not kept for it."""
    ctx.scales, ctx.rule, ctx.count = tuple(scales), rule, len(features)
    ctx.sizes = [features[0].shape[0], *(side for each in features for side in each.shape[2:])]
    ctx.last = channels_innermost(features[0])
    ctx.save_for_backward(boxes, *(features if of_boxes or not _is_mean(rule) else ()))


def _gradients(
    ctx: Any, grad: Tensor, of_features: bool, of_boxes: bool
) -> tuple[Sequence[Tensor | None], Tensor | None]:
    boxes, *features = ctx.saved_tensors
    needed = () if _is_mean(ctx.rule) else features
    of_maps: Sequence[Tensor | None] = [None] * ctx.count
    if of_features:
        of_maps = _grad_features(grad, needed, boxes, ctx.sizes, ctx.last, ctx.scales, ctx.rule)
    return of_maps, _grad_boxes(grad, features, boxes, ctx.scales, ctx.rule) if of_boxes else None


def _gradients_of_values(ctx: Any, grad: Tensor, of_boxes: bool) -> Sequence[Tensor | None]:
    """The derivative of what is pooled at the largest samples: linear in the values."""
    if of_boxes:
        raise no_second_derivative("roi_align", "features")
    return _gradients(ctx, grad, True, False)[0]


def _second(ctx: Any, grad_grads: Sequence[Tensor], of_boxes: bool) -> Tensor:
    """The derivative of the features' gradient in the upstream one."""
    if of_boxes:
        raise no_second_derivative("roi_align", "features")
    boxes, *features = ctx.saved_tensors
    height, width = ctx.output_size
    if _is_mean(ctx.rule):
        return roi_align(grad_grads, boxes, ctx.scales, height, width, ctx.rule)
    return _at_largest(grad_grads, features, boxes, ctx.scales, height, width, ctx.rule)


# Each operator as torch.autograd.Function takes it, tensors last and in no list.


def _call_forward(
    scales: Scales, height: int, width: int, rule: Rule, validate: bool, boxes: Tensor, *features: Tensor
) -> Any:
    return operator.forward(list(features), boxes, scales, height, width, *rule, validate)


def _save_call_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    scales, _, _, rule, _, boxes, *features = inputs
    _keep(ctx, features, boxes, scales, rule, ctx.needs_input_grad[5])


def _derive_call_forward(ctx: Any, grad: Tensor) -> Any:
    of_maps, of_boxes = _gradients(ctx, grad, any(ctx.needs_input_grad[6:]), ctx.needs_input_grad[5])
    return *[None] * 5, of_boxes, *of_maps


def _call_grad_features(
    sizes: Sequence[int], last: bool, scales: Scales, rule: Rule, grad: Tensor, boxes: Tensor, *features: Tensor
) -> Any:
    return tuple(operator.grad_features(grad, list(features), boxes, sizes, last, scales, *rule))


def _save_call_grad_features(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    _, _, ctx.scales, ctx.rule, grad, boxes, *features = inputs
    ctx.count, ctx.output_size = len(features), grad.shape[2:]
    ctx.save_for_backward(boxes, *features)


def _derive_call_grad_features(ctx: Any, *grad_grads: Tensor) -> Any:
    return *[None] * 4, _second(ctx, grad_grads, ctx.needs_input_grad[5]), None, *[None] * ctx.count


def _call_grad_boxes(scales: Scales, rule: Rule, grad: Tensor, boxes: Tensor, *features: Tensor) -> Any:
    return operator.grad_boxes(grad, list(features), boxes, scales, *rule)


def _call_at_largest(scales: Scales, height: int, width: int, rule: Rule, boxes: Tensor, *both: Tensor) -> Any:
    values, features = both[: len(scales)], both[len(scales) :]
    return operator.at_largest(list(values), list(features), boxes, scales, height, width, *rule.without_mode())


def _save_call_at_largest(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    scales, _, _, rule, boxes, *both = inputs
    _keep(ctx, both[len(scales) :], boxes, scales, rule, False)


def _derive_call_at_largest(ctx: Any, grad: Tensor) -> Any:
    return *[None] * 5, *_gradients_of_values(ctx, grad, ctx.needs_input_grad[4]), *[None] * ctx.count


_refuse = refuse_second_derivative("roi_align", "features")
_RoIAlign, _GradFeatures, _GradBoxes, _AtLargest = (
    differentiable(name, "roi_align", call, save, derive)
    for name, call, save, derive in (
        ("RoIAlign", _call_forward, _save_call_forward, _derive_call_forward),
        ("GradFeatures", _call_grad_features, _save_call_grad_features, _derive_call_grad_features),
        ("GradBoxes", _call_grad_boxes, save_nothing, _refuse),
        ("AtLargest", _call_at_largest, _save_call_at_largest, _derive_call_at_largest),
    )
)


# Each operator as torch.library sees it.


def _setup_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, boxes, scales, _, _, *rule, _ = inputs
    _keep(ctx, features, boxes, scales, Rule(*rule), ctx.needs_input_grad[1])


def _backward_forward(ctx: Any, grad: Tensor) -> Any:
    of_maps, of_boxes = _gradients(ctx, grad, any(ctx.needs_input_grad[0]), ctx.needs_input_grad[1])
    return list(of_maps), of_boxes, *[None] * 10


def _setup_grad_features(ctx: Any, inputs: tuple[Any, ...], output: Sequence[Tensor]) -> None:
    grad, features, boxes, _, _, ctx.scales, *rule = inputs
    ctx.rule, ctx.count, ctx.output_size = Rule(*rule), len(features), grad.shape[2:]
    ctx.save_for_backward(boxes, *features)


def _backward_grad_features(ctx: Any, grad_grads: Sequence[Tensor]) -> Any:
    return _second(ctx, grad_grads, ctx.needs_input_grad[2]), [None] * ctx.count, *[None] * 10


def _setup_at_largest(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, features, boxes, scales, _, _, sampling_ratio, aligned, *levels = inputs
    _keep(ctx, features, boxes, scales, Rule(sampling_ratio, aligned, MODES["max"], *levels), False)


def _backward_at_largest(ctx: Any, grad: Tensor) -> Any:
    return list(_gradients_of_values(ctx, grad, ctx.needs_input_grad[2])), [None] * ctx.count, *[None] * 9


for _name, _derive, _save in (
    ("roi_align", _backward_forward, _setup_forward),
    ("roi_align_grad_features", _backward_grad_features, _setup_grad_features),
    ("roi_align_at_largest", _backward_at_largest, _setup_at_largest),
    ("roi_align_grad_boxes", _refuse, save_nothing),
):
    torch.library.register_autograd(f"roi_align::{_name}", _derive, setup_context=_save)
