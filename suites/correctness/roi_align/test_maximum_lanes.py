"""The maximum of a map has the bits of the maximum of each of its channels alone.

A channel alone is one of four lanes, and its pixels are copied; many channels are whole vectors, on the map itself or
in a turned block of it. The samples include NaN, an infinity, both zeros and boxes beyond the image. Few boxes on a
large map are copied too. The gradient of the boxes is a sum over all channels, and has the oracle's bound instead.
"""

from __future__ import annotations

import pytest
import torch

import roi_align  # noqa: F401 - it loads torch.ops.roi_align

pytestmark = [pytest.mark.package, pytest.mark.cpu]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["planes", "pixels"])
@pytest.mark.parametrize(("dtype", "bits"), [(torch.float32, torch.int32), (torch.float64, torch.int64)])
@pytest.mark.parametrize("ratio", [0, 1, 2, 3])
def test_all_channels_have_the_bits_of_each_alone(ratio, dtype, bits, layout):
    random = torch.Generator().manual_seed(ratio)
    for case in range(30):
        channels, height, width = (int(torch.randint(1, most, (1,), generator=random)) for most in (40, 14, 14))
        count = 60
        if case % 5 == 0:
            count, height, width = 3, 6 * height, 6 * width
        features = torch.randn(2, channels, height, width, generator=random, dtype=dtype) - case % 3
        kind = torch.rand(features.shape, generator=random)
        for place, special in enumerate((float("nan"), -float("inf"), -0.0, 0.0)):
            features[(kind > place / 20) & (kind < (place + 1) / 20)] = special
        values = torch.randn(features.shape, generator=random, dtype=dtype)
        upstream = torch.randn(count, channels, 3, 5, generator=random, dtype=dtype)
        corners = torch.rand(count, 4, generator=random) * torch.tensor([width, height, width, height]) * 1.6 - 3
        boxes = torch.cat([torch.randint(0, 2, (count, 1), generator=random).float(), corners], dim=1)
        together = results(features, values, upstream, boxes, layout, ratio, bool(case % 2))
        for channel in range(channels):
            own = (each[:, channel : channel + 1] for each in (features, values, upstream))
            alone = results(*own, boxes, layout, ratio, bool(case % 2))
            for all_channels, one in zip(together, alone, strict=True):
                column = all_channels[:, channel : channel + 1].contiguous()
                assert torch.equal(column.view(bits), one.contiguous().view(bits))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["planes", "pixels"])
@pytest.mark.parametrize("channels", [3, 20])
@pytest.mark.parametrize("ratio", [0, 2, 3])
def test_a_maximum_is_nan_where_the_mean_is(ratio, channels, layout):
    """Both are NaN if a sample reads a NaN, whichever sample it is; the samples after it are numbers."""
    random = torch.Generator().manual_seed(ratio)
    features = torch.randn(2, channels, 12, 14, generator=random)
    features[torch.rand(features.shape, generator=random) < 0.05] = float("nan")
    corners = torch.rand(80, 4, generator=random) * 20 - 3
    boxes = torch.cat([torch.randint(0, 2, (80, 1), generator=random).float(), corners], dim=1)
    mean, largest = (
        torch.ops.roi_align.roi_align(
            [features.contiguous(memory_format=layout)], boxes, [1.0], 3, 5, ratio, False, mode, 0, 224.0, 4, False
        )
        for mode in (0, 1)
    )
    assert 0.05 < mean.isnan().float().mean() < 0.95
    assert torch.equal(mean.isnan(), largest.isnan())


def results(features, values, upstream, boxes, layout, ratio, aligned):
    """The maximum, `values` at the largest samples, and the gradient of the features."""
    ops = torch.ops.roi_align
    features, values = features.contiguous(memory_format=layout), values.contiguous(memory_format=layout)
    rule = (boxes, [1.0], 3, 5, ratio, aligned)
    sizes, last = [2, *features.shape[2:]], layout is torch.channels_last
    return (
        ops.roi_align([features], *rule, 1, 0, 224.0, 4, False),
        ops.roi_align_at_largest([values], [features], *rule, 0, 224.0, 4),
        *ops.roi_align_grad_features(upstream, [features], boxes, sizes, last, [1.0], ratio, aligned, 1, 0, 224.0, 4),
    )
