"""Gradients as derivatives: of the operator as it is, whatever the oracle thinks it should be.

The forward is linear in the image: that its gradient is its adjoint is a property of every backend
(harness/properties). In the boxes it is smooth only between pixel centres; there finite differences in float64 serve.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.operators.crop_and_resize.case import Case
from roi_align import RoIAlign, crop_and_resize


@pytest.mark.parametrize(("image_dtype", "rounded"), [("float32", 5000), ("float16", 5000), ("bfloat16", 4992)])
def test_a_long_sum_is_rounded_once(backend, image_dtype, rounded):
    """5000 ones, added up in float16 one by one, are 2048, and 2500 halves are 1024."""
    count = 5000
    boxes = ((0.5, 0.5, 0.5, 0.5),) * count
    many_boxes = Case((1, 1, 3, 3), boxes, (0,) * count, (1, 1), image_dtype=image_dtype).inputs()
    many_channels = Case((1, count, 2, 1), boxes[:1], (0,), (1, 1), image_dtype=image_dtype).inputs()
    many_channels.image[...] = np.arange(2).reshape(2, 1)  # between the rows, where each slope is 1
    for inputs, direction in ((many_boxes, "grad_image"), (many_channels, "grad_boxes")):
        if backend.refuses(inputs, direction):
            continue
        gradient = backend.run(replace(inputs, upstream=np.ones_like(inputs.upstream)), direction)
        want = float(rounded) if direction == "grad_image" else count / 2
        assert gradient.max() == gradient.sum(dtype=np.float64) / (2 if direction == "grad_boxes" else 1) == want


# Interior boxes whose samples keep clear of pixel centres: there the crop is smooth in the edges.
@st.composite
def smooth_inputs(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, tuple[int, int]]:
    height, width, crop = draw(st.integers(2, 6)), draw(st.integers(2, 6)), (draw(st.integers(1, 3)),) * 2
    crop = (crop[0], draw(st.integers(1, 3)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    image = torch.randn(2, 2, height, width, dtype=torch.float64, generator=generator)
    boxes = torch.rand(3, 4, dtype=torch.float64, generator=generator) * 0.9 + 0.05
    for axis, (length, n) in enumerate(((height, crop[0]), (width, crop[1]))):
        share = torch.full((1,), 0.5) if n == 1 else torch.linspace(0, 1, n)
        first, last = boxes[:, axis, None], boxes[:, axis + 2, None]
        positions = (first + (last - first) * share) * (length - 1)
        assume(bool(((positions - positions.round()).abs() > 1e-3).all()))
    return image, boxes, torch.tensor([0, 1, 1]), crop


@pytest.mark.package
@given(inputs=smooth_inputs())
def test_gradcheck_of_image_and_boxes(device, repeats, inputs):
    image, boxes, box_indices = (tensor.to(device) for tensor in inputs[:3])

    def crop(image: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        return crop_and_resize(image, boxes, box_indices, inputs[3], extrapolation_value=3.0)

    assert torch.autograd.gradcheck(crop, (image.requires_grad_(), boxes.requires_grad_()), nondet_tol=repeats)


@pytest.mark.package
@pytest.mark.parametrize("transform_fpcoor", [True, False])
def test_gradcheck_of_pixel_boxes(device, repeats, transform_fpcoor):
    image = torch.randn(2, 2, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[1.13, 0.61, 6.31, 4.17], [5.21, 3.33, 2.17, 0.87]], dtype=torch.float64, device=device)
    align = RoIAlign(3, 4, transform_fpcoor=transform_fpcoor)
    box_indices = torch.tensor([1, 0], device=device)
    inputs = image.to(device).requires_grad_(), boxes.requires_grad_()
    assert torch.autograd.gradcheck(lambda i, b: align(i, b, box_indices), inputs, nondet_tol=repeats)


@pytest.mark.package
def test_double_backward_of_the_image(device, repeats):
    image = torch.randn(2, 3, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0.1, 0.2, 0.8, 0.7], [0.9, 0.3, 0.2, 1.4]], dtype=torch.float64, device=device)
    box_indices = torch.tensor([1, 0], device=device)
    assert torch.autograd.gradgradcheck(
        lambda i: crop_and_resize(i, boxes, box_indices, (3, 4)),
        (image.to(device).requires_grad_(),),
        nondet_tol=repeats,
    )


@pytest.mark.package
@pytest.mark.parametrize("of", ["image", "boxes"])
def test_double_backward_through_the_boxes_says_that_there_is_none(device, of):
    image = torch.rand(1, 2, 5, 7, device=device, requires_grad=True)
    boxes = torch.tensor([[0.1, 0.2, 0.8, 0.7]], device=device, requires_grad=True)
    crops = crop_and_resize(image, boxes, torch.tensor([0], device=device), (3, 4))
    (first,) = torch.autograd.grad(crops.square().sum(), image if of == "image" else boxes, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative through the boxes"):
        first.sum().backward()


@pytest.mark.package
def test_no_gradient_is_asked_for_in_vain(device):
    """Boxes that need no gradient do not keep the image alive."""
    image = torch.rand(1, 2, 5, 7, device=device, requires_grad=True)
    boxes, box_indices = torch.tensor([[0.1, 0.2, 0.8, 0.7]], device=device), torch.tensor([0], device=device)
    crops = crop_and_resize(image, boxes, box_indices, (3, 4))
    saved = [tensor for tensor in crops.grad_fn.saved_tensors if tensor is not None]
    assert all(tensor.shape != image.shape for tensor in saved)
    crops.sum().backward()
    assert image.grad is not None
