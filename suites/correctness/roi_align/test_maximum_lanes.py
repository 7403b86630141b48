"""The maximum by vectors of channels has the bits of the maximum sample by sample, which the gradients search by.

`roi_align_at_largest` of the features themselves takes each bin's largest sample one by one, on every path. NaN, an
infinity, both zeros and boxes beyond the image are among the samples.
"""

from __future__ import annotations

import pytest
import torch

import roi_align  # noqa: F401 - it loads torch.ops.roi_align

pytestmark = [pytest.mark.package, pytest.mark.cpu]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["planes", "pixels"])
@pytest.mark.parametrize(("dtype", "bits"), [(torch.float32, torch.int32), (torch.float64, torch.int64)])
@pytest.mark.parametrize("ratio", [0, 1, 2, 3])
def test_lanes_have_the_bits_of_single_samples(ratio, dtype, bits, layout):
    ops, random = torch.ops.roi_align, torch.Generator().manual_seed(ratio)
    for case in range(30):
        channels, height, width = (int(torch.randint(1, most, (1,), generator=random)) for most in (40, 14, 14))
        features = torch.randn(2, channels, height, width, generator=random, dtype=dtype) - case % 3
        kind = torch.rand(features.shape, generator=random)
        for place, special in enumerate((float("nan"), -float("inf"), -0.0, 0.0)):
            features[(kind > place / 20) & (kind < (place + 1) / 20)] = special
        features = features.contiguous(memory_format=layout)
        corners = torch.rand(60, 4, generator=random) * torch.tensor([width, height, width, height]) * 1.6 - 3
        boxes = torch.cat([torch.randint(0, 2, (60, 1), generator=random).float(), corners], dim=1)
        rule = (boxes, [1.0], 3, 5, ratio, bool(case % 2))
        lanes = ops.roi_align([features], *rule, 1, 0, 224.0, 4, False)
        single = ops.roi_align_at_largest([features], [features], *rule, 0, 224.0, 4)
        assert torch.equal(lanes.contiguous().view(bits), single.contiguous().view(bits))
