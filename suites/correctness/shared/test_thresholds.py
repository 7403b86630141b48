"""Results do not depend on the number of boxes or elements, nor on the previous contents of memory.

16-bit counters, lists sized for a block of threads and wrapping offsets fail only in large calls, which need no peer
library. Coordinates are dyadic and values small integers, so sums are exact in any order: a large call must have the
bits of its parts.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.judging.sample import with_boxes
from harness.measuring.devices.cpu import TUNED_ALLOCATOR
from harness.operators.arrays import DIRECTIONS, differing
from harness.properties.calls import same
from roi_align import roi_align
from suites.correctness.calls import ADAPTIVE, AVG, BILINEAR, MAX, each_layout, each_operator, for_calls, with_threads
from suites.correctness.sizes import Size, inputs_of, skip_if_long
from suites.programs import python

MANY, PIECE = 70_000, 1000  # more than 2^16 boxes, in pieces of less than 2^10


@pytest.mark.parametrize("channels", [2, 16])
def test_many_boxes_give_the_results_of_smaller_calls(backend, operator, channels):
    skip_if_long(backend, MANY)
    inputs = inputs_of(operator, Size((3, channels, 9, 17), MANY, (2, 3), bins=(1.0, 2.0)), integers=True)
    pieces = [with_boxes(inputs, slice(first, first + PIECE)) for first in range(0, MANY, PIECE)]
    for direction in DIRECTIONS:
        if backend.refuses(inputs, direction):
            continue
        whole = backend.run(inputs, direction)
        parts = [backend.run(piece, direction) for piece in pieces]
        expected = np.sum(parts, axis=0) if direction == "grad_image" else np.concatenate(parts)
        if operator == "roi_align" and direction == "grad_boxes":  # shares of three bins are no dyadic numbers
            assert same(backend, inputs, direction, whole, expected, backend.sheet.list_bits) is None
            continue
        # The sign of a zero is ignored: for an empty sum it depends on the order.
        assert not differing(whole + 0.0, expected + 0.0).any(), direction


# The extent of a box beyond its last sample, in pixels, if its samples are whole pixels.
BEYOND = {"crop_and_resize": (0, {}), "roi_align": (1, {"sampling_ratio": 1})}


@each_layout
@each_operator
def test_whole_rows_of_a_large_image_are_copied_exactly(device, call, layout):
    """Crops are whole rows, pixel by pixel, of an image of 400,000 elements."""
    n, channels, height, width, rows = 3, 16, 129, 65, 33
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(n, channels, height, width, generator=generator).to(device, memory_format=layout)
    tops = torch.arange(0, height - rows + 1, 32).repeat_interleave(n)
    beyond, options = BEYOND[call.operator]
    pixels = torch.stack([tops, 0 * tops, tops + rows - 1 + beyond, 0 * tops + width - 1 + beyond], dim=1)
    boxes = call.on(image, pixels / torch.tensor([height - 1, width - 1] * 2))
    upstream = torch.randint(-8, 9, (len(tops), channels, rows, width), generator=generator).float().to(device)
    result, gradient, _ = call.results(image, *boxes, size=(rows, width), upstream=upstream, **options)
    expected = torch.zeros_like(gradient)
    for row, (top, index) in enumerate(zip(tops.tolist(), call.indices(*boxes).int().tolist(), strict=True)):
        assert torch.equal(result[row], image[index, :, top : top + rows])
        expected[index, :, top : top + rows] += upstream[row]
    assert torch.equal(gradient, expected)


def _leave_behind(*shapes: tuple[int, ...]) -> None:
    """Fills freed memory with NaN, which a fresh result of one of these shapes is likely to reuse."""
    for shape in shapes:
        garbage = [torch.full(shape, torch.nan) for _ in range(8)]
        del garbage


@pytest.mark.cpu
@pytest.mark.parametrize("count", [0, 1, 300], ids=["no box", "one box", "many boxes"])
@each_operator
def test_gradients_of_a_wide_image_agree_in_both_layouts(call, count):
    """The sums of a row of all channels exceed a cache, so the kernel sums blocks of channels."""
    image, upstream = torch.randn(2, 40, 3, 6000), torch.randn(count, 40, 2, 30)
    boxes, gradients = call.random_boxes(image[:1], count), []
    for layout in (torch.contiguous_format, torch.channels_last):
        of = image.to(memory_format=layout).requires_grad_()
        result = call(of, *boxes, size=(2, 30))
        _leave_behind(tuple(image.shape))
        gradients += torch.autograd.grad(result, of, upstream)
    assert torch.equal(*gradients)


@pytest.mark.cpu
@each_operator
def test_many_boxes_give_the_same_bits_in_every_run(call):
    """The gradient sums over more boxes than one thread prepares, long enough that threads overlap."""
    image, upstream = torch.randn(1, 16, 33, 31, requires_grad=True), torch.randn(15_000, 16, 6, 6)
    boxes = call.random_boxes(image.detach(), len(upstream))

    def gradient() -> torch.Tensor:
        return torch.autograd.grad(call(image, *boxes, size=(6, 6)), image, upstream)[0]

    first, *others = with_threads((1, 4, 4, 4, 7, 7, 2, 2), gradient)
    assert all(torch.equal(other, first) for other in others)


@pytest.mark.cpu
@pytest.mark.parametrize("channels", [3, 16, 35])
@each_layout
@for_calls(BILINEAR, AVG, ADAPTIVE, MAX)
def test_gradients_beyond_every_box_are_zero_in_reused_memory(call, channels, layout):
    shape = (2, channels, 64, 24)
    image = torch.randn(shape).to(memory_format=layout).requires_grad_()
    for count in (1, 40):  # in the upper rows of the first image
        boxes = call.on(image[:1], torch.rand(count, 4) * torch.tensor([0.2, 1.0, 0.2, 1.0]))
        result = call(image, *boxes, size=(7, 5))
        _leave_behind(shape)
        (gradient,) = torch.autograd.grad(result.sum(), image)
        assert (gradient[1] == 0).all()
        assert (gradient[0, :, 20:] == 0).all()
        assert torch.isfinite(gradient).all()


# Prints a digest of each of three gradients of 12 MB, by operator and layout.
_LARGE_GRADIENTS = """
import hashlib
import torch
from roi_align import crop_and_resize, roi_align
torch.manual_seed(0)
image, upstream = torch.randn(2, 16, 300, 320), torch.randn(200, 16, 14, 14)
corners, indices = torch.rand(200, 4), torch.arange(200) % 2
rois = torch.cat([indices[:, None].float(), corners.sort(dim=1).values * 300], dim=1)
for layout in (torch.contiguous_format, torch.channels_last):
    leaf = image.to(memory_format=layout).requires_grad_()
    for crops in (crop_and_resize(leaf, corners, indices, (14, 14)), roi_align(leaf, rois, 14)):
        for _ in range(3):
            (gradient,) = torch.autograd.grad(crops, leaf, upstream, retain_graph=True)
            print(hashlib.sha256(gradient.contiguous().numpy().tobytes()).hexdigest())
            del gradient  # the next one gets the same memory, if it is kept
"""


@pytest.mark.package
@pytest.mark.cpu
def test_large_gradients_have_the_same_bits_in_fresh_and_in_kept_memory():
    """crop_and_resize's image gradient writes past the caches in kept memory only; with the first setting the system
    maps each result anew."""
    processes = [
        python("-c", _LARGE_GRADIENTS, **each) for each in ({"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}, TUNED_ALLOCATOR)
    ]
    fresh, kept = (process.stdout.split() for process in processes)
    assert len(fresh) == 12, processes[0].stderr
    assert fresh == kept, processes[1].stderr
    assert len(set(fresh)) == 2, "one for each operator, in both layouts and every time"


@pytest.mark.package
@pytest.mark.cpu
def test_the_gradient_of_an_index_is_zero_in_reused_memory():
    rows = torch.tensor([[0.0, 1, 1, 5, 4], [1.0, 0, 0, 7, 5]]).repeat(40, 1).requires_grad_()
    pooled = roi_align(torch.rand(2, 3, 5, 7), rows, 3)
    _leave_behind(tuple(rows.shape))
    (gradient,) = torch.autograd.grad(pooled.sum(), rows)
    assert (gradient[:, 0] == 0).all()
