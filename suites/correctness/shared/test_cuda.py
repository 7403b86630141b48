"""What only CUDA does: its own streams and graphs, no waiting, a NaN crop for an index without an image.

Everything but the first test is skipped without a GPU. Where an image gradient is compared by bits although atomics add
it up in no fixed order, its geometry and values do not round: sides of 2^k + 1, edges in sixteenths, values in eighths.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from harness.backends import load
from harness.repository import MissingLibrary
from roi_align import crop_and_resize, library

pytestmark = pytest.mark.package


def test_a_tensor_on_cuda_without_the_kernels_says_how_to_build_them(monkeypatch):
    monkeypatch.setattr(library, "HAS_CUDA", False)
    monkeypatch.setattr(library, "CUDA_MISSING", "roi_align was built without its CUDA kernels")
    with FakeTensorMode():
        image, boxes = torch.rand(1, 1, 5, 5, device="cuda"), torch.rand(2, 4, device="cuda")
        box_indices = torch.zeros(2, dtype=torch.int64, device="cuda")
        with pytest.raises(
            RuntimeError, match=r"on cuda:0, but .* without its CUDA kernels.*ROI_ALIGN_CUDA=1 pip install"
        ):
            crop_and_resize(image, boxes, box_indices, (2, 2))


@pytest.fixture
def cuda() -> str:
    try:
        load("roi_align_cuda")
    except MissingLibrary as missing:
        pytest.skip(str(missing))
    return "cuda"


@pytest.fixture(params=[False, True], ids=["atomics", "deterministic"])
def mode(request, cuda) -> Iterator[bool]:
    """Each way of adding up the image gradient."""
    torch.use_deterministic_algorithms(request.param)
    yield request.param
    torch.use_deterministic_algorithms(False)


CROP = (5, 9)


def exact_inputs(device, seed=0, dtype=torch.float32):
    """(image, boxes, box_indices, upstream) that do not round."""
    random = torch.Generator().manual_seed(seed)

    def eighths(*shape):
        return (torch.randint(-64, 65, shape, generator=random) / 8).to(device, dtype)

    boxes = torch.randint(-2, 19, (6, 4), generator=random) / 16
    box_indices = torch.randint(2, (6,), generator=random)
    return eighths(2, 3, 9, 17), boxes.to(device), box_indices.to(device), eighths(6, 3, *CROP)


def results(image, boxes, box_indices, upstream):
    """Crops, and the gradients of image and boxes."""
    image, boxes = image.detach().requires_grad_(), boxes.detach().requires_grad_()
    crops = crop_and_resize(image, boxes, box_indices, CROP, extrapolation_value=-2.0)
    return (crops.detach(), *torch.autograd.grad(crops, (image, boxes), upstream))


def assert_equal(got, want):
    """By bits, but for the gradient of the boxes, which is added up in another order on another device."""
    assert torch.equal(got[0].cpu(), want[0].cpu())
    assert torch.equal(got[1].cpu(), want[1].cpu())
    if got[2].device == want[2].device:
        assert torch.equal(got[2], want[2])
    else:
        torch.testing.assert_close(got[2].cpu(), want[2].cpu())


def test_the_inputs_are_not_written_to(mode):
    inputs, untouched = exact_inputs("cuda"), exact_inputs("cuda")
    results(*inputs)
    assert all(torch.equal(tensor, before) for tensor, before in zip(inputs, untouched, strict=True))


def test_on_the_second_gpu_while_the_first_is_current(mode):
    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    torch.cuda.set_device(0)
    got = results(*exact_inputs("cuda:1"))
    assert {tensor.device for tensor in got} == {torch.device("cuda:1")}
    assert torch.cuda.current_device() == 0
    assert_equal(got, results(*exact_inputs("cpu")))


# Long enough for everything that a test does after it, in clock cycles of the GPU: a quarter of a second or so.
_SLEEP = 400_000_000


def test_work_goes_to_the_current_stream(mode):
    """Whoever launches on the default stream reads zeros: the inputs arrive late, on this one."""
    late = exact_inputs("cuda")
    inputs = tuple(torch.zeros_like(tensor) for tensor in late)
    want, stream = results(*late), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(_SLEEP)
        for tensor, value in zip(inputs, late, strict=True):
            tensor.copy_(value)
        got = results(*inputs)
    stream.synchronize()
    assert_equal(got, want)


def test_nothing_waits_for_the_device(mode):
    inputs = exact_inputs("cuda")
    want = results(*inputs)  # what is loaded at the first call is loaded
    torch.cuda.synchronize()
    slept = torch.cuda.Event()
    torch.cuda._sleep(_SLEEP)
    slept.record()
    got = results(*inputs)
    assert not slept.query(), "the call came back after the device was done"
    torch.cuda.synchronize()
    assert_equal(got, want)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature:UserWarning")
def test_torch_sees_no_synchronisation_unless_asked_to_validate(mode):
    inputs = exact_inputs("cuda")
    results(*inputs)
    torch.cuda.set_sync_debug_mode("error")
    try:
        results(*inputs)
        with pytest.raises(RuntimeError, match="synchronizing CUDA operation"):
            inputs[0].sum().item()
        with pytest.raises(RuntimeError):
            crop_and_resize(*inputs[:3], CROP, validate=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")


BAD = [-1, 2, 1000, -(2**31), 2**31 - 1, 2**32, -(2**40)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bad", BAD)
def test_an_index_without_an_image_makes_that_crop_nan_and_adds_no_gradient(mode, bad, dtype):
    image, boxes, box_indices, upstream = exact_inputs("cuda", dtype=dtype)
    box_indices[2] = bad
    if abs(bad) < 2**31:
        box_indices = box_indices.int()
    others = [0, 1, 3, 4, 5]
    crops, image_gradient, box_gradient = results(image, boxes, box_indices, upstream)
    want = results(image, boxes[others], box_indices[others], upstream[others])
    assert crops[2].isnan().all()
    assert (box_gradient[2] == 0).all()
    assert_equal((crops[others], image_gradient, box_gradient[others]), want)


@pytest.mark.parametrize("images", [0, 2])
def test_no_crop_has_an_image(mode, images):
    image, boxes, _, upstream = exact_inputs("cuda")
    crops, image_gradient, box_gradient = results(image[:images], boxes, torch.full((6,), 2, device="cuda"), upstream)
    assert crops.isnan().all()
    assert image_gradient.shape[0] == images
    assert not image_gradient.any()
    assert not box_gradient.any()


@pytest.mark.parametrize(("shape", "rows"), [((2, 3, 5, 7), 0), ((0, 3, 5, 7), 0), ((2, 0, 5, 7), 2)])
def test_empty_inputs(mode, shape, rows):
    indices, upstream = torch.zeros(rows, dtype=torch.int64), torch.rand(rows, shape[1], *CROP)
    inputs = (torch.rand(shape), torch.rand(rows, 4), indices, upstream)
    got = results(*(tensor.cuda() for tensor in inputs))
    assert_equal(got, results(*inputs))


def test_a_graph_captures_forward_and_backward_and_replays_them_on_other_inputs(mode):
    static = exact_inputs("cuda")
    warm_up = torch.cuda.Stream()
    warm_up.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warm_up):
        results(*static)
    torch.cuda.current_stream().wait_stream(warm_up)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = results(*static)
    for seed in (1, 2, 3):
        inputs = exact_inputs("cuda", seed)
        if seed == 3:  # a replay asks nobody: an index without an image is met in there
            inputs[2][4], inputs[1][1, 2] = 7, math.nan
        for tensor, value in zip(static, inputs, strict=True):
            tensor.copy_(value)
        graph.replay()
        want = results(*inputs)
        assert_equal([tensor.nan_to_num(99.0) for tensor in got], [tensor.nan_to_num(99.0) for tensor in want])
        assert bool(got[0][4].isnan().all()) == (seed == 3)


def _allocated_beyond_the_inputs(call) -> int:
    """The most bytes that a call held on the device at once."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kept = call()
    torch.cuda.synchronize()
    del kept
    return torch.cuda.max_memory_allocated() - before


