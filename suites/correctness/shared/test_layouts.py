"""Strides, instruction sets and threads change no bit; gradients have the layout of their tensors.

The cases of the properties have four layouts, but users pass slices. NaN between and around the values of a view
detects stray reads.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings

from harness.backends import load
from harness.operators import OPERATORS, within
from harness.operators.arrays import DIRECTIONS
from suites.correctness import calls
from suites.programs import python


@calls.each_layout
@pytest.mark.parametrize("channels", [3, 18])
@calls.each_call
def test_results_and_gradients_keep_the_layout(device, call, channels, layout):
    image = torch.rand(2, channels, 5, 9, device=device).to(memory_format=layout).requires_grad_()
    result = call(image, *call.exact(image, 3), size=(5, 3))
    assert result.is_contiguous(memory_format=layout)
    # An upstream gradient in either layout, or an expanded one as from sum(), makes no difference.
    values = calls.eighths(*result.shape).to(device)
    upstreams = [values.contiguous(memory_format=each) for each in calls.LAYOUTS.values()]
    for upstream in (*upstreams, torch.ones((), device=device).expand(result.shape)):
        (gradient,) = torch.autograd.grad(result, image, upstream, retain_graph=True)
        assert gradient.is_contiguous(memory_format=layout)
        (same,) = torch.autograd.grad(result, image, upstream.contiguous(memory_format=layout), retain_graph=True)
        assert torch.equal(gradient, same)


# The dimensions along which an image repeats its elements.
REPEATED = [(0,), (1,), (2,), (3,), (2, 3), (1, 2, 3)]


@calls.each_layout
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8])
@calls.each_call
def test_images_whose_elements_share_memory_change_no_bit(device, call, dtype, layout):
    """Expanded images; a conversion to float32, as of halves and integers, may lay them out anew."""
    for channels, repeated in itertools.product((1, 3, 8, 20), REPEATED):
        sizes = (2, channels, 9, 10)
        values = calls.eighths(*(1 if d in repeated else size for d, size in enumerate(sizes))).abs()
        image = values.to(device, dtype).contiguous(memory_format=layout).expand(sizes)
        boxes, size = call.random_boxes(image, 12), (8, 8)
        expected = call(image.contiguous(), *boxes, size=size)
        assert torch.equal(call(image, *boxes, size=size), expected), (channels, repeated)
        if dtype.is_floating_point:
            results = [
                call.results(each, *boxes, size=size, upstream=torch.ones_like(expected))
                for each in (image, image.contiguous())
            ]
            assert calls.equal(*results), (channels, repeated)


_AT_THE_END_OF_A_PAGE = """
import ctypes, mmap, os
import numpy as np
import torch
from roi_align import crop_and_resize
pages = mmap.mmap(-1, 2 * mmap.PAGESIZE)
begin = ctypes.addressof(ctypes.c_char.from_buffer(pages))
if ctypes.CDLL(None).mprotect(ctypes.c_void_p(begin + mmap.PAGESIZE), mmap.PAGESIZE, 0):
    raise OSError("mprotect")
three = np.frombuffer(pages, np.float32, 3, mmap.PAGESIZE - 12)
three[:] = 1, 2, 3
image = torch.from_numpy(three).view(1, 3, 1, 1).expand(1, 3, 8, 8)
crops = crop_and_resize(image, torch.tensor([[0.1, 0.1, 0.8, 0.9]]), torch.tensor([0]), (4, 4))
print(crops.flatten(2).unique(dim=2).flatten().tolist(), flush=True)
os._exit(0)  # the array still holds the pages
"""


@pytest.mark.package
@pytest.mark.cpu
@pytest.mark.skipif(sys.platform != "linux", reason="mprotect is called as Linux has it")
def test_nothing_is_read_beyond_three_repeated_channels():
    """The page after them may not be read."""
    process = python("-c", _AT_THE_END_OF_A_PAGE)
    assert (process.returncode, process.stdout.strip()) == (0, "[1.0, 2.0, 3.0]"), process.stderr


@calls.each_operator
def test_strided_boxes_and_indices_change_no_bit(device, call):
    image = torch.rand(3, 2, 6, 5, device=device)
    boxes = call.random_boxes(image, 8)
    strided = [torch.stack([each, each], dim=-1).repeat_interleave(2, dim=0)[::2, ..., 0] for each in boxes]
    assert not any(each.is_contiguous() for each in strided)
    assert torch.equal(call(image, *strided), call(image, *boxes))


_DIGESTS = """
import hashlib, sys
import torch
from harness.backends import load
from harness.operators import operator_of, parse
from harness.operators.arrays import DIRECTIONS
digest = hashlib.sha256()
for line in sys.stdin:
    case = parse(line)
    for direction in DIRECTIONS:
        digest.update(load("roi_align", operator_of(case).name).run(case.inputs(), direction).tobytes())
