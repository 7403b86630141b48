"""How a result changes when its image changes: in channel order, memory layout, dtype or scale."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np

from harness.operators import AnyCase, operator_of
from harness.operators.arrays import HALVES, Array, Direction, Layout, channels_innermost, laid_out
from harness.operators.expected import accumulated_in
from harness.operators.implementation import Backend
from harness.operators.rounding import UNIT
from harness.properties import ask
from harness.properties.calls import same, sentence


def permuted_channels(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    inputs = case.inputs()
    image = inputs.image
    order = list(range(image.shape[1]))
    random.Random(case.seed).shuffle(order)
    permuted = replace(inputs, image=image[:, order].copy(), upstream=inputs.upstream[:, order].copy())
    result, expected = ask(backend, permuted, direction), ask(backend, inputs, direction)[:, order]
    return sentence(
        f"With the channels in the order {order} the result is not in that order",
        same(backend, permuted, direction, result, expected, backend.sheet.list_bits, backend.sheet.layout_bits),
    )


def half_is_rounded_once(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    inputs = case.inputs()
    wide = replace(inputs, image=inputs.image.astype(np.float32), upstream=inputs.upstream.astype(np.float32))
    with np.errstate(over="ignore"):
        expected = ask(backend, wide, direction).astype(operator_of(case).result_type(inputs, direction)[1])
    result = ask(backend, inputs, direction)
    return sentence(
        "It is not the float32 result, rounded once",
        same(backend, inputs, direction, result, expected, backend.sheet.layout_bits),
    )


def power_of_two(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    inputs = operator_of(case).nothing_outside(case.inputs())
    power = case.seed % 41 - 20
    factor = np.float32(2.0**power)
    scaled = operator_of(case).nothing_outside(case.inputs())
    of = scaled.image if direction == "forward" else scaled.upstream
    of[...] = of * factor  # in place: another layout may change the order of a sum
    result, expected = ask(backend, scaled, direction), ask(backend, inputs, direction) * factor
    return sentence(
        f"Scaling by 2**{power} does not scale the result", same(backend, scaled, direction, result, expected)
    )


def every_layout(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    expected = ask(backend, case.inputs(), direction)
    for layout in backend.sheet.layouts:
        if layout in ("contiguous", "expanded"):  # expanded images have other values, see below
            continue
        result = ask(backend, replace(case, layout=layout).inputs(), direction)
        difference = same(backend, case.inputs(), direction, result, expected, backend.sheet.layout_bits)
        if difference:
            return f"The layout {layout} does not give what contiguous gives: {difference}."
    return None


def upstream_in_the_other_layout(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    """As autograd passes it if what follows the operator has another layout than the image."""
    inputs = case.inputs()
    other: Layout = "contiguous" if channels_innermost(inputs.image) else "channels_last"
    turned = replace(inputs, upstream=laid_out(inputs.upstream, other))
    result, expected = ask(backend, turned, direction), ask(backend, inputs, direction)
    return sentence(
        f"An upstream gradient in the layout {other}, not that of the image, gives another gradient",
        same(backend, inputs, direction, result, expected, backend.sheet.layout_bits),
    )


def expanded_is_its_copy(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    inputs = case.inputs()
    copied = replace(inputs, image=np.ascontiguousarray(inputs.image))
    result, expected = ask(backend, inputs, direction), ask(backend, copied, direction)
    return sentence(
        "An expanded image does not give what its copy gives",
        same(backend, inputs, direction, result, expected, backend.sheet.layout_bits),
    )


def adjoint(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    """<f(v), u> = <v, f'(u)> for a call that is linear in the image; needs no finite differences.

    Each product has at most a few dozen roundings of the type that it is summed in, plus one per term of a sum. A
    result of a half type is rounded to it once more.
    """
    inputs = operator_of(case).nothing_outside(case.inputs())
    image = inputs.image
    crops, gradient = ask(backend, inputs, "forward"), ask(backend, inputs, "grad_image")
    left = (crops.astype(np.float64) * inputs.upstream).sum()
    right = (image.astype(np.float64) * gradient).sum()
    magnitude = np.abs(inputs.upstream.astype(np.float64)).sum() * np.abs(image.astype(np.float64)).max()
    tolerance = (100 + crops.size) * UNIT[accumulated_in(inputs)] * magnitude + 1e-300
    if image.dtype.name in HALVES:
        tolerance += _rounded_once(crops, inputs.upstream) + _rounded_once(gradient, image)
    if abs(left - right) <= tolerance:
        return None
    return f"<f(v), u> is {left!r} and <v, f'(u)> is {right!r}: further apart than {tolerance:.3g}."


def _rounded_once(results: Array, factors: Array) -> float:
    """How far the sum of products moves if each result is rounded to its half type, whose least number is 2^-133 or
    more."""
    ones, others = (np.abs(each.astype(np.float64)) for each in (results, factors))
    least = 2.0**-24 if results.dtype.name == "float16" else 2.0**-133
    return float(2 * UNIT[results.dtype.name] * (ones * others).sum() + least * others.sum())
