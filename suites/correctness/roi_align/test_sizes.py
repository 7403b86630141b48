"""Sizes at which roi_align may change its way: maps of many boxes and of few, results larger than a cache, bins that
are made a few at a time, channels left over.

Boxes, bins and samples lie on multiples of an eighth and values are small integers, so every sum is exact in float32 in
whatever order it is made: each value must be that of two dense band matrices in float64, to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from harness.operators.arrays import differing
from harness.operators.roi_align.case import RoiInputs
from roi_align import multiscale_roi_align, roi_align


@dataclass(frozen=True)
class Size:
    """One call: the map, how many boxes, what each is pooled to, the sides that a bin may have, and the grid."""

    shape: tuple[int, int, int, int]
    rows: int
    output_size: tuple[int, int]
    bins: tuple[float, ...] = (0.5, 1.0, 2.0)
    ratio: int = 2


SIZES = {
    "a result of 9 MB, in whole lines": Size((1, 64, 40, 52), 720, (7, 7)),
    "a result of 9 MB, channels left over": Size((2, 35, 40, 52), 1300, (7, 7)),
    "few boxes on a large map": Size((2, 24, 190, 230), 12, (7, 7), (2.0, 4.0)),
    "one block of channels for all threads": Size((1, 16, 33, 47), 300, (5, 3)),
    "bins of y that are made a few at a time": Size((1, 19, 90, 110), 20, (37, 29), (1.0, 2.0)),
    "one bin of y at a time": Size((1, 16, 24, 1300), 9, (4, 300), (4.0,)),
    "adaptive grids of four samples": Size((2, 40, 60, 70), 130, (5, 6), (4.0, 3.5), -1),
    "a gradient larger than a cache": Size((1, 48, 260, 300), 200, (14, 14)),
    "three channels": Size((2, 3, 120, 150), 40, (28, 20)),
    "many channels, one pixel": Size((2, 1030, 1, 1), 5, (2, 2)),
}


def _inputs(size: Size, last: bool) -> RoiInputs:
    random = np.random.default_rng(0)
    n, channels, *lengths = size.shape
    boxes = np.zeros((size.rows, 5), np.float32)
    boxes[:, 0] = random.integers(0, n, size.rows)
    for axis, (length, count) in enumerate(zip(lengths, size.output_size, strict=True)):
        start = random.integers(-8, 4 * length, size.rows) / 4
        boxes[:, 2 - axis], boxes[:, 4 - axis] = start, start + count * random.choice(size.bins, size.rows)
    features = random.integers(-8, 9, size.shape).astype(np.float32)
    upstream = random.integers(-2, 3, (size.rows, channels, *size.output_size)).astype(np.float32)
    if last:
        features, upstream = (
            np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for a in (features, upstream)
        )
    return RoiInputs(features, boxes, upstream, size.output_size, sampling_ratio=size.ratio, aligned=True)


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
    """What a box reads: the part of its image, and the weights (bins, pixels) of each axis in it."""

    part: tuple[int, slice, slice, slice]
    y: np.ndarray
    x: np.ndarray


def _bands(inputs: RoiInputs) -> list[Bands]:
    found = []
    for index, x1, y1, x2, y2 in inputs.boxes.astype(np.float64):
        slices, weights = [], []
        axes = zip((y1, x1), (y2, x2), inputs.output_size, inputs.image.shape[2:], strict=True)
        for first, last, count, length in axes:
            band = _band(first - 0.5, (last - first) / count, count, inputs.sampling_ratio, length)
            read = np.flatnonzero(band.any(axis=0))
            slices.append(slice(read[0], read[-1] + 1) if len(read) else slice(0, 0))
            weights.append(band[:, slices[-1]])
        found.append(Bands((int(index), slice(None), *slices), *weights))
    return found


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_results_are_those_of_two_band_matrices(backend, tally, size, layout):
    inputs = _inputs(size, layout == "channels_last")
    bands = _bands(inputs)
    pooled = np.stack([box.y @ inputs.image[box.part].astype(np.float64) @ box.x.T for box in bands])
    gradient = np.zeros(size.shape)
    for box, upstream in zip(bands, inputs.upstream, strict=True):
        gradient[box.part] += box.y.T @ upstream.astype(np.float64) @ box.x
    for direction, wanted in (("forward", pooled), ("grad_image", gradient)):
        if backend.refuses(inputs, direction):
            continue
        assert (wanted == wanted.astype(np.float32)).all(), "the case is not exact in float32"
        # A zero has no sign here: which of two zeros a sum of nothing is, is the order's affair.
        different = int(differing(backend.run(inputs, direction) + 0.0, wanted.astype(np.float32) + 0.0).sum())
        tally.bits(f"roi_align, {direction} against band matrices, large", wanted.size, different)
        assert different == 0, direction


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_the_gradient_of_a_box_is_the_same_alone(backend, size, layout):
    """A few boxes take another way through the map than many; and the whole is channels_last, a part is not."""
    inputs = _inputs(size, layout == "channels_last")
    rough = np.random.default_rng(1).standard_normal(inputs.image.shape, dtype=np.float32)
    inputs = replace(
        inputs, input=rough if layout == "contiguous" else rough.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    )
    if backend.refuses(inputs, "grad_boxes"):
        pytest.skip("the backend has no gradient of the boxes")
    whole = backend.run(inputs, "grad_boxes")
    for row in range(0, size.rows, 1 + size.rows // 4):
        alone = replace(
            inputs,
            input=np.ascontiguousarray(inputs.image),
            boxes=inputs.boxes[row : row + 1].copy(),
            upstream=np.ascontiguousarray(inputs.upstream[row : row + 1]),
        )
        assert not differing(backend.run(alone, "grad_boxes")[0], whole[row]).any(), row


@pytest.mark.package
@pytest.mark.parametrize("last", [False, True])
def test_a_pyramid_of_full_and_of_nearly_empty_levels(device, last):
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
