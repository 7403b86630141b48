"""The allocation of results and scratch.

torch's own out-of-memory error reaches the caller, though the stable ABI passes no exceptions; and torch's
deterministic mode, which fills fresh tensors with NaN, fills no tensor needlessly. Sizes that no memory has are an
error.
"""

from __future__ import annotations

import shutil

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from roi_align._derivatives import differentiable
from suites import stable_abi
from suites.correctness.calls import deterministic_algorithms, each_call

pytestmark = pytest.mark.package

MESSAGE = (
    r"^roi_align: torch gave no memory on cuda:0 for a result of shape \(1, 1, {side}, {side}\); it needs {bytes} bytes"
)
without_a_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="about a device that torch cannot use")


@pytest.fixture(scope="module")
def on_cuda(tmp_path_factory):
    """The operator of allocating.cpp, bare and wrapped as the package wraps its own."""
    if shutil.which("g++") is None:
        pytest.skip("there is no g++ here to compile an operator with")
    stable_abi.load("suites/correctness/shared/allocating.cpp", tmp_path_factory.mktemp("allocating"))
    overload = torch.ops.roi_align_allocating.on_cuda.default

    def nothing(*arguments):
        """Nothing to save, and no tangent."""

    return overload, differentiable(overload, 1, nothing, lambda ctx, grad: (None,), nothing, "on_cuda")


@without_a_gpu
def test_the_bare_operators_error_names_shape_and_bytes(on_cuda):
    """A compiled graph calls the operator directly."""
    overload, _ = on_cuda
    with pytest.raises(RuntimeError, match=MESSAGE.format(side=4, bytes=64)):
        overload(torch.zeros(1), 4)


@without_a_gpu
@pytest.mark.parametrize("differentiated", [False, True])
def test_the_package_raises_torchs_own_error(on_cuda, differentiated):
    _, call = on_cuda
    with pytest.raises((RuntimeError, AssertionError)) as expected:
        torch.empty(1, device="cuda")
    with pytest.raises(type(expected.value)) as error:
        call(torch.zeros(1, requires_grad=differentiated), 4)
    assert str(error.value) == str(expected.value)
    assert "gave no memory" in str(error.value.__cause__)


@without_a_gpu
def test_out_of_memory_raises_torchs_error(on_cuda, monkeypatch):
    requests = []

    def empty(size, **options):
        requests.append((size, options))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64 bytes.")

    monkeypatch.setattr(torch, "empty", empty)
    with pytest.raises(torch.cuda.OutOfMemoryError, match=r"^CUDA out of memory\. Tried"):
        on_cuda[1](torch.zeros(1), 4)
    assert requests == [(64, {"dtype": torch.uint8, "device": "cuda:0"})]


@without_a_gpu
def test_the_first_error_stays_if_memory_becomes_free(on_cuda, monkeypatch):
    monkeypatch.setattr(torch, "empty", lambda size, **options: None)
    with pytest.raises(RuntimeError, match=MESSAGE.format(side=8, bytes=256)):
        on_cuda[1](torch.zeros(1), 8)


@each_call
def test_a_gpu_result_that_is_too_large_raises_torchs_error(device, call):
    if device != "cuda":
        pytest.skip("about CUDA; on the CPU it is a MemoryError")
    image = torch.rand(1, 8, 5, 7, device=device)
    boxes = call.random_boxes(image, 2)
    with pytest.raises(torch.cuda.OutOfMemoryError, match="out of memory") as error:
        call(image, *boxes, size=(2**20, 2**20))
    assert "(2, 8, 1048576, 1048576)" in str(error.value.__cause__)
    assert call(image, *boxes).isfinite().all()


def fills(run):
    """The number of tensors that torch fills during a call."""
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
        run()
    return sum(event.count for event in profiler.key_averages() if event.key == "aten::fill_")


@each_call
def test_deterministic_mode_fills_no_scratch_and_no_cpu_result(device, call):
    """On CUDA the stable ABI cannot allocate a result without the fill."""
    image = torch.rand(2, 3, 9, 9, device=device, requires_grad=True)
    edges, *others = call.random_boxes(image.detach(), 5)
    edges.requires_grad_()
    with deterministic_algorithms(True):
        assert fills(lambda: torch.empty(3, device=device)) == 1
        forward = fills(lambda: call(image.detach(), edges.detach(), *others))
        result = call(image, edges, *others)
        upstream = torch.rand_like(result)
        backward = fills(lambda: torch.autograd.grad(result, (image, edges), upstream))
    assert (forward, backward) == {"cpu": (0, 0), "cuda": (1, 2)}[device]


@pytest.mark.cpu
def test_sizes_beyond_any_memory_are_an_error():
    """A direct call, with an expanded gradient whose elements could not be counted in bytes."""
    upstream = torch.ones(1, 1, 1, 1).expand(1, 1, 2**61, 1)
    with pytest.raises(MemoryError):
        torch.ops.roi_align.crop_and_resize_grad_boxes(
            upstream, torch.rand(1, 1, 2, 2), torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([0]), 0
        )
