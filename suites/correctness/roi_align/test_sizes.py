"""At every size results equal exact arithmetic, and the gradient of a box is the same as in a call with it alone.

Boxes, bins and samples lie on multiples of 1/8 and values are small integers, so every sum is exact in float32 in any
order: each value must have the bits of two dense band matrices in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from harness.judging.sample import with_boxes
from harness.operators.arrays import differing
from harness.operators.roi_align.case import RoiInputs
from harness.properties.calls import same
from roi_align import multiscale_roi_align, roi_align
from suites.correctness import sizes

each_layout = pytest.mark.parametrize("layout", ["contiguous", "channels_last"])


def _band(start: float, side: float, count: int, ratio: int, length: int) -> np.ndarray:
    """(count, length): the weight of each pixel in each bin, by the rule."""
    matrix = np.zeros((count, length))
    grid = ratio if ratio > 0 else int(np.ceil(side))
    for index, i in np.ndindex(count, grid):
        at = start + index * side + (i + 0.5) * side / grid
        if -1 <= at <= length:
            at = min(max(at, 0.0), length - 1.0)
            low = int(at)
            matrix[index, low] += (1 - (at - low)) / grid
            matrix[index, min(low + 1, length - 1)] += (at - low) / grid
    return matrix


@dataclass(frozen=True)
class Bands:
    """The pixels that a box reads: a part of its image, and the weights (bins, pixels) of each axis in it."""

    part: tuple[int, slice, slice, slice]
    y: np.ndarray
    x: np.ndarray


def _bands(inputs: RoiInputs) -> list[Bands]:
    bands = []
    for index, x1, y1, x2, y2 in inputs.boxes.astype(np.float64):
        slices, weights = [], []
        axes = zip((y1, x1), (y2, x2), inputs.output_size, inputs.image.shape[2:], strict=True)
        for first, last, count, length in axes:
            band = _band(first - 0.5, (last - first) / count, count, inputs.sampling_ratio, length)
            columns = np.flatnonzero(band.any(axis=0))
            slices.append(slice(columns[0], columns[-1] + 1) if len(columns) else slice(0, 0))
            weights.append(band[:, slices[-1]])
        bands.append(Bands((int(index), slice(None), *slices), *weights))
    return bands


@each_layout
@sizes.of("roi_align")
def test_results_equal_products_of_band_matrices(backend, tally, size, layout):
    sizes.skip_if_long(backend, size.rows)
    inputs = sizes.inputs_of("roi_align", size, layout, integers=True)
    bands = _bands(inputs)
    pooled = np.stack([box.y @ inputs.image[box.part].astype(np.float64) @ box.x.T for box in bands])
    gradient = np.zeros(size.shape)
    for box, upstream in zip(bands, inputs.upstream, strict=True):
        gradient[box.part] += box.y.T @ upstream.astype(np.float64) @ box.x
    for direction, expected in (("forward", pooled), ("grad_image", gradient)):
        if backend.refuses(inputs, direction):
            continue
        assert (expected == expected.astype(np.float32)).all(), "the case is not exact in float32"
        # The sign of a zero is ignored: for an empty sum it depends on the order.
        different = int(differing(backend.run(inputs, direction) + 0.0, expected.astype(np.float32) + 0.0).sum())
        tally.bits(f"roi_align, {direction} against band matrices, large", expected.size, different)
        assert different == 0, direction


@each_layout
@sizes.of("roi_align")
def test_box_gradients_do_not_depend_on_other_boxes(backend, size, layout):
    """Few boxes take another path than many; and the whole tensor is channels_last, a part is not."""
    sizes.skip_if_long(backend, size.rows)
    inputs = sizes.inputs_of("roi_align", size, layout)
    if backend.refuses(inputs, "grad_boxes"):
        pytest.skip("the backend has no gradient of the boxes")
    whole = backend.run(inputs, "grad_boxes")
    promises = backend.sheet.list_bits, backend.sheet.layout_bits
    contiguous = replace(inputs, image=np.ascontiguousarray(inputs.image))
    for row in range(0, size.rows, 1 + size.rows // 4):
        alone = with_boxes(contiguous, slice(row, row + 1))
        result = backend.run(alone, "grad_boxes")
        assert same(backend, alone, "grad_boxes", result, whole[row : row + 1], *promises) is None, row


@pytest.mark.package
@pytest.mark.parametrize("last", [False, True])
def test_full_and_nearly_empty_levels_pool_as_roi_align_does(device, last):
    torch.manual_seed(0)
    layout = torch.channels_last if last else torch.contiguous_format
    levels = [torch.randn(2, 24, 200 >> k, 240 >> k, device=device).to(memory_format=layout) for k in range(4)]
    corner, side = torch.rand(150, 2) * 700, 2.0 ** (5 + 4 * torch.rand(150, 1) ** 0.3)
    rows = torch.cat([torch.arange(150)[:, None] % 2, corner, corner + side], dim=1).to(device)
    scales = [2.0 ** -(2 + k) for k in range(4)]
    pooled = multiscale_roi_align(levels, rows, 7, scales, sampling_ratio=2)
    alone = [roi_align(level, rows, 7, scale, 2) for level, scale in zip(levels, scales, strict=True)]
    own = [[torch.equal(of[row], pooled[row]) for of in alone] for row in range(150)]
    assert all(any(each) for each in own)
    assert len({each.index(True) for each in own}) >= 3, "the boxes are of three levels at least"
