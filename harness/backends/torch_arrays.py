"""What the backends share that are written with torch: NumPy's arrays as tensors and back, and a call's gradients.

Not a backend. bfloat16, which neither library takes from the other, travels as int16.
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

# In bytes: the largest unit in which a kernel loads, and what torch's allocator of device memory aligns to.
_VECTOR, _ALIGNMENT = 16, 512


def require_device(name: str, device: str) -> None:
    """MissingLibrary, in a sentence, if torch has no such device here for the backend of that name."""
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
    """A backend of a call that gets the inputs with tensors in the place of their arrays, as `to_tensor` makes them.

    around: what a direction is asked for within.
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
            value = getattr(tensors, name)  # an upstream gradient that a forward does not get is no tensor
            return to_numpy(value) if isinstance(value, Tensor) else value

        return HeldCall(within(direction, ask), overwrite, read)

    return Backend(name, title, sheet, prepare, to_numpy, avoids, hold=hold)


def prepare_call(
    call: Call, inputs: Any, direction: Direction, to_tensor: Callable[[Array], Tensor]
) -> Callable[[], Tensor]:
    """What a backend's `prepare` returns: `call` asked for a direction, a gradient by autograd.

    RuntimeError if the crops of a call whose gradient is asked for require none.
    """
    tensors = _tensors(inputs, direction, to_tensor)
    return (lambda: call(tensors)) if direction == "forward" else _gradient(call, tensors, direction)


def _tensors(inputs: Any, direction: Direction, to_tensor: Callable[[Array], Tensor]) -> Any:
    names = operator_of(inputs).arrays_of(direction)
    return replace(inputs, **{name: to_tensor(getattr(inputs, name)) for name in names})


def _gradient(call: Call, tensors: Any, direction: Direction) -> Callable[[], Tensor]:
    """The graph is built here and kept: the gradient alone is what is timed."""
    leaf = (tensors.image if direction == "grad_image" else tensors.boxes).requires_grad_()
    crops = call(tensors)
    if not crops.requires_grad:
        raise RuntimeError(f"{direction} is declared, but the result has no gradient: it requires none.")
    return lambda: torch.autograd.grad(crops, leaf, tensors.upstream, retain_graph=True)[0]


def _without_repetitions(tensor: Tensor) -> tuple[slice, ...]:
    """Where each element of an expanded tensor is once: torch writes to no other."""
    repeats = [size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True)]
    return tuple(slice(0, 1) if each else slice(None) for each in repeats)


def host_tensor(array: Array) -> Tensor:
    """The array's own memory and strides, nothing is copied: a view into the tensor of all the memory that it lies in,
    with torch's own storage_offset."""
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
    """The array on the device under its own strides, as far from an aligned address as it is on the host.

    It lies inside memory that is not its own, NaN where its values can be: before it, behind it, and all that lies
    between its elements on the host too.
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
    """A result as an array of its own, in the layout that it came in. Waits for the device."""
    host = result.detach().cpu()
    if host.dtype == torch.bfloat16:
        return np.array(host.view(torch.int16).numpy().view("bfloat16"), order="K")
    return np.array(host.numpy(), order="K")
