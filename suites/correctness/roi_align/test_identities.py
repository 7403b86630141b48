"""Identities between the package's two operators: the same samples give the same results.

Identities between calls of roi_align are properties of every backend (harness/properties).
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from roi_align import RoIAlign, crop_and_resize, roi_align

pytestmark = pytest.mark.package


# Maps, boxes and grids of powers of two: positions are exact in either operator's order.
@st.composite
def padded_pairs(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, int, int, bool]:
    """A map whose sides, padded by one, are 2^k + 1; boxes in eighths; bins and samples in powers of two."""
    height, width = (draw(st.sampled_from([3, 7, 15])) for _ in range(2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    features = torch.randn(2, 3, height, width, dtype=torch.float64, generator=generator)
    size, ratio, aligned = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1, 2])), draw(st.booleans())
    boxes = []
    for _ in range(draw(st.integers(1, 4))):
        edges = []
        for length in (width, height):
            first = draw(st.integers(-16, 8 * length + 8))
            edges.append((first / 8, (first + draw(st.integers(1, 40)) * 8) / 8))
        (x1, x2), (y1, y2) = edges
        boxes.append([float(draw(st.integers(0, 1))), x1, y1, x2, y2])
    return features, torch.tensor(boxes, dtype=torch.float64), size, ratio, aligned


@given(problem=padded_pairs())
def test_crop_and_resize_of_a_padded_map_has_the_same_samples(problem):
    """docs/operators.md, roi_align: means of crop_and_resize at P*s on the padded map, except for samples at a jump."""
    features, boxes, size, ratio, aligned = problem
    height, width = features.shape[2:]
    offset, count = (0.5 if aligned else 0.0), size * ratio
    padded = torch.nn.functional.pad(features, (1, 1, 1, 1), mode="replicate")
    normalised = torch.empty(len(boxes), 4, dtype=torch.float64)
    for along, (first, last, length) in enumerate(((2, 4, height), (1, 3, width))):
        start, extent = boxes[:, first] - offset, boxes[:, last] - boxes[:, first]
        step = extent / count
        low = start + step / 2 + 1
        # A single sample is at the middle of the box; several run from its start to its end.
        ends = (low, low + step * (count - 1)) if count > 1 else (low, low)
        for column, end in zip((along, along + 2), ends, strict=True):
            normalised[:, column] = end / (length + 1)
        positions = start[:, None] + (torch.arange(count) + 0.5) * step[:, None]
        assume(bool(((positions + 1).abs() > 1e-6).all() and ((positions - length).abs() > 1e-6).all()))
    crops = crop_and_resize(padded, normalised, boxes[:, 0].long(), (count, count))
    expected = torch.nn.functional.avg_pool2d(crops, ratio)
    result = roi_align(features, boxes, size, 1.0, ratio, aligned)
    assert torch.allclose(result, expected, rtol=0, atol=1e-12)


@given(seed=st.integers(0, 9999), size=st.integers(1, 5))
def test_one_aligned_sample_inside_equals_the_original_roi_align(seed, size):
    """A box inside [0.5, L - 0.5] has every sample in [0, L-1], where both rules are bilinear."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, 9, 12, dtype=torch.float64, generator=generator)
    corners = torch.rand(5, 2, 2, dtype=torch.float64, generator=generator).sort(dim=1).values
    boxes = (0.5 + corners * torch.tensor([11.0, 8.0], dtype=torch.float64)).reshape(5, 4)
    index = torch.randint(2, (5, 1), generator=generator)
    expected = RoIAlign(size, size)(features, boxes, index[:, 0])
    result = roi_align(features, torch.cat([index.double(), boxes], dim=1), size, 1.0, 1, True)
    assert torch.allclose(result, expected, rtol=0, atol=1e-12)
