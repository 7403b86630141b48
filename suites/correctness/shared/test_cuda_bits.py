"""CUDA gives the CPU's bits: over random cases of every dtype, with very many boxes, in very large tensors.

The CPU's bits are TensorFlow's, which other tests compare. Where CUDA sums in another order, its results agree with the
CPU's within two bounds and are reproducible, except with crop_and_resize's atomics. Skipped without a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given

from harness.backends import load
from harness.judging.sample import judge_sample
from harness.judging.trial import failure
from harness.operators import within
from harness.operators.arrays import FLOATS, differing
from harness.operators.crop_and_resize.case import BOX_RULES
from harness.operators.implementation import Backend
from harness.operators.judgement import beyond_two_bounds
from harness.operators.roi_align.case import SAMPLED
from suites.correctness import calls
from suites.correctness.sizes import Size, inputs_of
from suites.missing import skip_if_missing

pytestmark = pytest.mark.package

CHANNELS = (1, 2, 3, 8, 35)
# The settings whose bits are compared, as fields of a case.
SETTINGS = [
    *(pytest.param("crop_and_resize", {"box_rules": [rule]}, id=f"crop_and_resize-{rule}") for rule in BOX_RULES),
    *(pytest.param("roi_align", {"modes": [mode]}, id=f"roi_align-{mode}") for mode in SAMPLED),
]


@pytest.fixture
def on_cuda(operator) -> Backend:
    with skip_if_missing():
        return load("roi_align_cuda", operator)


@pytest.fixture
def cpu(operator) -> Backend:
    return load("roi_align", operator)


@pytest.fixture
def deterministic() -> Backend:
    """For crop_and_resize only: roi_align's sums always have one order."""
    with skip_if_missing():
        return load("roi_align_cuda_deterministic", "crop_and_resize")


def _assert_same_bits(backend, cpu, case, direction, tally) -> None:
    inputs = case.inputs()
    if cpu.refuses(inputs, direction):
        return
    result, expected = backend.run(inputs, direction), cpu.run(case.inputs(), direction)
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype), case
    different = int(differing(result, expected).sum())
    name = f"{cpu.sheet.operator}, {direction} on CUDA against the CPU, {case.image_dtype} images"
    tally.bits(name, result.size, different)
    assert not different, failure(backend, case, direction, f"{different} values differ from the CPU's.")


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("operator", "setting"), SETTINGS)
def test_the_forward_has_the_cpus_bits_in_every_dtype(on_cuda, cpu, tally, dtype, setting):
    @given(case=within(cpu.sheet, image_dtypes=[dtype], channels=CHANNELS, **setting))
    def holds(case):
        _assert_same_bits(on_cuda, cpu, case, "forward", tally)

    holds()


@pytest.mark.parametrize(("operator", "setting"), SETTINGS[: len(BOX_RULES)])
def test_the_deterministic_image_gradient_has_the_cpus_bits_in_float32(deterministic, cpu, tally, setting):
    @given(case=within(cpu.sheet, image_dtypes=["float32"], channels=CHANNELS, **setting))
    def holds(case):
        _assert_same_bits(deterministic, cpu, case, "grad_image", tally)

    holds()


@pytest.mark.parametrize("direction", ["grad_image", "grad_boxes"])
@pytest.mark.parametrize(("operator", "setting"), SETTINGS)
def test_gradients_agree_with_the_cpu_within_two_bounds(on_cuda, cpu, direction, setting):
    choices = {"image_dtypes": ["float32", "float64"], "channels": (1, 3, 8, 35), "values": ["normal", "ramp"]}

    @given(case=within(cpu.sheet, **choices, **setting))
    def holds(case):
        result, expected = (backend.run(case.inputs(), direction) for backend in (on_cuda, cpu))
        apart = beyond_two_bounds(case.inputs(), direction, result, expected)
        assert apart is None, failure(on_cuda, case, direction, apart)

    holds()


