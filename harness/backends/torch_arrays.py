"""What the backends share that are written with torch: NumPy's arrays as tensors and back, and a call's gradients.

Not a backend. bfloat16, which neither library takes from the other, travels as int16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.operators import operator_of
from harness.operators.arrays import Array, Direction
from harness.repository import MissingLibrary

# In bytes: the largest unit in which a kernel loads, and what torch's allocator of device memory aligns to.
_VECTOR, _ALIGNED = 16, 512


def require_device(name: str, device: str) -> None:
    """MissingLibrary, in a sentence, if torch has no such device here for the backend of that name."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise MissingLibrary(f"{name} needs the device {device!r}, and torch has none here: {reason}") from None


def prepared(
    call: Callable[[Any], Tensor], inputs: Any, direction: Direction, to_tensor: Callable[[Array], Tensor]
) -> Callable[[], Tensor]:
    """What a backend's `prepare` returns: `call` asked for a direction, a gradient by autograd.

    call       gets the inputs with tensors in the place of their arrays, as `to_tensor` makes them, and returns crops.
    RuntimeError if the crops of a call whose gradient is asked for require none.
    """
    names = operator_of(inputs).arrays  # the last of them, the upstream gradient, is no part of a forward
    used = names[:-1] if direction == "forward" else names
    tensors = replace(inputs, **{name: to_tensor(getattr(inputs, name)) for name in used})
    if direction == "forward":
        return lambda: call(tensors)
    leaf = (tensors.image if direction == "grad_image" else tensors.boxes).requires_grad_()
    # The graph is built here and kept: the gradient alone is what is timed.
    crops = call(tensors)
    if not crops.requires_grad:
        raise RuntimeError(f"{direction} is declared, but the result has no gradient: it requires none.")
    return lambda: torch.autograd.grad(crops, leaf, tensors.upstream, retain_graph=True)[0]


def host_tensor(array: Array) -> Tensor:
    """The array's own memory and strides: nothing is copied."""
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
    start = (_ALIGNED + host.data_ptr() % _VECTOR) // host.element_size()
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
