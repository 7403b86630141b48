"""CUDA beside the CPU, bit by bit: over random cases of every dtype, with very many boxes, in very large tensors.

The CPU's bits are TensorFlow's, and compared with them elsewhere. Skipped without a GPU.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given

from harness.backends import load
from harness.judging.trial import failure
from harness.measuring import gate
from harness.operators.arrays import FLOATS, differing
from harness.operators.crop_and_resize import strategy as strategies
from harness.operators.crop_and_resize.case import BOX_RULES, Inputs
from harness.operators.implementation import Backend
from harness.repository import MissingLibrary
from roi_align import crop_and_resize

pytestmark = pytest.mark.package


def _load(name: str) -> Backend:
    try:
        return load(name)
    except MissingLibrary as missing:
        pytest.skip(str(missing))


@pytest.fixture
def atomics() -> Backend:
    return _load("roi_align_cuda")


@pytest.fixture
def deterministic() -> Backend:
    return _load("roi_align_cuda_deterministic")


@pytest.fixture
def cpu() -> Backend:
    return load("roi_align")


def _assert_same_bits(backend, cpu, case, direction, tally) -> None:
    inputs = case.inputs()
    if cpu.refuses(inputs, direction):
        return
    got, want = backend.run(inputs, direction), cpu.run(case.inputs(), direction)
    assert (got.shape, got.dtype) == (want.shape, want.dtype), case
    different = int(differing(got, want).sum())
    tally.bits(f"{direction} on CUDA against the CPU, {case.image_dtype} images", got.size, different)
    assert not different, failure(backend, case, direction, f"{different} values differ from the CPU's.")


@pytest.mark.parametrize("box_rule", BOX_RULES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_forward_has_the_cpus_bits_in_every_dtype(atomics, cpu, tally, dtype, box_rule):
    @given(case=strategies.cases(image_dtypes=[dtype], box_rules=[box_rule], channels=(1, 2, 3, 8, 35)))
    def holds(case):
        _assert_same_bits(atomics, cpu, case, "forward", tally)

    holds()


@pytest.mark.parametrize("box_rule", BOX_RULES)
def test_the_deterministic_image_gradient_has_the_cpus_bits_in_float32(deterministic, cpu, tally, box_rule):
    @given(case=strategies.cases(image_dtypes=["float32"], box_rules=[box_rule], channels=(1, 2, 3, 8, 35)))
    def holds(case):
        _assert_same_bits(deterministic, cpu, case, "grad_image", tally)

    holds()


def test_a_hundred_thousand_boxes_in_one_call(atomics, deterministic, cpu):
    random, rows = np.random.default_rng(0), 100_000
    corners = random.uniform(0, 1, (rows, 2))
    inputs = Inputs(
        image=random.standard_normal((3, 4, 90, 130), dtype=np.float32),
        boxes=np.hstack([corners, corners + random.uniform(-0.05, 0.05, (rows, 2))]).astype(np.float32),
        box_indices=random.integers(0, 3, rows).astype(np.int32),
        upstream=random.standard_normal((rows, 4, 3, 5), dtype=np.float32),
        crop_size=(3, 5),
    )
    for direction, backend in (("forward", atomics), ("grad_image", deterministic)):
        assert not differing(backend.run(inputs, direction), cpu.run(inputs, direction)).any()
    for direction in ("grad_image", "grad_boxes"):
        found = gate.check(atomics, inputs, direction, atomics.run(inputs, direction), lambda: None)
        assert found.passed, found.message


SIDE = 2**15 + 1
# Whatever lies beyond 2^31 elements lies in the last image here and among the last rows there.
LARGE = {
    "contiguous": ((3, 1, SIDE, SIDE), torch.contiguous_format),
    "channels_last": ((1, 3, SIDE, SIDE), torch.channels_last),
}


def _needs(gigabytes: int) -> None:
    """Skip where a test needs more memory than the GPU has free."""
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0]
    if free < gigabytes * 2**30:
        pytest.skip(f"it needs {gigabytes} GB of the GPU's memory, of which {free / 2**30:.0f} are free")


@pytest.mark.parametrize(("shape", "layout"), LARGE.values(), ids=LARGE)
@pytest.mark.parametrize("mode", [False, True], ids=["atomics", "deterministic"])
def test_an_image_of_more_than_2_to_the_31_elements(atomics, shape, layout, mode):
    """Edges lie on pixels and samples on halves, which do not round: small pieces of the image tell the crops."""
    _needs(40)
    image = torch.empty(shape, dtype=torch.bfloat16, device="cuda", memory_format=layout)
    image.normal_(generator=torch.Generator("cuda").manual_seed(0))
    last = shape[0] - 1
    corners = [(0, 0), (SIDE - 17, SIDE - 17), (SIDE - 17, 0), (SIDE // 2, SIDE - 17), (SIDE - 300, 77)]
    edges = [[y, x, y + 16, x + 16] for y, x in corners]
    boxes = torch.tensor(edges, dtype=torch.float32, device="cuda") / (SIDE - 1)
    box_indices = torch.tensor([last, last, last, last, 0], device="cuda")
    upstream = (torch.randint(-8, 9, (5, shape[1], 33, 33)) / 8).bfloat16()
    crops = crop_and_resize(image.requires_grad_(), boxes, box_indices, (33, 33))
    torch.use_deterministic_algorithms(mode)
    try:
        (gradient,) = torch.autograd.grad(crops, image, upstream.cuda())
    finally:
        torch.use_deterministic_algorithms(False)
    assert gradient.is_contiguous(memory_format=layout)
    for row, ((y, x), n) in enumerate(zip(corners, box_indices.tolist(), strict=True)):
        place = (slice(n, n + 1), slice(None), slice(y, y + 17), slice(x, x + 17))
        piece = image.detach()[place].cpu().requires_grad_()
        alone = crop_and_resize(piece, torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([0]), (33, 33))
        assert torch.equal(crops[row].cpu(), alone[0]), row
        assert torch.equal(gradient[place].cpu(), torch.autograd.grad(alone, piece, upstream[row : row + 1])[0]), row
        gradient[place] = 0
    assert not gradient.any(), "a gradient has gone where no sample is"


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("mode", [False, True], ids=["atomics", "deterministic"])
def test_a_result_of_more_than_2_to_the_31_elements(atomics, layout, mode):
    """The same boxes over and over: the last ones give the crops and the gradients that they give alone."""
    _needs(30)
    random = torch.Generator().manual_seed(0)
    few, times = 1000, 117
    image = (torch.randint(-64, 65, (2, 64, 33, 33), generator=random) / 8).bfloat16()
    image = image.cuda().to(memory_format=layout).requires_grad_()
    boxes = torch.randint(-2, 35, (few, 4), generator=random).cuda() / 32
    box_indices = torch.randint(2, (few,), generator=random).cuda()
    repeated = boxes.repeat(times, 1).requires_grad_()
    some = crop_and_resize(image, boxes.requires_grad_(), box_indices, (17, 17))
    crops = crop_and_resize(image, repeated, box_indices.repeat(times), (17, 17))
    assert crops.numel() > 2**31
    assert all(torch.equal(part, some) for part in crops.detach().split(few))
    upstream = torch.zeros_like(crops)
    upstream[-few:] = (torch.randint(-8, 9, some.shape, generator=random) / 8).cuda()
    torch.use_deterministic_algorithms(mode)
    try:
        got = torch.autograd.grad(crops, (image, repeated), upstream)
        want = torch.autograd.grad(some, (image, boxes), upstream[-few:])
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1][-few:], want[1])
    assert not got[1][:-few].any()
