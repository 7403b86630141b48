"""The double backward, under every method, box rule and mode.

The gradient of the image is linear in the upstream one, its transpose: derived once more it is the forward itself,
without what is extrapolated. That is an identity of bits.
"""

from __future__ import annotations

import pytest
import torch

from roi_align import RoIAlign, crop_and_resize, roi_align

pytestmark = [pytest.mark.package, pytest.mark.cpu]

BOXES = torch.tensor([[0.1, 0.2, 0.8, 0.7], [0.9, 0.3, 0.2, 1.4], [-0.2, 0.0, 0.45, 0.55]])
INDICES = torch.tensor([1, 0, 1])
ROWS = torch.cat([INDICES[:, None].float(), BOXES[:, [0, 1, 2, 3]] * 6 - 1], dim=1)

CALLS = {
    "bilinear": lambda image: crop_and_resize(image, BOXES, INDICES, (3, 4), "bilinear", 7.0),
    "nearest": lambda image: crop_and_resize(image, BOXES, INDICES, (3, 4), "nearest", 7.0),
    "bin centres": lambda image: RoIAlign(3, 4, 7.0)(image, BOXES * 6, INDICES),
    "corners": lambda image: RoIAlign(3, 4, 7.0, False)(image, BOXES * 6, INDICES),
    "roi_align": lambda image: roi_align(image, ROWS, (3, 4), 0.75, 2),
    "roi_align, aligned": lambda image: roi_align(image, ROWS, (3, 4), 0.75, -1, True),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_double_backward_is_the_forward_again(call):
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, 7, 9, generator=generator, requires_grad=True)
    crops = call(image)
    upstream = torch.randn(crops.shape, generator=generator, requires_grad=True)
    (gradient,) = torch.autograd.grad(crops, image, upstream, create_graph=True)
    direction = torch.randn(image.shape, generator=generator)
    (again,) = torch.autograd.grad(gradient, upstream, direction)
    # What is extrapolated does not depend on the image.
    assert torch.equal(again, torch.where(call(torch.zeros_like(image)) == 0, call(direction), 0.0))


def test_the_double_backward_of_the_maximum_takes_the_samples_that_are_largest():
    image = torch.randn(2, 3, 7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = ROWS.double()
    assert torch.autograd.gradgradcheck(
        lambda features: roi_align(features, rows, (3, 4), 0.75, 2, True, mode="max"), (image.requires_grad_(),)
    )
