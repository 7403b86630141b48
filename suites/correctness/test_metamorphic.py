"""Properties that tie one call to another, by equality of bits and without any oracle.

Each changes the inputs in a way whose effect on the result is known exactly: sums are avoided or kept in their order,
and geometry that must not round is made of powers of two. They find faults that an oracle with the same fault would
share. Only where a backend says that it adds up in no fixed order, two right sums are as far apart as they may be.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness import strategies
from harness.agreement import beyond_two_bounds, differing
from harness.case import DIRECTIONS, HALVES, Case, Inputs
from harness.judge import promised

FLOATS = {"image_dtypes": ["float32"], "boxes_dtypes": ["float32"], "finite_boxes": True}
EVERY_DTYPE = {"finite_boxes": True, "empty": False}


def _run(backend, inputs: Inputs, direction: str) -> np.ndarray:
    refusal = backend.refuses(inputs, direction)
    assume(refusal is None)
    return backend.run(inputs, direction)


def _same_bits(got: np.ndarray, want: np.ndarray) -> bool:
    return got.shape == want.shape and np.ascontiguousarray(got).tobytes() == np.ascontiguousarray(want).tobytes()


def _same(backend, inputs: Inputs, direction: str, got: np.ndarray, want: np.ndarray) -> bool:
    """Both are results for these inputs."""
    if direction in backend.unordered:
        return beyond_two_bounds(inputs, direction, got, want, order_a=direction in backend.order_a) is None
    return _same_bits(got, want)


def _rows(inputs: Inputs, rows) -> Inputs:
    return replace(
        inputs,
        boxes=np.ascontiguousarray(inputs.boxes[rows]),
        box_indices=np.ascontiguousarray(inputs.box_indices[rows]),
        upstream=np.ascontiguousarray(inputs.upstream[rows]),
    )


@given(case=strategies.cases(**EVERY_DTYPE), random=st.randoms(use_true_random=False))
def test_permuted_boxes_give_permuted_crops(backend, case, random):
    inputs = case.inputs()
    order = list(range(len(inputs.boxes)))
    random.shuffle(order)
    for direction in ("forward", "grad_boxes"):
        whole = _run(backend, inputs, direction)
        assert _same_bits(_run(backend, _rows(inputs, order), direction), whole[order]), case


@given(case=strategies.cases(**EVERY_DTYPE), random=st.randoms(use_true_random=False))
def test_permuted_channels_give_permuted_channels(backend, case, random):
    inputs = case.inputs()
    order = list(range(inputs.image.shape[1]))
    random.shuffle(order)
    permuted = replace(inputs, image=inputs.image[:, order].copy(), upstream=inputs.upstream[:, order].copy())
    for direction in ("forward", "grad_image"):
        got, want = _run(backend, permuted, direction), _run(backend, inputs, direction)[:, order]
        assert _same(backend, permuted, direction, got, want), case


@given(case=strategies.cases(**EVERY_DTYPE), cut=st.integers(0, 5))
def test_a_split_list_of_boxes_gives_the_parts_of_the_whole(backend, case, cut):
    inputs = case.inputs()
    cut = min(cut, len(inputs.boxes))
    parts = [_rows(inputs, slice(None, cut)), _rows(inputs, slice(cut, None))]
    if any(backend.refuses(part, "forward") for part in parts):
        return  # some take no empty list
    for direction in ("forward", "grad_boxes"):
        joined = np.concatenate([_run(backend, part, direction) for part in parts])
        assert _same_bits(joined, _run(backend, inputs, direction)), case


@given(case=strategies.cases(**EVERY_DTYPE))
def test_a_box_given_twice_gives_its_crop_twice(backend, case):
    inputs = case.inputs()
    twice = _rows(inputs, [*range(len(inputs.boxes)), 0])
    crops = _run(backend, twice, "forward")
    assert _same_bits(crops[-1], crops[0]), case
    assert _same_bits(crops[:-1], _run(backend, inputs, "forward")), case


@pytest.mark.parametrize("direction", DIRECTIONS)
@given(case=strategies.cases(image_dtypes=HALVES, channels=(1, 3, 8, 17), layouts=["contiguous", "channels_last"]))
def test_a_half_image_gives_the_float32_result_rounded_once(backend, direction, case):
    """So that whatever is known of float32 is known of halves; and the box gradient is not rounded at all."""
    inputs = case.inputs()
    wide = replace(inputs, image=inputs.image.astype(np.float32), upstream=inputs.upstream.astype(np.float32))
    if backend.refuses(inputs, direction) or backend.refuses(wide, direction):
        return
    with np.errstate(over="ignore"):
        want = backend.run(wide, direction).astype(promised(inputs, direction)[1])
    got = backend.run(inputs, direction)
    if direction in backend.unordered | backend.layout_order:
        assert beyond_two_bounds(inputs, direction, got, want, order_a=direction in backend.order_a) is None, case
    else:
        assert not differing(got, want).any(), case


@given(case=strategies.cases(**FLOATS, empty=False, values=["normal"]), power=st.integers(-20, 20))
def test_scaling_by_a_power_of_two_scales_the_result(backend, case, power):
    case = replace(case, extrapolation_value=0.0)
    inputs = case.inputs()
    factor = np.float32(2.0**power)
    scaled = replace(inputs, image=inputs.image * factor)
    assert _same_bits(_run(backend, scaled, "forward"), _run(backend, inputs, "forward") * factor), case
    scaled = replace(inputs, upstream=inputs.upstream * factor)
    got, want = _run(backend, scaled, "grad_image"), _run(backend, inputs, "grad_image") * factor
    assert _same(backend, scaled, "grad_image", got, want), case


@given(case=strategies.cases(**FLOATS, empty=False, values=["normal", "wide"]))
def test_a_pixel_that_is_not_read_may_hold_anything(backend, case):
    """What no sample reads gets no gradient, so the image gradient of ones tells which pixels may be poisoned."""
    if "forward" not in backend.order_a:
        pytest.skip(f"{backend.title} multiplies pixels next to an integer position by a weight of zero")
    inputs = case.inputs()
    weights = _run(backend, replace(inputs, upstream=np.ones_like(inputs.upstream)), "grad_image")
    poisoned = np.where(weights == 0, np.float32(np.nan), inputs.image)
    assert _same_bits(_run(backend, replace(inputs, image=poisoned), "forward"), _run(backend, inputs, "forward")), case


# Geometry that does not round: sides of 2^k + 1, crop sides likewise, edges in sixteenths of a pixel.
_sides = st.sampled_from([2, 3, 5, 9, 17])


@st.composite
def exact_cases(draw: st.DrawFn) -> Case:
    n, c, height, width = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(_sides), draw(_sides)

    def edge(side: int) -> float:
        return draw(st.integers(-8, 16 * (side - 1) + 8)) / 16 / (side - 1)

    boxes = [(edge(height), edge(width), edge(height), edge(width)) for _ in range(draw(st.integers(1, 4)))]
    return Case(
        shape=(n, c, height, width),
        boxes=tuple(boxes),
        box_indices=tuple(draw(st.integers(0, n - 1)) for _ in boxes),
        crop_size=(draw(_sides), draw(_sides)),
        extrapolation_value=-3.5,
        values="dyadic",
        seed=draw(st.integers(0, 999)),
    )


@given(case=exact_cases(), axis=st.sampled_from([0, 1]))
def test_an_inverted_box_flips_the_crop(backend, case, axis):
    inputs = case.inputs()
    columns = [2, 1, 0, 3] if axis == 0 else [0, 3, 2, 1]
    flipped = replace(inputs, boxes=inputs.boxes[:, columns].copy())
    assert _same_bits(_run(backend, flipped, "forward"), np.flip(_run(backend, inputs, "forward"), 2 + axis)), case


@given(case=exact_cases(), axis=st.sampled_from([0, 1]))
def test_a_mirrored_image_with_mirrored_boxes_mirrors_the_crop(backend, case, axis):
    inputs = case.inputs()
    boxes = inputs.boxes.copy()
    boxes[:, [axis, axis + 2]] = 1 - boxes[:, [axis, axis + 2]]
    mirrored = replace(inputs, image=np.flip(inputs.image, 2 + axis).copy(), boxes=boxes)
    # The edges stay in their order, (1 - a1, 1 - a2), so the samples run the other way: crop for crop the same.
    assert _same_bits(_run(backend, mirrored, "forward"), _run(backend, inputs, "forward")), case


@given(case=exact_cases(), shift=st.tuples(st.integers(0, 3), st.integers(0, 3)))
def test_a_shifted_image_with_shifted_boxes_gives_the_same_crops(backend, case, shift):
    inputs = case.inputs()
    n, c, height, width = inputs.image.shape
    # The next power of two that has room, so that the new edges are exact too.
    tall, wide = 2 * max(height - 1, 4) + 1, 2 * max(width - 1, 4) + 1
    image = np.zeros((n, c, tall, wide), np.float32)
    image[:, :, shift[0] : shift[0] + height, shift[1] : shift[1] + width] = inputs.image
    old, new = np.float32([height - 1, width - 1] * 2), np.float32([tall - 1, wide - 1] * 2)
    moved = replace(inputs, image=image, boxes=(inputs.boxes * old + np.float32([*shift, *shift])) / new)
    before, after = _run(backend, inputs, "forward"), _run(backend, moved, "forward")
    # What was outside of the small image may be inside of the large one.
    seen = _run(backend, replace(inputs, image=np.zeros_like(inputs.image)), "forward") == 0
    assert np.array_equal(before[seen], after[seen]), case


@given(case=strategies.cases(**FLOATS, empty=False), level=st.sampled_from([1.0, -7.25, 1e20]))
def test_a_constant_image_gives_the_constant_or_the_extrapolation_value(backend, case, level):
    inputs = replace(case.inputs(), extrapolation_value=-3.5)
    constant = replace(inputs, image=np.full(inputs.image.shape, level, np.float32))
    crops = _run(backend, constant, "forward")
    # Whoever sums four weighted pixels rounds four times; order A adds differences, and those are exactly 0.
    slack = 0.0 if "forward" in backend.order_a else abs(level) * 2.0**-21
    assert (np.isclose(crops, level, rtol=0, atol=slack) | (crops == np.float32(-3.5))).all(), case


@given(case=strategies.cases(**FLOATS, empty=False, methods=["bilinear"]), axis=st.sampled_from([0, 1]))
def test_a_ramp_gives_the_position_of_each_sample(backend, case, axis):
    """A pixel that holds its own coordinate interpolates to the position itself: order A, written again in NumPy."""
    if "forward" not in backend.order_a:
        pytest.skip(f"{backend.title} rounds positions in an order of its own")
    inputs = replace(case.inputs(), extrapolation_value=np.nan)
    shape, length, n = inputs.image.shape, inputs.image.shape[2 + axis], inputs.crop_size[axis]
    line = np.arange(length, dtype=np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
    crops = _run(backend, replace(inputs, image=np.broadcast_to(line, shape).copy()), "forward")
    first, last, extent = inputs.boxes[:, axis], inputs.boxes[:, axis + 2], np.float32(length - 1)
    if n == 1:
        positions = (0.5 * (first + last).astype(np.float64) * (length - 1)).astype(np.float32)[:, None]
    else:
        step = (last - first) * extent / np.float32(n - 1)
        positions = (first * extent)[:, None] + np.arange(n, dtype=np.float32) * step[:, None]
    wanted = positions[:, None, :, None] if axis == 0 else positions[:, None, None, :]
    inside = ~np.isnan(crops)
    assert np.array_equal(crops[inside], np.broadcast_to(wanted, crops.shape)[inside]), case
    outside = (positions < 0) | (positions > extent)
    outside = outside[:, None, :, None] if axis == 0 else outside[:, None, None, :]
    assert not inside[np.broadcast_to(outside, crops.shape)].any(), case
