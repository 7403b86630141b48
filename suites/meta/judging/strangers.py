"""Foreign functions, correct ones with limits and faulty ones, all based on torchvision's roi_align."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import roi_align as theirs  # type: ignore[import-untyped, unused-ignore]

from harness.backends import foreign
from harness.operators.implementation import Backend
from harness.operators.sheet import read

BOTH = ["forward", "grad_image"]
SHEET: dict[str, Any] = {
    "operator": "roi_align",
    "directions": BOTH,
    "image_dtypes": ["float32", "float64"],
    "boxes_dtypes": ["float32", "float64"],
    "same_dtype": True,
    "layouts": ["contiguous", "channels_last", "offset"],
}
Function = Callable[..., Tensor]


def backend_of(function: Function, **declared: Any) -> Backend[Any]:
    """A function as a backend in this process, with SHEET and additional declarations."""
    return foreign.of_function("theirs", function, read({**SHEET, **declared}, "theirs"))


def right(input: Tensor, boxes: Tensor, size: Any, scale: float, ratio: int, aligned: bool) -> Tensor:
    pooled: Tensor = theirs(input.contiguous(), boxes.contiguous(), size, scale, ratio, aligned)
    return pooled


def _tame(input: Tensor, boxes: Tensor, *rest: Any) -> Tensor:
    """The function on sanitised boxes: reading boxes from the wrong place would crash this process."""
    tame = boxes.nan_to_num(0.0).clamp(-1e4, 1e4)
    tame[:, 0] = tame[:, 0].clamp(0, max(0, len(input) - 1)).floor()
    return right(input, tame, *rest)


# Faults of memory.


class _CustomGradient(torch.autograd.Function):
    """A function whose gradient another function replaces: (gradient) -> replacement."""

    @staticmethod
    def forward(
        ctx: Any, change: Callable[[Tensor], Tensor], read_argument: Callable[[Tensor], Tensor], *arguments: Any
    ) -> Any:
        ctx.change, ctx.read, ctx.rule = change, read_argument, arguments[2:]
        ctx.save_for_backward(*arguments[:2])
        return right(*arguments)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:  # type: ignore[override]
        image, boxes = ctx.saved_tensors
        with torch.enable_grad():
            leaf = image.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(right(leaf, boxes, *ctx.rule), leaf, ctx.read(upstream))
        return None, None, ctx.change(gradient), None, None, None, None, None


def _one_buffer() -> Callable[[Tensor], Tensor]:
    buffers: dict[Any, Tensor] = {}

    def copied(result: Tensor) -> Tensor:
        place = result.shape, result.dtype
        return buffers.setdefault(place, torch.empty_like(result).detach()).copy_(result.detach())

    return copied


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


def one_buffer_for_results() -> Function:
    buffer = _one_buffer()
    return lambda *arguments: buffer(right(*arguments))


def one_buffer_for_gradients() -> Function:
    buffer = _one_buffer()
    return lambda *arguments: _CustomGradient.apply(buffer, _unchanged, *arguments)


def view_of_the_image() -> Function:
    """If a crop is the whole image, it returns the image itself."""

    def function(input: Tensor, *rest: Any) -> Tensor:
        pooled = right(input, *rest)
        return input.view(input.shape) if pooled.shape == input.shape and torch.equal(pooled, input) else pooled

    return function


def _by_address() -> Callable[[Tensor], Tensor]:
    """A cache by address: returns the tensor first seen there."""
    copies: dict[Any, Tensor] = {}
    return lambda tensor: copies.setdefault((tensor.data_ptr(), tensor.shape, tensor.dtype), tensor.detach().clone())


def image_by_address() -> Function:
    cached = _by_address()
    return lambda input, *rest: right(cached(input), *rest)


def boxes_by_address() -> Function:
    cached = _by_address()
    return lambda input, boxes, *rest: _tame(input, cached(boxes), *rest)


def upstream_by_address() -> Function:
    cached = _by_address()
    return lambda *arguments: _CustomGradient.apply(_unchanged, cached, *arguments)


def _dense(tensor: Tensor) -> Tensor:
    """Reads consecutive values from the start of a tensor, ignoring its strides."""
    whole = tensor.untyped_storage().size() // tensor.element_size() - tensor.storage_offset()
    values = tensor.as_strided((min(whole, tensor.numel()),), (1,))
    return torch.cat([values, values.new_zeros(tensor.numel() - len(values))]).view(tensor.shape)


def dense_boxes() -> Function:
    return lambda input, boxes, *rest: _tame(input, _dense(boxes.detach()), *rest)


def dense_upstream() -> Function:
    return lambda *arguments: _CustomGradient.apply(_unchanged, _dense, *arguments)


def boxes_without_offset() -> Function:
    """Reads from the beginning of the storage, ignoring storage_offset."""

    def function(input: Tensor, boxes: Tensor, *rest: Any) -> Tensor:
        return _tame(input, boxes.as_strided(boxes.shape, boxes.stride(), 0), *rest)

    return function


# Correct functions with limits.


def refusing(where: Callable[..., bool]) -> Function:
    """Correct, but raises for some calls."""

    def function(*arguments: Any) -> Tensor:
        if where(*arguments):
            raise RuntimeError("this kernel takes no such call")
        return right(*arguments)

    return function


def noisy(where: Callable[..., bool]) -> Function:
    """For some calls, off by the difference of another order of a sum."""

    def function(*arguments: Any) -> Tensor:
        pooled = right(*arguments)
        return pooled * (1 + 2 * torch.finfo(pooled.dtype).eps) if where(*arguments) else pooled

    return function


def single_scale(input: Tensor, boxes: Tensor, size: Any, scale: float, ratio: int, aligned: bool) -> Tensor:
    return right(input, boxes, size, float(torch.tensor(scale, dtype=torch.float32)), ratio, aligned)


def asleep(*arguments: Any) -> Tensor:
    time.sleep(3)
    return right(*arguments)


asleep.sheet = {**SHEET, "limit": 1}  # type: ignore[attr-defined]
