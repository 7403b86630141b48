"""Layouts, repetition and threads: none may change a bit, and gradients keep the layout of what they belong to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from harness import strategies
from harness.case import DIRECTIONS, LAYOUTS
from roi_align import crop_and_resize


@pytest.mark.parametrize("direction", DIRECTIONS)
@given(case=strategies.cases(layouts=["contiguous"], methods=["bilinear", "nearest"]))
def test_every_layout_gives_the_same_bits(backend, direction, case):
    contiguous = case.inputs()
    if backend.refuses(contiguous, direction):
        return
    wanted = backend.run(contiguous, direction)
    for layout in LAYOUTS:
        if layout == "expanded":
            continue  # other values by nature; see below
        got = backend.run(replace(case, layout=layout).inputs(), direction)
        if direction == "grad_boxes" and layout == "channels_last":
            # The channels of a box are summed in the order in which they lie.
            assert np.allclose(got, wanted, rtol=1e-5, atol=1e-5 * _scale(wanted), equal_nan=True), case
        else:
            assert got.tobytes() == wanted.tobytes(), replace(case, layout=layout)


def _scale(array: np.ndarray) -> float:
    return float(np.abs(array[np.isfinite(array)]).max(initial=0))


@given(case=strategies.cases(layouts=["expanded"], empty=False))
def test_an_expanded_image_gives_the_bits_of_its_copy(backend, case):
    inputs = case.inputs()
    copied = replace(inputs, image=np.ascontiguousarray(inputs.image))
    for direction in DIRECTIONS:
        if not backend.refuses(inputs, direction):
            assert backend.run(inputs, direction).tobytes() == backend.run(copied, direction).tobytes(), case


@pytest.mark.package
@pytest.mark.parametrize("channels_last", [False, True])
def test_crops_and_gradients_keep_the_layout(channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    image = torch.rand(2, 3, 5, 7).to(memory_format=layout).requires_grad_()
    crops = crop_and_resize(image, torch.tensor([[0.1, 0.2, 0.8, 0.7]]), torch.tensor([1]), (4, 6))
    assert crops.is_contiguous(memory_format=layout)
    # An upstream gradient in the other layout, or an expanded one as sum() makes it, changes nothing about that.
    for upstream in (torch.rand(1, 3, 4, 6), torch.ones(()).expand(1, 3, 4, 6)):
        (gradient,) = torch.autograd.grad(crops, image, upstream, retain_graph=True)
        assert gradient.is_contiguous(memory_format=layout)
        (same,) = torch.autograd.grad(crops, image, upstream.contiguous(memory_format=layout), retain_graph=True)
        assert torch.equal(gradient, same)


@pytest.mark.package
def test_strided_boxes_and_indices_are_read_where_they_are():
    image = torch.rand(3, 2, 6, 5)
    wide = torch.rand(8, 12)
    boxes, box_indices = wide[::2, 1::3], torch.arange(8)[::2] % 3
    assert not boxes.is_contiguous()
    got = crop_and_resize(image, boxes, box_indices, (3, 4))
    assert torch.equal(got, crop_and_resize(image, boxes.contiguous(), box_indices.contiguous(), (3, 4)))


@pytest.mark.package
@settings(max_examples=max(20, settings().max_examples // 5))
@given(case=strategies.cases(empty=False))
def test_one_and_more_threads_give_the_same_bits(backend, case):
    """Enough copies of the boxes that the work is really split."""
    case = replace(case, boxes=case.boxes * 40, box_indices=case.box_indices * 40)
    before = torch.get_num_threads()
    try:
        for direction in DIRECTIONS:
            results = []
            for threads in (1, 2, 4):
                torch.set_num_threads(threads)
                results += [backend.run(case.inputs(), direction).tobytes() for _ in range(2)]
            assert len(set(results)) == 1, (direction, case)
    finally:
        torch.set_num_threads(before)


@pytest.mark.package
@pytest.mark.parametrize("channels_last", [False, True])
def test_threads_that_share_one_image_row_by_row_give_the_same_bits(channels_last):
    """One image of one block of channels: threads can only be given bands of rows, which samples straddle."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(200, 4, generator=generator) * 1.2 - 0.1
    box_indices = torch.zeros(200, dtype=torch.int64)
    upstream = torch.randn(200, 3, 7, 9, generator=generator)
    image = torch.randn(1, 3, 37, 41, generator=generator).to(memory_format=layout).requires_grad_()
    before, gradients = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            crops = crop_and_resize(image, boxes, box_indices, (7, 9))
            gradients.append(torch.autograd.grad(crops, image, upstream)[0])
    finally:
        torch.set_num_threads(before)
    assert gradients[0].abs().sum() > 0
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)
