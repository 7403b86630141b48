"""The derivatives of roi_align's operators; `_derivatives` tells torch of them.

The mean is linear in its features, so its double backward is the forward again. The maximum is linear as long as the
same samples are the largest: its double backward pools the second gradient at those samples. Through the boxes there is
no second derivative.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from roi_align._derivatives import differentiable, no_second_derivative, refuse_second_derivative, save_nothing
from roi_align._library import channels_innermost
from roi_align._pooling import operator
from roi_align._pooling.operator import MODES, Rule


def _is_mean(rule: Rule) -> bool:
    return rule.mode == MODES["avg"]


def _keep(
    ctx: Any, features: Sequence[Tensor], boxes: Tensor, scales: Sequence[float], rule: Rule, of_boxes: bool
) -> None:
    """What a backward needs; the mean's gradient does not depend on the features, so they are not kept for it."""
    ctx.scales, ctx.rule, ctx.count = tuple(scales), rule, len(features)
    ctx.sizes = [features[0].shape[0], *(side for each in features for side in each.shape[2:])]
    ctx.last = channels_innermost(features[0])
    ctx.save_for_backward(boxes, *(features if of_boxes or not _is_mean(rule) else ()))


def _of_features(ctx: Any, grad: Tensor) -> list[Tensor]:
    boxes, *features = ctx.saved_tensors
    needed = [] if _is_mean(ctx.rule) else features
    return roi_align_grad_features(  # type: ignore[no-any-return]
        grad, needed, boxes, ctx.sizes, ctx.last, ctx.scales, *ctx.rule
    )


def _save_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, boxes, scales, _, _, *rule, _ = inputs
    _keep(ctx, features, boxes, scales, Rule(*rule), ctx.needs[1])


def _derive_forward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    boxes, *features = ctx.saved_tensors
    of_features, of_boxes = any(ctx.needs[0]), ctx.needs[1]
    return (
        _of_features(ctx, grad) if of_features else [None] * ctx.count,
        roi_align_grad_boxes(grad, features, boxes, ctx.scales, *ctx.rule) if of_boxes else None,
    )


def _save_grad_features(ctx: Any, inputs: tuple[Any, ...], output: Sequence[Tensor]) -> None:
    grad, features, boxes, _, _, ctx.scales, *rule = inputs
    ctx.rule, ctx.count, ctx.output_size = Rule(*rule), len(features), grad.shape[2:]
    ctx.save_for_backward(boxes, *features)


def _derive_grad_features(ctx: Any, grad_grads: Sequence[Tensor]) -> tuple[Any, ...]:
    if ctx.needs[2]:
        raise no_second_derivative("roi_align", "features")
    boxes, *features = ctx.saved_tensors
    where = (boxes, ctx.scales, *ctx.output_size)
    if _is_mean(ctx.rule):
        again = roi_align(list(grad_grads), *where, *ctx.rule, False)
    else:
        again = roi_align_at_largest(list(grad_grads), features, *where, *ctx.rule.without_mode())
    return again, [None] * ctx.count, None


def _save_at_largest(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, features, boxes, scales, _, _, sampling_ratio, aligned, *levels = inputs
    _keep(ctx, features, boxes, scales, Rule(sampling_ratio, aligned, MODES["max"], *levels), False)


def _derive_at_largest(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    """What is pooled at the largest samples is linear in the values."""
    if ctx.needs[2]:
        raise no_second_derivative("roi_align", "features")
    return _of_features(ctx, grad), [None] * ctx.count, None


_refuse = refuse_second_derivative("roi_align", "features")
# Each is called as the operator of its name, and differentiable in all of its tensors.
roi_align, roi_align_grad_features, roi_align_grad_boxes, roi_align_at_largest = (
    differentiable(overload, tensors, save, derive, "roi_align")
    for overload, tensors, save, derive in (
        (operator.forward, 2, _save_forward, _derive_forward),
        (operator.grad_features, 3, _save_grad_features, _derive_grad_features),
        (operator.grad_boxes, 3, save_nothing, _refuse),
        (operator.at_largest, 3, _save_at_largest, _derive_at_largest),
    )
)
