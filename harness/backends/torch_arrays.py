"""Helpers for backends written with torch: NumPy arrays to tensors and back, and gradients of a call.

This is not a backend. bfloat16, which neither library accepts from the other, is passed as int16.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.operators import operator_of
from harness.operators.arrays import Array, Direction
from harness.operators.implementation import Backend, HeldCall
from harness.operators.sheet import Sheet
from harness.repository import MissingLibrary

Call = Callable[[Any], Tensor]

# In bytes: the largest load of a kernel, and the alignment of torch's device allocator.
_VECTOR, _ALIGNMENT = 16, 512


def require_device(name: str, device: str) -> None:
    """MissingLibrary with a sentence if torch has no such device here, for the backend of this name."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise MissingLibrary(f"{name} needs the device {device!r}, and torch has none here: {reason}") from None


def torch_backend(
    name: str,
    title: str,
    sheet: Sheet,
    call: Call,
    to_tensor: Callable[[Array], Tensor],
    avoids: Callable[[Any, Direction], str | None] = lambda inputs, direction: None,
    around: Callable[[Direction], AbstractContextManager[None]] = lambda direction: nullcontext(),
) -> Backend[Any]:
    """A backend from a call on inputs whose arrays are replaced by tensors, made by `to_tensor`.

    around: a context manager for each direction, entered around every call.
    """

    def within(direction: Direction, ask: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def call_within() -> Tensor:
            with around(direction):
                return ask()

        return call_within

    def prepare(inputs: Any, direction: Direction) -> Callable[[], Tensor]:
        return within(direction, prepare_call(call, inputs, direction, to_tensor))

    def hold(inputs: Any, direction: Direction) -> HeldCall:
        tensors = _tensors(inputs, direction, to_tensor)

        def overwrite(other: Any) -> None:
            with torch.no_grad():
                for name in operator_of(inputs).arrays_of(direction):
                    tensor = getattr(tensors, name)
                    once = _without_repetitions(tensor)
                    tensor[once].copy_(host_tensor(getattr(other, name))[once])

        def ask() -> Tensor:
            return call(tensors) if direction == "forward" else _gradient(call, tensors, direction)()

        def read(name: str) -> Array:
            value = getattr(tensors, name)  # in a forward the upstream gradient is not a tensor
            return to_numpy(value) if isinstance(value, Tensor) else value

        return HeldCall(within(direction, ask), overwrite, read)

    return Backend(name, title, sheet, prepare, to_numpy, avoids, hold=hold)


def prepare_call(
    call: Call, inputs: Any, direction: Direction, to_tensor: Callable[[Array], Tensor]
) -> Callable[[], Tensor]:
    """The result of a backend's `prepare`: the call in a direction, with gradients by autograd.

    RuntimeError if a gradient is requested but the crops do not require one.
    """
    tensors = _tensors(inputs, direction, to_tensor)
    return (lambda: call(tensors)) if direction == "forward" else _gradient(call, tensors, direction)


def _tensors(inputs: Any, direction: Direction, to_tensor: Callable[[Array], Tensor]) -> Any:
    names = operator_of(inputs).arrays_of(direction)
    return replace(inputs, **{name: to_tensor(getattr(inputs, name)) for name in names})


def _gradient(call: Call, tensors: Any, direction: Direction) -> Callable[[], Tensor]:
    """Builds the graph once and retains it, so only the gradient is timed."""
    leaf = (tensors.image if direction == "grad_image" else tensors.boxes).requires_grad_()
    crops = call(tensors)
    if not crops.requires_grad:
        raise RuntimeError(f"{direction} is declared, but the result has no gradient: it requires none.")
    return lambda: torch.autograd.grad(crops, leaf, tensors.upstream, retain_graph=True)[0]


def _without_repetitions(tensor: Tensor) -> tuple[slice, ...]:
    """The part of an expanded tensor with each element once: torch can write to no other."""
    repeats = [size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True)]
    return tuple(slice(0, 1) if each else slice(None) for each in repeats)


def host_tensor(array: Array) -> Tensor:
    """A tensor on the array's own memory with its strides, without a copy: a view into the whole owning memory, with
    the matching storage_offset."""
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    whole = _of_memory(root)
    if root is array or not array.size:
        return whole if root is array else whole.new_empty(array.shape)
    offset = (array.__array_interface__["data"][0] - root.__array_interface__["data"][0]) // array.itemsize
    strides = [stride // array.itemsize for stride in array.strides]
    return whole.as_strided(array.shape, strides, offset)


def _of_memory(array: Array) -> Tensor:
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def device_tensor(array: Array, device: str) -> Tensor:
    """The array on the device with the same strides, and the same distance from an aligned address as on the host.

    The memory around it and between its elements is filled with NaN (0 for integers), so that stray reads are visible.
    """
    host = host_tensor(array)
    if device == "cpu":
        return host
    span = 1 + sum((size - 1) * stride for size, stride in zip(host.shape, host.stride(), strict=True))
    if not host.numel():
        return torch.empty_strided(host.shape, host.stride(), dtype=host.dtype, device=device)
    start = (_ALIGNMENT + host.data_ptr() % _VECTOR) // host.element_size()
    filling = torch.nan if host.is_floating_point() else 0
    memory = torch.full((start + span + _VECTOR,), filling, dtype=host.dtype, device=device)
    memory[start : start + span] = host.as_strided((span,), (1,)).to(device)
    return memory.as_strided(host.shape, host.stride(), start)


def to_numpy(result: Tensor) -> Array:
    """Copies a result to a new array of the same layout; waits for the device."""
    host = result.detach().cpu()
    if host.dtype == torch.bfloat16:
        return np.array(host.view(torch.int16).numpy().view("bfloat16"), order="K")
    return np.array(host.numpy(), order="K")
