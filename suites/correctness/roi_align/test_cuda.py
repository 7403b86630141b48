"""What roi_align alone does on CUDA: its streams and graphs, no waiting, NaN for an index without an image.

As test_cuda.py is for crop_and_resize. Everything but the first tests is skipped without a GPU.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.backends import load
from harness.operators.roi_align.case import MODES
from harness.repository import MissingLibrary
from roi_align import _library, multiscale_roi_align, roi_align
from roi_align._pooling import operator

pytestmark = pytest.mark.package

each_mode = pytest.mark.parametrize("mode", MODES)
each_layout = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])


def test_a_tensor_on_cuda_without_the_kernels_says_how_to_build_them(monkeypatch):
    monkeypatch.setattr(_library, "HAS_CUDA", False)
    monkeypatch.setattr(_library, "CUDA_MISSING", "roi_align was built without its CUDA kernels")
    with FakeTensorMode():
        features, boxes = torch.rand(1, 1, 5, 5, device="cuda"), torch.rand(2, 5, device="cuda")
        with pytest.raises(RuntimeError, match=r"input is on cuda:0, but .* without its CUDA.*ROI_ALIGN_CUDA=1 pip"):
            roi_align(features, boxes, 2)
        with pytest.raises(RuntimeError, match=r"features\[0\] is on cuda:0, but"):
            multiscale_roi_align([features], boxes, 2, [1.0])


@each_mode
@each_layout
def test_results_on_cuda_have_shapes_and_layouts_before_any_kernel_runs(monkeypatch, layout, mode):
    """torch.compile and torch.export ask no more of a device; needs no GPU."""
    monkeypatch.setattr(_library, "HAS_CUDA", True)
    with FakeTensorMode():
        maps = [torch.empty(2, 8, 32 >> k, 24 >> k, device="cuda").to(memory_format=layout) for k in range(2)]
        boxes = torch.empty(5, 5, device="cuda")
        pooled = multiscale_roi_align(maps, boxes, (3, 2), [0.5, 0.25], 2, mode=mode)
        rule, last = operator.Rule(2, False, operator.MODES[mode], 1), layout == torch.channels_last
        of_maps = operator.grad_features(pooled, maps, boxes, [2, 32, 24, 16, 12], last, [0.5, 0.25], *rule)
        of_boxes = operator.grad_boxes(pooled, maps, boxes, [0.5, 0.25], *rule)
        assert pooled.shape == (5, 8, 3, 2)
        assert [each.shape for each in of_maps] == [each.shape for each in maps]
        assert of_boxes.shape == (5, 5)
        assert all(each.is_contiguous(memory_format=layout) for each in (pooled, *of_maps))
        assert {each.device.type for each in (pooled, *of_maps, of_boxes)} == {"cuda"}


@pytest.fixture
def cuda() -> str:
    try:
        load("roi_align_cuda", "roi_align")
    except MissingLibrary as missing:
        pytest.skip(str(missing))
    return "cuda"


SCALES = [1 / 4, 1 / 8, 1 / 16]


def inputs_on(device, seed=0, dtype=torch.float32, layout=torch.contiguous_format):
    """(levels, boxes, upstream): boxes of every level, of two images."""
    random = torch.Generator().manual_seed(seed)
    levels = [
        torch.randn(2, 8, 40 >> k, 56 >> k, generator=random).to(device, dtype, memory_format=layout) for k in range(3)
    ]
    corner, side = torch.rand(6, 2, generator=random) * 120, 2.0 ** (3 + 4 * torch.rand(6, 2, generator=random))
    boxes = torch.cat([torch.arange(6)[:, None] % 2, corner, corner + side], dim=1)
    return levels, boxes.to(device), torch.randn(6, 8, 5, 3, generator=random).to(device, dtype, memory_format=layout)


def results(levels, boxes, upstream, mode="avg"):
    """The pooled boxes, and the gradients of boxes and levels."""
    levels, boxes = [level.detach().requires_grad_() for level in levels], boxes.detach().requires_grad_()
    pooled = multiscale_roi_align(levels, boxes, (5, 3), SCALES, 2, mode=mode, canonical_scale=32, canonical_level=3)
    return [pooled.detach(), *torch.autograd.grad(pooled, (boxes, *levels), upstream)]


def flat(inputs):
    return [*inputs[0], *inputs[1:]]


def assert_equal(got, want):
    assert all(torch.equal(mine, other) for mine, other in zip(got, want, strict=True))


@each_mode
@each_layout
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_pyramid_is_the_cpus(cuda, dtype, layout, mode):
    """Forward by bits; the judge looks at gradients of single maps, and here only that the levels are not mixed up."""
    got = results(*inputs_on(cuda, dtype=dtype, layout=layout), mode)
    want = results(*inputs_on("cpu", dtype=dtype, layout=layout), mode)
    assert torch.equal(got[0].cpu(), want[0])
    for mine, other in zip(got, want, strict=True):
        assert mine.stride() == other.stride()
        torch.testing.assert_close(mine.cpu(), other)


@each_mode
def test_the_inputs_are_not_written_to(cuda, mode):
    inputs, untouched = inputs_on(cuda), inputs_on(cuda)
    results(*inputs, mode)
    assert_equal(flat(inputs), flat(untouched))


@each_mode
def test_on_the_second_gpu_while_the_first_is_current(cuda, mode):
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    torch.cuda.set_device(0)
    got = results(*inputs_on("cuda:1"), mode)
    assert {tensor.device for tensor in got} == {torch.device("cuda:1")}
    assert torch.cuda.current_device() == 0
    assert_equal([each.cpu() for each in got], [each.cpu() for each in results(*inputs_on("cuda:0"), mode)])


# Long enough for everything that a test does after it, in clock cycles of the GPU: a quarter of a second or so.
_SLEEP = 400_000_000


@each_mode
def test_work_goes_to_the_current_stream(cuda, mode):
    """Whoever launches on the default stream reads zeros: the inputs arrive late, on this one."""
    late, inputs = inputs_on(cuda), inputs_on(cuda)
    for tensor in flat(inputs):
        tensor.zero_()
    want, stream = results(*late, mode), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(_SLEEP)
        for tensor, value in zip(flat(inputs), flat(late), strict=True):
            tensor.copy_(value)
        got = results(*inputs, mode)
    stream.synchronize()
    assert_equal(got, want)


@each_mode
def test_nothing_waits_for_the_device(cuda, mode):
    inputs = inputs_on(cuda)
    want = results(*inputs, mode)  # what is loaded at the first call is loaded
    torch.cuda.synchronize()
    slept = torch.cuda.Event()
    torch.cuda._sleep(_SLEEP)
    slept.record()
    got = results(*inputs, mode)
    assert not slept.query(), "the call came back after the device was done"
    torch.cuda.synchronize()
    assert_equal(got, want)


@each_mode
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature:UserWarning")
def test_torch_sees_no_synchronisation_unless_asked_to_validate(cuda, mode):
    levels, boxes, upstream = inputs_on(cuda)
    results(levels, boxes, upstream, mode)
    torch.cuda.set_sync_debug_mode("error")
    try:
        results(levels, boxes, upstream, mode)
        with pytest.raises(RuntimeError, match="synchronizing CUDA operation"):
            roi_align(levels[0], boxes, 3, mode=mode, validate=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_validate_names_an_index_without_an_image(cuda):
    levels, boxes, _ = inputs_on(cuda)
    boxes[2, 0] = 2
    with pytest.raises(IndexError, match=r"boxes\[2\] has the index 2, but the input has N = 2"):
        roi_align(levels[0], boxes, 3, validate=True)


@each_mode
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bad", [-1.0, 2.0, 1000.0, 0.5, 3e38, math.nan, math.inf, -math.inf])
def test_an_index_without_an_image_gives_nan_and_no_gradient(cuda, bad, dtype, mode):
    levels, boxes, upstream = inputs_on(cuda, dtype=dtype)
    boxes[2, 0] = bad
    others = [0, 1, 3, 4, 5]
    pooled, of_boxes, *of_levels = results(levels, boxes, upstream, mode)
    want = results(levels, boxes[others], upstream[others], mode)
    assert pooled[2].isnan().all()
    assert (of_boxes[2] == 0).all()
    assert_equal([pooled[others], of_boxes[others], *of_levels], want)


@each_mode
@pytest.mark.parametrize(
    ("shape", "rows"), [((2, 3, 5, 7), 0), ((0, 3, 5, 7), 0), ((0, 3, 5, 7), 2), ((2, 0, 5, 7), 2)]
)
def test_empty_inputs(cuda, shape, rows, mode):
    features = torch.rand(shape, device=cuda, requires_grad=True)
    boxes = torch.zeros(rows, 5, device=cuda, requires_grad=True)
    pooled = roi_align(features, boxes, (4, 3), mode=mode)
    assert pooled.shape == (rows, shape[1], 4, 3)
    assert pooled.isnan().all()
    for gradient, of in zip(torch.autograd.grad(pooled.sum(), (features, boxes)), (features, boxes), strict=True):
        assert torch.equal(gradient, torch.zeros_like(of))


@each_mode
def test_a_graph_captures_forward_and_backward_and_replays_them_on_other_inputs(cuda, mode):
    static = inputs_on(cuda)
    warm_up = torch.cuda.Stream()
    warm_up.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm_up):
        results(*static, mode)
    torch.cuda.current_stream().wait_stream(warm_up)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = results(*static, mode)
    for seed in (1, 2, 3):
        inputs = inputs_on(cuda, seed)
        if seed == 3:  # a replay asks nobody: an index without an image is met in there
            inputs[1][4, 0], inputs[1][1, 2] = 7, math.nan
        for tensor, value in zip(flat(static), flat(inputs), strict=True):
            tensor.copy_(value)
        graph.replay()
        want = results(*inputs, mode)
        assert_equal([tensor.nan_to_num(99.0) for tensor in got], [tensor.nan_to_num(99.0) for tensor in want])
        assert bool(got[0][4].isnan().all()) == (seed == 3)


@each_mode
@each_layout
def test_gradients_of_overlapping_boxes_are_the_same_twenty_times(cuda, layout, mode):
    random = torch.Generator().manual_seed(0)
    features = torch.randn(2, 35, 40, 50, generator=random).to(cuda, memory_format=layout).requires_grad_()
    corner = torch.rand(1000, 2, generator=random) * 30
    side = torch.rand(1000, 2, generator=random) * 20
    boxes = torch.cat([torch.arange(1000)[:, None] % 2, corner, corner + side], dim=1).to(cuda).requires_grad_()
    pooled = roi_align(features, boxes, 7, 1.0, 2, True, mode=mode)
    upstream = torch.randn(pooled.shape, generator=random).to(cuda, memory_format=layout)
    first, *again = (torch.autograd.grad(pooled, (features, boxes), upstream, retain_graph=True) for _ in range(20))
    for gradients in again:
        assert_equal(gradients, first)


# torch's allocator gives memory in units of half a kilobyte; this much is nobody's copy.
_UNITS = 2**16


def _allocated_beyond_the_inputs(call) -> int:
    """The most bytes that a call held on the device at once."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kept = call()
    torch.cuda.synchronize()
    del kept
    return torch.cuda.max_memory_allocated() - before


@each_layout
def test_no_map_is_copied_and_nothing_grows_with_maps_or_channels(cuda, layout):
    features = torch.rand(2, 64, 128, 256, device=cuda).to(memory_format=layout).requires_grad_()
    boxes = torch.rand(100, 5, device=cuda) * 128
    boxes[:, 0] = torch.arange(100) % 2
    upstream = torch.rand(100, 64, 7, 7, device=cuda).to(memory_format=layout)
    pooled = roi_align(features, boxes, 7, 1.0, 2)
    assert pooled.is_contiguous(memory_format=layout)
    assert _allocated_beyond_the_inputs(lambda: roi_align(features, boxes, 7, 1.0, 2)) <= pooled.nbytes + _UNITS
    peak = _allocated_beyond_the_inputs(lambda: torch.autograd.grad(pooled, features, upstream))
    assert features.nbytes <= peak <= features.nbytes + 128 * 100 + _UNITS
