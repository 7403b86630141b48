"""NumPy's arrays as torch's tensors and back, bfloat16 among them, which neither takes from the other.

Not a backend: what those share that are written with torch.
"""

from __future__ import annotations

import numpy as np
import torch

from harness.operators.arrays import Array


def host_tensor(array: Array) -> torch.Tensor:
    """The array's own memory and strides: nothing is copied."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def to_numpy(result: torch.Tensor) -> Array:
    """A result as an array of its own, in the layout that it came in. Waits for the device."""
    host = result.detach().cpu()
    if host.dtype == torch.bfloat16:
        return np.array(host.view(torch.int16).numpy().view("bfloat16"), order="K")
    return np.array(host.numpy(), order="K")
