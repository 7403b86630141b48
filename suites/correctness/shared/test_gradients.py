"""Gradients are the derivatives of the operators themselves, independently of the oracle.

The forward is linear in the image. That its gradient is its adjoint is a property of every backend
(harness/properties); these tests check that the gradient's own derivative is the forward again. In the boxes the
forward is smooth only between pixel centres, where the tests use finite differences in float64.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.operators.crop_and_resize.case import Case
from harness.operators.roi_align.case import RoiCase
from suites.correctness import calls

COUNT = 5000
ONE_PIXEL = {"output_size": (1, 1), "sampling_ratio": 1, "aligned": True}
# Many boxes with their only sample on one pixel; one box with its only sample between the two rows of many channels.
LONG_SUMS = {
    "crop_and_resize": (
        Case((1, 1, 3, 3), ((0.5, 0.5, 0.5, 0.5),) * COUNT, (0,) * COUNT, (1, 1)),
        Case((1, COUNT, 2, 1), ((0.5, 0.5, 0.5, 0.5),), (0,), (1, 1)),
    ),
    "roi_align": (
        RoiCase((1, 1, 3, 3), ((0, 1.0, 1.0, 2.0, 2.0),) * COUNT, **ONE_PIXEL),
        RoiCase((1, COUNT, 2, 1), ((0, 0.0, 0.5, 1.0, 1.5),), **ONE_PIXEL),
    ),
}


@pytest.mark.parametrize(("image_dtype", "rounded"), [("float32", 5000), ("float16", 5000), ("bfloat16", 4992)])
def test_a_long_sum_is_rounded_once(backend, operator, image_dtype, rounded):
    """5000 ones, added up in float16 one by one, are 2048, and 2500 halves are 1024."""
    many_boxes, many_channels = (replace(case, image_dtype=image_dtype).inputs() for case in LONG_SUMS[operator])
    many_channels.image[...] = np.arange(2).reshape(2, 1)  # between the rows, where each slope is 1
    for inputs, direction in ((many_boxes, "grad_image"), (many_channels, "grad_boxes")):
        if backend.refuses(inputs, direction):
            continue
        gradient = backend.run(replace(inputs, upstream=np.ones_like(inputs.upstream)), direction)
        expected = float(rounded) if direction == "grad_image" else COUNT / 2
        assert gradient.max() == gradient.sum(dtype=np.float64) / (2 if direction == "grad_boxes" else 1) == expected


# The fractions of a box at which its samples lie along an axis, and their offset in pixels.
SAMPLES = {
    "crop_and_resize": lambda count: (torch.linspace(0, 1, count) if count > 1 else 0.5, 0.0),
    "roi_align": lambda count: ((torch.arange(2 * count) + 0.5) / (2 * count), -0.5),
}


@st.composite
def smooth_inputs(draw: st.DrawFn, operator: str) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int]]:
    """An image, interior boxes whose samples keep clear of pixel centres, and the size of the result."""
    height, width = draw(st.integers(2, 6)), draw(st.integers(2, 6))
    size = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    image = torch.randn(2, 2, height, width, dtype=torch.float64, generator=generator)
    corners = torch.rand(3, 4, dtype=torch.float64, generator=generator) * 0.9 + 0.05
    for axis, length in enumerate((height, width)):
        first, last, (parts, offset) = corners[:, axis, None], corners[:, axis + 2, None], SAMPLES[operator](size[axis])
        positions = (first + (last - first) * parts) * (length - 1) + offset
        assume(bool(((positions - positions.round()).abs() > 1e-3).all()))
    return image, corners, size


def gradcheck(call, image, corners, size, tolerance):
    """A function of image and boxes, with fixed indices."""
    indices = torch.tensor([1, 0, 1], device=image.device)[: len(corners)]
    return torch.autograd.gradcheck(
        lambda image, corners: call(image, *call.boxes(image, corners, indices), size=size),
        (image.requires_grad_(), corners.requires_grad_()),
        nondet_tol=tolerance,
    )


@calls.each_operator
def test_gradcheck_of_image_and_boxes(device, repeats, call):
    @given(inputs=smooth_inputs(call.operator))
    def holds(inputs):
        image, corners, size = inputs
        assert gradcheck(call, image.to(device), corners.to(device), size, repeats(call.operator))

    holds()


@calls.for_calls(calls.BIN_CENTRES, calls.CORNERS, calls.LEGACY, calls.ADAPTIVE)
def test_gradcheck_of_pixel_boxes(device, repeats, call):
    image = torch.randn(2, 2, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(device)
    boxes = torch.tensor([[0.61, 1.13, 4.17, 6.31], [3.33, 5.21, 0.87, 2.17]], dtype=torch.float64, device=device)
    assert gradcheck(call, image, boxes / boxes.new_tensor([5, 8, 5, 8]), (3, 4), repeats(call.operator))


@calls.each_call
def test_double_backward_of_the_image(device, repeats, call):
    """The image gradient is linear in the upstream gradient; gradgradcheck tests both. A maximum keeps its largest
    samples."""
    image = torch.randn(2, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(device)
    boxes = call.random_boxes(image, 3)
    assert torch.autograd.gradgradcheck(
        lambda image: call(image, *boxes).square(), (image.requires_grad_(),), nondet_tol=repeats(call.operator)
    )


@pytest.mark.cpu
@calls.each_linear_call
def test_double_backward_equals_the_forward(call):
    """Bit by bit, with every method and box rule."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, 7, 9, generator=generator, requires_grad=True)
    boxes = call.random_boxes(image, 3)
    result = call(image, *boxes)
    upstream = torch.randn(result.shape, generator=generator, requires_grad=True)
    (gradient,) = torch.autograd.grad(result, image, upstream, create_graph=True)
    direction = torch.randn(image.shape, generator=generator)
    (again,) = torch.autograd.grad(gradient, upstream, direction)
    # Extrapolated values do not depend on the image.
    fixed = call(torch.zeros_like(image), *boxes) != 0
    assert torch.equal(again, torch.where(fixed, 0.0, call(direction, *boxes)))


@calls.for_calls(calls.BILINEAR, calls.NEAREST, calls.AVG)
def test_the_image_is_not_saved_without_box_gradients(device, call):
    """If no box needs a gradient, autograd does not save the image."""
    image = torch.rand(1, 2, 5, 7, device=device, requires_grad=True)
    result = call(image, *call.random_boxes(image, 3))
    saved_tensors = [tensor for tensor in result.grad_fn.saved_tensors if tensor is not None]
    assert all(tensor.shape != image.shape for tensor in saved_tensors)
    result.sum().backward()
    assert image.grad is not None
