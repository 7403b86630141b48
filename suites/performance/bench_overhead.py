"""Times the overhead of a call: one crop of one pixel, beside an operator that only allocates.

The bare operator (harness/kernels/bare_operator.cpp) uses the same stable ABI and schema. It is timed bare, and
differentiated by torch.library.register_autograd, torch's standard way. All rows run in one process, on one thread.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from roi_align import crop_and_resize
from roi_align._cropping import operator
from suites import stable_abi

REST = (1, 1, 0, 0.0, 0, False)  # crop height and width, bilinear, nothing to extrapolate, normalised, not validated

pytestmark = [
    pytest.mark.package,
    pytest.mark.cpu,
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ here to compile the bare operator with"),
]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tensor]:
    """The operator that only allocates, with a derivative that is zero."""
    stable_abi.load("harness/kernels/bare_operator.cpp", tmp_path_factory.mktemp("bare"))

    def backward(ctx: object, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (grad.new_zeros(1, 1, 4, 4), *(None,) * 8)

    torch.library.register_autograd("roi_align_bare::crop", backward)
    operator: Callable[..., Tensor] = torch.ops.roi_align_bare.crop.default
    return operator


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _arguments(*, differentiated: bool) -> tuple[Tensor, Tensor, Tensor]:
    image = torch.rand(1, 1, 4, 4, requires_grad=differentiated)
    return image, torch.tensor([[0.1, 0.2, 0.6, 0.7]]), torch.tensor([0])


@pytest.mark.benchmark(group="call overhead, no gradient wanted")
@pytest.mark.parametrize("call", ["bare operator", "operator", "crop_and_resize"])
def bench_without_gradient(benchmark, bare, call):
    arguments = _arguments(differentiated=False)
    calls: dict[str, Callable[[], Tensor]] = {
        "bare operator": lambda: bare(*arguments, *REST),
        "operator": lambda: operator.crop_and_resize(*arguments, *REST),
        "crop_and_resize": lambda: crop_and_resize(*arguments, (1, 1)),
    }
    assert benchmark(calls[call]).shape == (1, 1, 1, 1)


@pytest.mark.benchmark(group="call overhead, image differentiated")
@pytest.mark.parametrize("call", ["bare operator", "operator", "crop_and_resize"])
def bench_with_gradient(benchmark, bare, call):
    arguments = _arguments(differentiated=True)
    calls: dict[str, Callable[[], Tensor]] = {
        "bare operator": lambda: bare(*arguments, *REST),
        "operator": lambda: operator.crop_and_resize(*arguments, *REST),
        "crop_and_resize": lambda: crop_and_resize(*arguments, (1, 1)),
    }
    assert benchmark(calls[call]).requires_grad
