"""roi_align on CUDA beside the CPU: cases of every dtype, very many boxes, very large maps. Skipped without a GPU."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given

from harness.backends import load
from harness.judging.trial import failure
from harness.operators.arrays import FLOATS, differing
from harness.operators.implementation import Backend
from harness.operators.judgement import beyond_two_bounds
from harness.operators.roi_align.case import MODES
from harness.operators.roi_align.strategy import roi_cases
from harness.repository import MissingLibrary
from roi_align import roi_align

pytestmark = pytest.mark.package

each_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture
def on_cuda() -> Backend:
    try:
        return load("roi_align_cuda", "roi_align")
    except MissingLibrary as missing:
        pytest.skip(str(missing))


@each_mode
@pytest.mark.parametrize("dtype", FLOATS)
def test_the_forward_has_the_cpus_bits_in_every_dtype(on_cuda, tally, dtype, mode):
    cpu = load("roi_align", "roi_align")

    @given(case=roi_cases(image_dtypes=[dtype], modes=[mode], channels=(1, 2, 3, 8, 35)))
    def holds(case):
        got, want = (backend.run(case.inputs(), "forward") for backend in (on_cuda, cpu))
        assert (got.shape, got.dtype) == (want.shape, want.dtype), case
        different = int(differing(got, want).sum())
        tally.bits(f"roi_align, forward on CUDA against the CPU, {dtype} maps", got.size, different)
        assert not different, failure(on_cuda, case, "forward", f"{different} values differ from the CPU's.")

    holds()


@each_mode
@pytest.mark.parametrize("direction", ["grad_image", "grad_boxes"])
@given(case=roi_cases(image_dtypes=["float32", "float64"], channels=(1, 3, 8, 35), values=["normal", "ramp"]))
def test_gradients_are_the_cpus_within_two_bounds(on_cuda, direction, mode, case):
    got, want = (backend.run(case.inputs(), direction) for backend in (on_cuda, load("roi_align", "roi_align")))
    apart = beyond_two_bounds(case.inputs(), direction, got, want)
    assert apart is None, failure(on_cuda, case, direction, apart)


def test_a_hundred_thousand_boxes_in_one_call(on_cuda):
    random = torch.Generator().manual_seed(0)
    features = torch.randn(3, 4, 90, 130, generator=random)
    corner, side = torch.rand(100_000, 2, generator=random) * 80, torch.rand(100_000, 2, generator=random) * 6
    boxes = torch.cat([torch.arange(100_000)[:, None] % 3, corner, corner + side], dim=1)
    got = roi_align(features.cuda(), boxes.cuda(), (3, 5), 1.0, 2)
    assert torch.equal(got.cpu(), roi_align(features, boxes, (3, 5), 1.0, 2))


SIDE = 2**15 + 1


@each_mode
@pytest.mark.parametrize(
    ("shape", "layout"),
    [((3, 1, SIDE, SIDE), torch.contiguous_format), ((1, 3, SIDE, SIDE), torch.channels_last)],
    ids=["contiguous", "channels_last"],
)
def test_maps_of_more_than_2_to_the_31_elements(on_cuda, shape, layout, mode):
    """Boxes in the corners: what they give is what small pieces of the map give alone."""
    torch.cuda.empty_cache()
    if torch.cuda.mem_get_info()[0] < 30 * 2**30:
        pytest.skip("it needs 30 GB of the GPU's memory")
    features = torch.empty(shape, dtype=torch.bfloat16, device="cuda", memory_format=layout)
    features.normal_(generator=torch.Generator("cuda").manual_seed(0))
    last = shape[0] - 1
    corners = [(0, 0), (SIDE - 17, SIDE - 17), (SIDE - 17, 0), (SIDE // 2, SIDE - 17)]
    boxes = torch.tensor([[last, x + 1, y + 1, x + 15, y + 15] for y, x in corners], dtype=torch.float32, device="cuda")
    upstream = (torch.randint(-8, 9, (4, shape[1], 7, 7)) / 8).bfloat16()
    pooled = roi_align(features.requires_grad_(), boxes, 7, 1.0, 2, mode=mode)
    (gradient,) = torch.autograd.grad(pooled, features, upstream.cuda())
    for row, (y, x) in enumerate(corners):
        place = (slice(last, last + 1), slice(None), slice(y, y + 17), slice(x, x + 17))
        piece = features.detach()[place].clone().requires_grad_()
        alone = roi_align(piece, torch.tensor([[0.0, 1, 1, 15, 15]], device="cuda"), 7, 1.0, 2, mode=mode)
        assert torch.equal(pooled[row], alone[0]), row
        (of_piece,) = torch.autograd.grad(alone, piece, upstream[row : row + 1].cuda())
        assert torch.equal(gradient[place], of_piece), row
        gradient[place] = 0
    assert not gradient.any(), "a gradient has gone where no sample is"
