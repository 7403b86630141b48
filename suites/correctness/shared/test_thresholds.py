"""What goes wrong only beyond a number: of boxes, of elements, of what was in memory before.

Counters of 16 bits, lists with room for a block of threads, offsets that wrap: each needs a call that is large enough,
and no other library to compare it with. Coordinates are dyadic and values small integers, so that sums are exact in
any order: a large call must give what its parts give, to the last bit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.operators.arrays import DIRECTIONS, differing
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.roi_align.case import RoiInputs
from roi_align import crop_and_resize, roi_align

MANY, PIECE = 70_000, 1000  # more than 2^16 boxes, in pieces of less than 2^10


def _whole_is_its_pieces(backend, inputs, piece_of) -> None:
    pieces = [piece_of(slice(first, first + PIECE)) for first in range(0, MANY, PIECE)]
    for direction in DIRECTIONS:
        if backend.refuses(inputs, direction):
            continue
        whole = backend.run(inputs, direction)
        parts = [backend.run(piece, direction) for piece in pieces]
        wanted = np.sum(parts, axis=0) if direction == "grad_image" else np.concatenate(parts)
        # A zero has no sign here: which of two a sum of nothing is, is the order's affair.
        assert not differing(whole + 0.0, wanted + 0.0).any(), direction


@pytest.mark.parametrize("channels", [2, 16])
def test_many_boxes_give_what_each_gives_alone(backend, channels):
    random = np.random.default_rng(0)
    inputs = Inputs(
        image=random.integers(-8, 9, (3, channels, 9, 17)).astype(np.float32),
        boxes=(random.integers(-1, 18, (MANY, 4)) / 16).astype(np.float32),
        box_indices=random.integers(0, 3, MANY).astype(np.int32),
        upstream=random.integers(-1, 2, (MANY, channels, 2, 3)).astype(np.float32),
        crop_size=(2, 3),
    )

    def piece_of(rows: slice) -> Inputs:
        return replace(
            inputs,
            boxes=inputs.boxes[rows].copy(),
            box_indices=inputs.box_indices[rows].copy(),
            upstream=inputs.upstream[rows].copy(),
        )

    _whole_is_its_pieces(backend, inputs, piece_of)


@pytest.mark.parametrize("channels", [2, 16])
def test_many_rois_give_what_each_gives_alone(roi_backend, channels):
    random = np.random.default_rng(0)
    corners = random.integers(-8, 60, (MANY, 2)) / 4
    rows = np.concatenate([random.integers(0, 3, (MANY, 1)), corners, corners + random.choice([2, 4], (MANY, 2))], 1)
    inputs = RoiInputs(
        random.integers(-8, 9, (3, channels, 9, 17)).astype(np.float32),
        rows.astype(np.float32),
        random.integers(-1, 2, (MANY, channels, 2, 2)).astype(np.float32),
        (2, 2),
        sampling_ratio=2,
        aligned=True,
    )

    def piece_of(rows: slice) -> RoiInputs:
        return replace(inputs, boxes=inputs.boxes[rows].copy(), upstream=inputs.upstream[rows].copy())

    _whole_is_its_pieces(roi_backend, inputs, piece_of)


@pytest.mark.package
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_rows_of_a_large_image_are_copied_and_given_back(device, layout):
    """Crops of whole rows, pixel by pixel, of an image of 400,000 elements."""
    n, channels, height, width, rows = 3, 16, 129, 65, 33
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(n, channels, height, width, generator=generator).to(device, memory_format=layout)
    image.requires_grad_()
    tops = torch.arange(0, height - rows + 1, 32).repeat(n)
    indices = torch.arange(n).repeat_interleave(len(tops) // n)
    ends = torch.stack([tops, tops + rows - 1], dim=1) / (height - 1)
    boxes = torch.stack([ends[:, 0], torch.zeros(len(tops)), ends[:, 1], torch.ones(len(tops))], dim=1)
    crops = crop_and_resize(image, boxes.to(device), indices.to(device), (rows, width))
    upstream = torch.randint(-8, 9, crops.shape, generator=generator).float().to(device)
    (gradient,) = torch.autograd.grad(crops, image, upstream)
    wanted = torch.zeros_like(gradient)
    for row, (top, index) in enumerate(zip(tops.tolist(), indices.tolist(), strict=True)):
        assert torch.equal(crops[row], image[index, :, top : top + rows])
        wanted[index, :, top : top + rows] += upstream[row]
    assert torch.equal(gradient, wanted)


@pytest.mark.package
@pytest.mark.cpu
@pytest.mark.parametrize("boxes", [0, 1, 300], ids=["no box", "one box", "many boxes"])
def test_a_wide_image_has_one_gradient_in_both_layouts(boxes):
    """So wide that the sums of a row of all channels are too much for a cache, and blocks of channels are summed."""
    generator = torch.Generator().manual_seed(0)
    image, indices = torch.randn(2, 40, 3, 6000, generator=generator), torch.zeros(boxes, dtype=torch.int64)
    places = torch.rand(boxes, 4, generator=generator)
    upstream = torch.randn(boxes, 40, 2, 30, generator=generator)
    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last):
        of = image.to(memory_format=layout).requires_grad_()
        crops = crop_and_resize(of, places, indices, (2, 30))
        _leave_behind(tuple(image.shape))
        gradients += torch.autograd.grad(crops, of, upstream)
    assert torch.equal(*gradients)


@pytest.mark.package
@pytest.mark.cpu
def test_many_boxes_give_the_same_bits_in_every_run():
    """Of a sum over more boxes than one thread is given to prepare, so long that threads are at it at the same time."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 16, 33, 31, generator=generator, requires_grad=True)
    boxes = torch.rand(15_000, 4, generator=generator)
    indices = torch.zeros(len(boxes), dtype=torch.int64)
    upstream = torch.randn(len(boxes), 16, 6, 6, generator=generator)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 4, 4, 4, 7, 7, 2, 2):
            torch.set_num_threads(threads)
            crops = crop_and_resize(image, boxes, indices, (6, 6))
            results.append(torch.autograd.grad(crops, image, upstream)[0])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)