def hundred_thousand(operator):
    """A call with many small boxes; the oracle needs only the boxes near a pixel."""
    inputs = inputs_of(operator, Size((3, 4, 90, 130), 100_000, (3, 5)))
    boxes, share = inputs.boxes.copy(), {"crop_and_resize": 0.05, "roi_align": 1.0}[operator]
    boxes[:, -2:] = boxes[:, -4:-2] + (boxes[:, -2:] - boxes[:, -4:-2]) * np.float32(share)
    return replace(inputs, boxes=boxes)


def test_a_hundred_thousand_boxes_in_one_call(operator, on_cuda, cpu):
    inputs = hundred_thousand(operator)
    assert not differing(on_cuda.run(inputs, "forward"), cpu.run(inputs, "forward")).any()
    for direction in ("grad_image", "grad_boxes"):
        verdict = judge_sample(inputs, direction, on_cuda.run(inputs, direction), pinned=True)
        assert verdict.passed, str(verdict)


@pytest.mark.parametrize("operator", ["crop_and_resize"])
def test_the_deterministic_gradient_of_a_hundred_thousand_boxes_has_the_cpus_bits(deterministic, cpu):
    inputs = hundred_thousand("crop_and_resize")
    assert not differing(deterministic.run(inputs, "grad_image"), cpu.run(inputs, "grad_image")).any()


@pytest.fixture(params=calls.ON_CUDA.values(), ids=calls.ON_CUDA)
def call(request) -> Iterator[calls.Call]:
    """Each call, with each algorithm for its image gradient."""
    call, switch = request.param
    with skip_if_missing():
        load("roi_align_cuda", call.operator)
    with calls.deterministic_algorithms(switch):
        yield call


CROPS = {name: of for name, of in calls.ON_CUDA.items() if of[0].operator == "crop_and_resize"}
crops_alone = pytest.mark.parametrize("call", CROPS.values(), ids=CROPS, indirect=True)


def _gradients(call, image, boxes, upstream):
    return call.results(image, *boxes, size=(7, 7), upstream=upstream)[1:]


@calls.each_layout
def test_gradients_of_overlapping_boxes_have_the_same_bits_in_every_run(call, layout):
    random = torch.Generator().manual_seed(0)
    image = torch.randn(2, 35, 40, 50, generator=random).to("cuda", memory_format=layout)
    boxes = call.random_boxes(image, 1000)
    upstream = torch.randn(1000, 35, 7, 7, generator=random).to("cuda", memory_format=layout)
    # The image gradient if it uses atomics, otherwise nothing.
    unordered = load("roi_align_cuda", call.operator).sheet.unordered
    comparable = slice(0 if torch.are_deterministic_algorithms_enabled() else len(unordered), None)
    first, *again = (_gradients(call, image, boxes, upstream)[comparable] for _ in range(20))
    assert all(calls.equal(gradients, first) for gradients in again)


@pytest.mark.parametrize("call", [calls.ON_CUDA["crop_and_resize-deterministic"]], indirect=True, ids=["deterministic"])
@calls.each_layout
def test_deterministic_gradients_of_overlapping_boxes_have_the_cpus_bits_in_every_run(call, layout):
    random = torch.Generator().manual_seed(0)
    image = torch.randn(2, 16, 40, 50, generator=random).to(memory_format=layout)
    boxes = call.random_boxes(image, 5000)
    upstream = torch.randn(5000, 16, 7, 7, generator=random).to(memory_format=layout)
    expected = _gradients(call, image, boxes, upstream)[0]
    on_device = image.cuda(), [each.cuda() for each in boxes], upstream.cuda()
    assert all(torch.equal(_gradients(call, *on_device)[0].cpu(), expected) for _ in range(20))
    result = call(on_device[0].requires_grad_(), *on_device[1], size=(7, 7))
    peak = calls.most_allocated(lambda: torch.autograd.grad(result, on_device[0], on_device[2]))
    # The gradient, and a list entry for each sample of each box: no copy of the image per box or thread.
    assert peak <= image.nbytes + 16 * 5000 * 49 + calls.ALLOCATION_UNITS


