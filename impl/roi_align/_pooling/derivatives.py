"""The derivatives of roi_align's operators; `_derivatives` registers them with torch.

The mean is linear in its features, so its double backward is the forward. The maximum is linear as long as the same
samples are the largest: its double backward pools the second gradient at those samples. `_slopes` computes the other
terms through the boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from roi_align._derivatives import differentiable, sum_of
from roi_align._library import channels_innermost
from roi_align._pooling import operator
from roi_align._pooling.operator import MODES, Rule
from roi_align._pooling.slopes import Pooled, gradient_of_boxes, sizes_of, slope, slope_transposed

Tangents = Sequence[Any]


def _is_mean(rule: Rule) -> bool:
    return rule.mode == MODES["avg"]


def _keep(
    ctx: Any, features: Sequence[Tensor], boxes: Tensor, scales: Sequence[float], rule: Rule, of_boxes: bool
) -> None:
    """Save what a backward needs: the features only for the box gradient and the maximum, as the mean is linear."""
    ctx.scales, ctx.rule, ctx.count = tuple(scales), rule, len(features)
    ctx.sizes = sizes_of(features)
    ctx.last = channels_innermost(features[0])
    ctx.save_for_backward(boxes, *(features if of_boxes or not _is_mean(rule) else ()))


def _of_features(ctx: Any, grad: Tensor, boxes: Tensor, features: list[Tensor]) -> list[Tensor]:
    maps = [] if _is_mean(ctx.rule) else features
    return roi_align_grad_features(  # type: ignore[no-any-return]
        grad, maps, boxes, ctx.sizes, ctx.last, ctx.scales, *ctx.rule
    )


def _save_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, boxes, scales, _, _, *rule, _ = inputs
    _keep(ctx, features, boxes, scales, Rule(*rule), ctx.needs[1])


def _derive_forward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    boxes, *features = ctx.saved_tensors
    of_features, of_boxes = any(ctx.needs[0]), ctx.needs[1]
    return (
        _of_features(ctx, grad, boxes, features) if of_features else [None] * ctx.count,
        roi_align_grad_boxes(grad, features, boxes, ctx.scales, *ctx.rule) if of_boxes else None,
    )


def _push_forward(inputs: tuple[Any, ...], tangents: Tangents) -> Tensor | None:
    features, boxes, scales, height, width, *numbers, _ = inputs
    of_features, of_boxes = tangents
    rule, again, along = Rule(*numbers), None, None
    if any(each is not None for each in of_features):
        again = _again(_filled(of_features, features), features, boxes, scales, (height, width), rule)
    if of_boxes is not None:
        along = slope(features, Pooled(boxes, features, scales, (height, width), rule), of_boxes)
    return sum_of(again, along)


def _again(
    values: list[Tensor],
    features: Sequence[Tensor],
    boxes: Tensor,
    scales: Sequence[float],
    size: Sequence[int],
    rule: Rule,
) -> Tensor:
    """The forward of values; a maximum pools them at the samples that are the largest of the features."""
    where = (boxes, scales, *size)
    if _is_mean(rule):
        return roi_align(values, *where, *rule, False)  # type: ignore[no-any-return]
    return roi_align_at_largest(values, list(features), *where, *rule.without_mode())  # type: ignore[no-any-return]


def _save_grad_features(ctx: Any, inputs: tuple[Any, ...], output: Sequence[Tensor]) -> None:
    grad, features, boxes, ctx.sizes, _, ctx.scales, *rule = inputs
    ctx.rule, ctx.count, ctx.output_size = Rule(*rule), len(features), grad.shape[2:]
    ctx.save_for_backward(grad if ctx.needs[2] else None, boxes, *features)


def _derive_grad_features(ctx: Any, grad_grads: Sequence[Tensor]) -> tuple[Any, ...]:
    grad, boxes, *features = ctx.saved_tensors
    again = of_boxes = None
    if ctx.needs[0]:
        again = _again(list(grad_grads), features, boxes, ctx.scales, ctx.output_size, ctx.rule)
    if ctx.needs[2]:
        of_boxes = _of_boxes(grad, list(grad_grads), features, boxes, ctx.scales, ctx.rule)
    return again, [None] * ctx.count, of_boxes


def _push_grad_features(inputs: tuple[Any, ...], tangents: Tangents) -> list[Tensor | None]:
    grad, features, boxes, sizes, _, scales, *numbers = inputs
    of_grad, _, of_boxes = tangents
    again: Sequence[Tensor | None] = [None] * (len(sizes) // 2)
    along = again
    if of_grad is not None:
        again = roi_align_grad_features(of_grad, *inputs[1:])
    if of_boxes is not None:
        where = Pooled(boxes, features, scales, grad.shape[2:], Rule(*numbers))
        along = slope_transposed(grad, sizes, where, of_boxes)
    return [sum_of(*each) for each in zip(again, along, strict=True)]


def _save_grad_boxes(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, features, boxes, ctx.scales, *rule = inputs
    ctx.rule = Rule(*rule)
    ctx.save_for_backward(grad, boxes, *features)


def _derive_grad_boxes(ctx: Any, along: Tensor) -> tuple[Any, ...]:
    grad, boxes, *features = ctx.saved_tensors
    where = Pooled(boxes, features, ctx.scales, grad.shape[2:], ctx.rule)
    return (
        slope(features, where, along) if ctx.needs[0] else None,
        slope_transposed(grad, sizes_of(features), where, along) if any(ctx.needs[1]) else [None] * len(features),
        gradient_of_boxes(grad, features, where, along) if ctx.needs[2] else None,
    )


def _push_grad_boxes(inputs: tuple[Any, ...], tangents: Tangents) -> Tensor | None:
    grad, features, boxes, scales, *numbers = inputs
    of_grad, of_features, of_boxes = tangents
    rule, first, second, along = Rule(*numbers), None, None, None
    if of_grad is not None:
        first = roi_align_grad_boxes(of_grad, *inputs[1:])
    if any(each is not None for each in of_features):
        second = _of_boxes(grad, _filled(of_features, features), features, boxes, scales, rule)
    if of_boxes is not None:
        along = gradient_of_boxes(grad, features, Pooled(boxes, features, scales, grad.shape[2:], rule), of_boxes)
    return sum_of(first, second, along)


def _of_boxes(
    grad: Tensor, values: list[Tensor], features: Sequence[Tensor], boxes: Tensor, scales: Sequence[float], rule: Rule
) -> Tensor:
    """The gradient in the boxes of the output that is pooled from values."""
    if _is_mean(rule):
        return roi_align_grad_boxes(grad, values, boxes, scales, *rule)  # type: ignore[no-any-return]
    return gradient_of_boxes(grad, values, Pooled(boxes, features, scales, grad.shape[2:], rule))


def _save_at_largest(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, features, boxes, scales, _, _, sampling_ratio, aligned, *levels = inputs
    _keep(ctx, features, boxes, scales, Rule(sampling_ratio, aligned, MODES["max"], *levels), False)
    ctx.save_for_backward(boxes, *features, *(values if ctx.needs[2] else ()))


def _derive_at_largest(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    """The output is linear in the values: the largest samples depend on the features alone."""
    boxes, *maps = ctx.saved_tensors
    features, values = maps[: ctx.count], maps[ctx.count :]
    return (
        _of_features(ctx, grad, boxes, features) if any(ctx.needs[0]) else [None] * ctx.count,
        [None] * ctx.count,
        _of_boxes(grad, values, features, boxes, ctx.scales, ctx.rule) if ctx.needs[2] else None,
    )


def _push_at_largest(inputs: tuple[Any, ...], tangents: Tangents) -> Tensor | None:
    values, features, boxes, scales, height, width, sampling_ratio, aligned, *levels = inputs
    of_values, _, of_boxes = tangents
    again = along = None
    if any(each is not None for each in of_values):
        again = roi_align_at_largest(_filled(of_values, values), *inputs[1:])
    if of_boxes is not None:
        rule = Rule(sampling_ratio, aligned, MODES["max"], *levels)
        along = slope(values, Pooled(boxes, features, scales, (height, width), rule), of_boxes)
    return sum_of(again, along)


def _filled(tangents: Sequence[Tensor | None], maps: Sequence[Tensor]) -> list[Tensor]:
    """The tangents of all levels, with zeros for a level without a tangent."""
    return [torch.zeros_like(each) if of is None else of for of, each in zip(tangents, maps, strict=True)]


# Each function has the signature of the operator of its name and is differentiable in all of its tensors.
roi_align, roi_align_grad_features, roi_align_grad_boxes, roi_align_at_largest = (
    differentiable(overload, tensors, save, derive, push, "roi_align")
    for overload, tensors, save, derive, push in (
        (operator.forward, 2, _save_forward, _derive_forward, _push_forward),
        (operator.grad_features, 3, _save_grad_features, _derive_grad_features, _push_grad_features),
        (operator.grad_boxes, 3, _save_grad_boxes, _derive_grad_boxes, _push_grad_boxes),
        (operator.at_largest, 3, _save_at_largest, _derive_at_largest, _push_at_largest),
    )
)
