"""Views of any strides: what is cut out of a larger tensor, thinned out or turned gives what its copy gives.

The cases have four layouts; users slice. What lies between and around the values of a view is NaN, which nobody may
read.
"""

from __future__ import annotations

import pytest
import torch

from roi_align import crop_and_resize, roi_align

pytestmark = [pytest.mark.package, pytest.mark.cpu]


def cut_out(values: torch.Tensor) -> torch.Tensor:
    """The inside of a larger channels_last tensor."""
    n, c, h, w = values.shape
    parent = torch.full((n, h + 3, w + 2, c), torch.nan, dtype=values.dtype).permute(0, 3, 1, 2)
    return parent[:, :, 1 : 1 + h, 1 : 1 + w].copy_(values)


def of_more_channels(values: torch.Tensor) -> torch.Tensor:
    """A part of the channels of a channels_last tensor."""
    n, c, h, w = values.shape
    parent = torch.full((n, h, w, c + 5), torch.nan, dtype=values.dtype).permute(0, 3, 1, 2)
    return parent[:, 2 : 2 + c].copy_(values)


def thinned_out(values: torch.Tensor) -> torch.Tensor:
    """Every second image, channel, row and column of a tensor."""
    parent = torch.full([2 * size for size in values.shape], torch.nan, dtype=values.dtype)
    return parent[::2, ::2, ::2, 1::2].copy_(values)


def turned(values: torch.Tensor) -> torch.Tensor:
    """Columns are outside and rows inside."""
    return values.transpose(2, 3).contiguous().transpose(2, 3)


VIEWS = (cut_out, of_more_channels, thinned_out, turned)


def crops_and_gradients(operator, image, boxes, upstream_view):
    image = image.detach().requires_grad_()
    boxes = boxes.clone().requires_grad_()
    crops = operator(image, boxes)
    upstream = torch.randn(crops.shape, dtype=crops.dtype, generator=torch.Generator().manual_seed(1))
    return [crops, *torch.autograd.grad(crops, (image, boxes), upstream_view(upstream))]


@pytest.mark.parametrize("count", [2, 60], ids=["few boxes", "many boxes"])
@pytest.mark.parametrize("channels", [1, 3, 16, 35])
@pytest.mark.parametrize("view", VIEWS)
def test_views_give_the_bits_of_their_copies(view, channels, count):
    """The map and the upstream gradient, both under these strides."""
    generator = torch.Generator().manual_seed(channels)
    image = torch.randn(2, channels, 19, 23, generator=generator)
    corners = torch.rand(count, 4, generator=generator) * 1.2 - 0.1
    indices = torch.arange(count) % 2
    rows = torch.cat([indices[:, None].float(), corners * 20], dim=1)

    def crop(method):
        return lambda image, boxes: crop_and_resize(image, boxes, indices, (5, 4), method)

    def pool(mode):
        return lambda features, boxes: roi_align(features, boxes, (3, 4), 1.0, 2, True, mode=mode)

    calls = [(crop("bilinear"), corners), (crop("nearest"), corners), (pool("avg"), rows), (pool("max"), rows)]
    for operator, boxes in calls:
        wanted = crops_and_gradients(operator, image, boxes, lambda upstream: upstream)
        got = crops_and_gradients(operator, view(image), boxes, view)
        assert all(torch.equal(one, other) for one, other in zip(got, wanted, strict=True))
