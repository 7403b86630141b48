"""How a result changes when its list of boxes changes: in order, length or parts."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from harness.judging.sample import with_boxes
from harness.operators import AnyCase
from harness.operators.arrays import Array, Direction, differing
from harness.operators.implementation import Backend
from harness.properties import NotAskedError, ask
from harness.properties.calls import same, sentence

# More boxes than a block has threads, and more than 16 bits can count.
LONG_LISTS = (1100, 65_600)


def permuted_boxes(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    inputs = case.inputs()
    order = list(range(len(inputs.boxes)))
    random.Random(case.seed).shuffle(order)
    whole = ask(backend, inputs, direction)
    permuted = with_boxes(inputs, order)
    result = ask(backend, permuted, direction)
    return sentence(
        f"With the boxes in the order {order} the result is not in that order",
        same(backend, permuted, direction, result, whole[order], backend.sheet.list_bits),
    )


def split_boxes(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    inputs = case.inputs()
    if "boxes" in backend.sheet.empty:
        cut = case.seed % (len(inputs.boxes) + 1)
    elif len(inputs.boxes) > 1:
        cut = 1 + case.seed % (len(inputs.boxes) - 1)
    else:
        raise NotAskedError("one box cannot be split, and an empty list is not declared")
    parts = [with_boxes(inputs, slice(None, cut)), with_boxes(inputs, slice(cut, None))]
    parts_result = np.concatenate([ask(backend, part, direction) for part in parts])
    whole = ask(backend, inputs, direction)
    return sentence(
        f"Cut before box {cut}, the list does not give the parts of the whole",
        same(backend, inputs, direction, parts_result, whole, backend.sheet.list_bits),
    )


def box_twice(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    inputs = case.inputs()
    whole = ask(backend, inputs, direction)
    expected = np.concatenate([whole, whole[:1]])
    twice = with_boxes(inputs, [*range(len(inputs.boxes)), 0])
    return sentence(
        "A box given twice does not give its crop twice",
        same(backend, twice, direction, ask(backend, twice, direction), expected, backend.sheet.list_bits),
    )


def long_list(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    """Repeated boxes give repeated results; for the image gradient the upstream gradient is 0 for all but the last.

    The order is random: in a regular one, a box mistaken for another might be right by chance.
    """
    inputs = case.inputs()
    promises = backend.sheet.layout_bits, backend.sheet.list_bits
    few, count = len(inputs.boxes), LONG_LISTS[case.seed % 2]
    order = np.random.default_rng(case.seed).integers(0, few, count)
    order[-few:] = np.arange(few)
    long = with_boxes(inputs, order)
    if direction == "grad_image":
        long.upstream[:-few] = 0
        # A sum that started with other zeros may end in a zero of the other sign.
        result, expected = (
            np.where(each == 0, np.zeros_like(each), each) for each in _both(backend, long, inputs, direction)
        )
        difference = same(backend, inputs, direction, result, expected, *promises)
        return sentence(f"The last of {count} boxes give another gradient than alone", difference)
    result, expected = _both(backend, long, inputs, direction)
    if result.shape != (count, *expected.shape[1:]):
        return f"The result for {count} boxes has the shape {result.shape}."
    furthest = np.array([_furthest(result[order == k], expected[k]) for k in range(few)])
    return sentence(
        f"Of {count} boxes one does not give what it gives among {few}",
        same(backend, inputs, direction, furthest.astype(result.dtype), expected, *promises),
    )


def _furthest(results: Array, expected: Array) -> Array:
    """Of several results of one box, each value that is furthest from the expected one; all have the same bound."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(results.astype(np.float64) - expected.astype(np.float64))
    different = differing(results, np.broadcast_to(expected, results.shape))
    # Bits that differ without a distance are a zero of the other sign; a NaN on one side is beyond any distance.
    apart = np.where(different, np.nan_to_num(apart, nan=np.inf, posinf=np.inf), -1.0)
    furthest: Array = np.take_along_axis(results, apart.argmax(axis=0)[None], axis=0)[0]
    return furthest


def _both(backend: Backend[Any], one: Any, other: Any, direction: Direction) -> tuple[Array, Array]:
    return ask(backend, one, direction), ask(backend, other, direction)