def _leave_behind(*shapes: tuple[int, ...]) -> None:
    """NaN in memory that is free again: what a fresh result of one of these shapes is likely to be found in."""
    for shape in shapes:
        left = [torch.full(shape, torch.nan) for _ in range(8)]
        del left


@pytest.mark.package
@pytest.mark.cpu
@pytest.mark.parametrize("channels", [3, 16, 35])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_what_no_box_reaches_is_zero_whatever_was_in_memory(channels, layout):
    shape = (2, channels, 64, 24)
    image = torch.randn(shape).to(memory_format=layout).requires_grad_()
    for count in (1, 40):  # in the upper rows of the first image
        boxes = torch.rand(count, 4) * torch.tensor([0.2, 1.0, 0.2, 1.0])
        crops = crop_and_resize(image, boxes, torch.zeros(count, dtype=torch.int64), (7, 5))
        rows = torch.cat([torch.zeros(count, 1), boxes[:, [1, 0, 3, 2]] * torch.tensor([24.0, 64, 24, 64])], dim=1)
        pooled = roi_align(image, rows, (7, 5), aligned=True, sampling_ratio=2)
        for result in (crops, pooled):
            _leave_behind(shape)
            (gradient,) = torch.autograd.grad(result.sum(), image)
            assert (gradient[1] == 0).all()
            assert (gradient[0, :, 20:] == 0).all()
            assert torch.isfinite(gradient).all()


@pytest.mark.package
@pytest.mark.cpu
def test_an_index_has_no_gradient_whatever_was_in_memory():
    rows = torch.tensor([[0.0, 1, 1, 5, 4], [1.0, 0, 0, 7, 5]]).repeat(40, 1).requires_grad_()
    pooled = roi_align(torch.rand(2, 3, 5, 7), rows, 3)
    _leave_behind(tuple(rows.shape))
    (gradient,) = torch.autograd.grad(pooled.sum(), rows)
    assert (gradient[:, 0] == 0).all()