# torch's allocator gives memory in units of half a kilobyte; this much is nobody's copy.
_UNITS = 2**16


def test_an_image_in_channels_last_is_not_copied(mode):
    layout = {"memory_format": torch.channels_last}
    image = torch.rand(2, 64, 128, 256, device="cuda").to(**layout).requires_grad_()
    boxes, box_indices = torch.rand(100, 4, device="cuda"), torch.arange(100, device="cuda") % 2
    upstream = torch.rand(100, 64, 7, 7, device="cuda").to(**layout)

    def crop():
        return crop_and_resize(image, boxes, box_indices, (7, 7))

    crops = crop()
    assert crops.is_contiguous(**layout)
    assert _allocated_beyond_the_inputs(crop) <= crops.nbytes + _UNITS
    peak = _allocated_beyond_the_inputs(lambda: torch.autograd.grad(crops, image, upstream))
    assert image.nbytes <= peak <= image.nbytes + 64 * 100 * 49 + _UNITS


@pytest.mark.parametrize("mode", [True], indirect=True, ids=["deterministic"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_deterministic_gradient_of_overlapping_boxes_is_the_cpus_twenty_times(mode, layout):
    random = torch.Generator().manual_seed(0)
    image = torch.randn(2, 16, 40, 50, generator=random).to(memory_format=layout)
    boxes = torch.rand(5000, 4, generator=random) * 1.2 - 0.1
    box_indices = torch.randint(2, (5000,), generator=random)
    upstream = torch.randn(5000, 16, 7, 7, generator=random).to(memory_format=layout)
    want = _image_gradient(image, boxes, box_indices, upstream)
    on_device = image.cuda(), boxes.cuda(), box_indices.cuda(), upstream.cuda()
    for _ in range(20):
        assert torch.equal(_image_gradient(*on_device).cpu(), want)
    crops = crop_and_resize(on_device[0].requires_grad_(), *on_device[1:3], (7, 7))
    peak = _allocated_beyond_the_inputs(lambda: torch.autograd.grad(crops, on_device[0], on_device[3]))
    # The gradient, and for each sample of each box a place in a list: no copy of the image for each box or thread.
    assert peak <= image.nbytes + 16 * 5000 * 49 + _UNITS


def _image_gradient(image, boxes, box_indices, upstream):
    image = image.detach().requires_grad_()
    return torch.autograd.grad(crop_and_resize(image, boxes, box_indices, (7, 7)), image, upstream)[0]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_box_gradient_is_the_same_twenty_times(cuda, layout):
    random = torch.Generator().manual_seed(0)
    image = torch.randn(2, 35, 40, 50, generator=random).to(cuda, memory_format=layout)
    boxes = torch.rand(300, 4, generator=random).to(cuda).requires_grad_()
    crops = crop_and_resize(image, boxes, torch.arange(300, device=cuda) % 2, (14, 14))
    upstream = torch.randn(300, 35, 14, 14, generator=random).to(cuda, memory_format=layout)
    first, *again = (torch.autograd.grad(crops, boxes, upstream, retain_graph=True)[0] for _ in range(20))
    assert all(torch.equal(first, gradient) for gradient in again)