print(torch.ops.roi_align.cpu_kernels(), digest.hexdigest())
"""


@pytest.mark.cpu
def test_every_instruction_set_gives_the_same_bits():
    """The kernels are compiled once per instruction set; ROI_ALIGN_CPU selects one, by default the machine's best."""
    lines: list[str] = []
    for operator in OPERATORS:

        @settings(max_examples=300, derandomize=True, database=None)
        @given(case=within(load("roi_align", operator).sheet, channels=(1, 3, 8, 16, 35), most_outputs=5000))
        def collect(case):
            lines.append(repr(case))

        collect()
    digests = calls.on_every_instruction_set(_DIGESTS, "\n".join(lines))
    assert len(set(digests.values())) == 1, digests


@pytest.mark.cpu
def test_an_unknown_instruction_set_raises_a_clear_error():
    process = python("-c", "import torch, roi_align; torch.ops.roi_align.cpu_kernels()", ROI_ALIGN_CPU="sse9")
    assert "ValueError: ROI_ALIGN_CPU is 'sse9', but this machine runs portable" in process.stderr


@pytest.mark.cpu
def test_the_number_of_threads_changes_no_bit(backend, operator):
    """With enough copies of the boxes that the kernels split the work."""

    @settings(max_examples=max(20, settings().max_examples // 5))
    @given(case=within(backend.sheet, empty=(), channels=(1, 2, 3, 16, 35)))
    def holds(case):
        lists = OPERATORS[operator].arrays[1:-1]
        case = replace(case, **{name: getattr(case, name) * 40 for name in lists})
        of_threads = (1, 1, 2, 2, 4, 4)
        results = calls.with_threads(
            of_threads, lambda: [backend.run(case.inputs(), each).tobytes() for each in DIRECTIONS]
        )
        assert all(each == results[0] for each in results), case

    holds()


@pytest.mark.cpu
@calls.each_layout
@pytest.mark.parametrize("channels", [3, 16])
@calls.each_call
def test_threads_that_share_the_rows_of_one_image_change_no_bit(call, channels, layout):
    """With one image of one block of channels, each thread gets a band of rows, and samples straddle the bands."""
    image = torch.randn(1, channels, 37, 41).to(memory_format=layout)
    boxes, upstream = call.random_boxes(image, 200), torch.randn(200, channels, 7, 9)
    first, *others = calls.with_threads(
        (1, 2, 3, 7), lambda: call.results(image, *boxes, size=(7, 9), upstream=upstream)
    )
    assert all(calls.equal(results, first) for results in others)


def interior(values: torch.Tensor) -> torch.Tensor:
    """The interior of a larger channels_last tensor."""
    n, c, h, w = values.shape
    parent = torch.full((n, h + 3, w + 2, c), torch.nan, dtype=values.dtype).permute(0, 3, 1, 2)
    return parent[:, :, 1 : 1 + h, 1 : 1 + w].copy_(values)


def channel_slice(values: torch.Tensor) -> torch.Tensor:
    """A part of the channels of a channels_last tensor."""
    n, c, h, w = values.shape
    parent = torch.full((n, h, w, c + 5), torch.nan, dtype=values.dtype).permute(0, 3, 1, 2)
    return parent[:, 2 : 2 + c].copy_(values)


def every_second_value(values: torch.Tensor) -> torch.Tensor:
    """Every second image, channel, row and column of a tensor."""
    parent = torch.full([2 * size for size in values.shape], torch.nan, dtype=values.dtype)
    return parent[::2, ::2, ::2, 1::2].copy_(values)


def transposition(values: torch.Tensor) -> torch.Tensor:
    """Columns are outside and rows inside."""
    return values.transpose(2, 3).contiguous().transpose(2, 3)


@pytest.mark.cpu
@pytest.mark.parametrize("count", [2, 60], ids=["few boxes", "many boxes"])
@pytest.mark.parametrize("channels", [1, 3, 16, 35])
@pytest.mark.parametrize("view", [interior, channel_slice, every_second_value, transposition])
@calls.each_call
def test_views_give_the_bits_of_their_copies(call, view, channels, count):
    """The image and the upstream gradient, both with these strides."""
    image, upstream = torch.randn(2, channels, 19, 23), torch.randn(count, channels, 5, 4)
    boxes = call.random_boxes(image, count)
    expected = call.results(image, *boxes, size=(5, 4), upstream=upstream)
    assert calls.equal(call.results(view(image), *boxes, size=(5, 4), upstream=view(upstream)), expected)