SIDE = 2**15 + 1
# The elements beyond 2^31 are in the last image, and in the last rows of the result.
LARGE = {
    "contiguous": ((3, 1, SIDE, SIDE), torch.contiguous_format),
    "channels_last": ((1, 3, SIDE, SIDE), torch.channels_last),
}
# The margin of a box within a piece of 17 pixels, and the crop size.
PIECES = {"crop_and_resize": (0, (33, 33)), "roi_align": (1, (7, 7))}


def _needs(gigabytes: int) -> None:
    """Skips a test that needs more memory than the GPU has free."""
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info()[0]
    if free < gigabytes * 2**30:
        pytest.skip(f"it needs {gigabytes} GB of the GPU's memory, of which {free / 2**30:.0f} are free")


@pytest.mark.parametrize(("shape", "layout"), LARGE.values(), ids=LARGE)
def test_an_image_of_more_than_2_to_the_31_elements(call, shape, layout):
    """Samples lie on halves, which do not round, so small pieces of the image give the expected results."""
    _needs(40)
    image = torch.empty(shape, dtype=torch.bfloat16, device="cuda", memory_format=layout)
    image.normal_(generator=torch.Generator("cuda").manual_seed(0))
    last, (inset, size) = shape[0] - 1, PIECES[call.operator]
    corners = [(0, 0), (SIDE - 17, SIDE - 17), (SIDE - 17, 0), (SIDE // 2, SIDE - 17), (SIDE - 300, 77)]
    places, indices = torch.tensor(corners, device="cuda"), torch.tensor([last, last, last, last, 0], device="cuda")
    edges = torch.cat([places + inset, places + 16 - inset], dim=1) / (SIDE - 1)
    upstream = (torch.randint(-8, 9, (5, shape[1], *size)) / 8).bfloat16()
    result = call(image.requires_grad_(), *call.boxes(image, edges, indices), size=size)
    (gradient,) = torch.autograd.grad(result, image, upstream.cuda())
    assert gradient.is_contiguous(memory_format=layout)
    for row, ((y, x), n) in enumerate(zip(corners, indices.tolist(), strict=True)):
        place = (slice(n, n + 1), slice(None), slice(y, y + 17), slice(x, x + 17))
        piece = image.detach()[place].cpu()
        box = call.on(piece, torch.tensor([[inset, inset, 16 - inset, 16 - inset]]) / 16)
        alone, of_piece, _ = call.results(piece, *box, size=size, upstream=upstream[row : row + 1])
        assert torch.equal(result[row].cpu(), alone[0]), row
        assert torch.equal(gradient[place].cpu(), of_piece), row
        gradient[place] = 0
    assert not gradient.any(), "a gradient has gone where no sample is"


@crops_alone
@calls.each_layout
def test_a_result_of_more_than_2_to_the_31_elements(call, layout):
    """The boxes repeat; the last ones must have the crops and gradients of a call with them alone."""
    _needs(30)
    random = torch.Generator().manual_seed(0)
    few, times = 1000, 117
    image = (torch.randint(-64, 65, (2, 64, 33, 33), generator=random) / 8).bfloat16()
    image = image.cuda().to(memory_format=layout).requires_grad_()
    boxes = torch.randint(-2, 35, (few, 4), generator=random).cuda() / 32
    box_indices = torch.randint(2, (few,), generator=random).cuda()
    repeated = boxes.repeat(times, 1).requires_grad_()
    some = call(image, boxes.requires_grad_(), box_indices, size=(17, 17))
    crops = call(image, repeated, box_indices.repeat(times), size=(17, 17))
    assert crops.numel() > 2**31
    assert all(torch.equal(part, some) for part in crops.detach().split(few))
    upstream = torch.zeros_like(crops)
    upstream[-few:] = (torch.randint(-8, 9, some.shape, generator=random) / 8).cuda()
    of_image, of_boxes = torch.autograd.grad(crops, (image, repeated), upstream)
    expected = torch.autograd.grad(some, (image, boxes), upstream[-few:])
    assert calls.equal([of_image, of_boxes[-few:]], expected)
    assert not of_boxes[:-few].any()
