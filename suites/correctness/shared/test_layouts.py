"""Layouts, instruction sets and threads of the package: none may change a bit, and gradients keep the layout of what
they belong to. That the layout of an image changes no result is a property of every backend (harness/properties).
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings

from harness.operators.arrays import DIRECTIONS
from harness.operators.crop_and_resize import strategy as strategies
from roi_align import crop_and_resize


@pytest.mark.package
@pytest.mark.parametrize("channels_last", [False, True])
def test_crops_and_gradients_keep_the_layout(device, channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    image = torch.rand(2, 3, 5, 9, device=device).to(memory_format=layout).requires_grad_()
    # Samples lie on halves of pixels and gradients are eighths: whatever its order, a sum is exact.
    boxes = torch.tensor([[0.25, 0.125, 0.75, 0.875]], device=device)
    crops = crop_and_resize(image, boxes, torch.tensor([1], device=device), (5, 5))
    assert crops.is_contiguous(memory_format=layout)
    # An upstream gradient in the other layout, or an expanded one as sum() makes it, changes nothing about that.
    eighths = torch.randint(-8, 9, (1, 3, 5, 5), device=device) / 8
    for upstream in (eighths, torch.ones((), device=device).expand(1, 3, 5, 5)):
        (gradient,) = torch.autograd.grad(crops, image, upstream, retain_graph=True)
        assert gradient.is_contiguous(memory_format=layout)
        (same,) = torch.autograd.grad(crops, image, upstream.contiguous(memory_format=layout), retain_graph=True)
        assert torch.equal(gradient, same)


@pytest.mark.package
def test_strided_boxes_and_indices_are_read_where_they_are(device):
    image = torch.rand(3, 2, 6, 5, device=device)
    wide = torch.rand(8, 12, device=device)
    boxes, box_indices = wide[::2, 1::3], (torch.arange(8, device=device) % 3)[::2]
    assert not boxes.is_contiguous()
    got = crop_and_resize(image, boxes, box_indices, (3, 4))
    assert torch.equal(got, crop_and_resize(image, boxes.contiguous(), box_indices.contiguous(), (3, 4)))


_DIGESTS = """
import hashlib, sys
from harness.backends import load
from harness.operators.crop_and_resize.case import DIRECTIONS, Case
backend, digest = load("roi_align"), hashlib.sha256()
for line in sys.stdin:
    for direction in DIRECTIONS:
        digest.update(backend.run(Case.parse(line).inputs(), direction).tobytes())
print(torch.ops.roi_align.cpu_kernels(), digest.hexdigest())
"""


@pytest.mark.cpu
def test_every_instruction_set_gives_the_same_bits():
    """The kernels are compiled once for each; ROI_ALIGN_CPU picks one, and by default the machine's best is taken."""
    cases: list[str] = []

    @settings(max_examples=300, derandomize=True, database=None)
    @given(case=strategies.cases(channels=(1, 3, 8, 16, 35), most_outputs=5000))
    def collect(case):
        cases.append(repr(case))

    collect()
    results = {}
    for name in ("portable", "avx2", "avx512", ""):
        done = subprocess.run(
            [sys.executable, "-c", "import torch\n" + _DIGESTS],
            input="\n".join(cases),
            env={**os.environ, "ROI_ALIGN_CPU": name, "PYTHONPATH": os.pathsep.join([".", *sys.path])},
            capture_output=True,
            text=True,
            check=False,
        )
        if "but this machine runs" in done.stderr:
            continue
        assert done.returncode == 0, done.stderr
        used, digest = done.stdout.split()
        assert used == name or not name
        results[used] = digest
    assert "portable" in results
    assert len(set(results.values())) == 1, results


@pytest.mark.cpu
def test_an_unknown_instruction_set_is_refused_in_a_sentence():
    done = subprocess.run(
        [sys.executable, "-c", "import torch, roi_align; torch.ops.roi_align.cpu_kernels()"],
        env={**os.environ, "ROI_ALIGN_CPU": "sse9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ValueError: ROI_ALIGN_CPU is 'sse9', but this machine runs portable" in done.stderr


@pytest.mark.cpu
@settings(max_examples=max(20, settings().max_examples // 5))
@given(case=strategies.cases(empty=False, channels=(1, 2, 3, 16, 35)))
def test_one_and_more_threads_give_the_same_bits(backend, case):
    """Enough copies of the boxes that the work is really split."""
    case = replace(case, boxes=case.boxes * 40, box_indices=case.box_indices * 40)
    before = torch.get_num_threads()
    try:
        for direction in DIRECTIONS:
            results = []
            for threads in (1, 2, 4):
                torch.set_num_threads(threads)
                results += [backend.run(case.inputs(), direction).tobytes() for _ in range(2)]
            assert len(set(results)) == 1, (direction, case)
    finally:
        torch.set_num_threads(before)


@pytest.mark.cpu
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("channels", [3, 16])
def test_threads_that_share_one_image_row_by_row_give_the_same_bits(channels, channels_last):
    """One image of one block of channels: threads can only be given bands of rows, which samples straddle."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(200, 4, generator=generator) * 1.2 - 0.1
    box_indices = torch.zeros(200, dtype=torch.int64)
    upstream = torch.randn(200, channels, 7, 9, generator=generator)
    image = torch.randn(1, channels, 37, 41, generator=generator).to(memory_format=layout).requires_grad_()
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            crops = crop_and_resize(image, boxes, box_indices, (7, 9))
            results.append(torch.cat([crops.flatten(), torch.autograd.grad(crops, image, upstream)[0].flatten()]))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results)
