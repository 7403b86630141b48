"""This project's operator on CUDA, as it is by default and under torch.use_deterministic_algorithms(True).

The forward has the CPU's bits either way. By default the image gradient is added up by atomics, in no fixed order; the
deterministic one is gathered in the CPU's order. The box gradient is the same each time, in an order of its own for
each layout.
"""

from __future__ import annotations

from importlib.metadata import version

import torch

from harness.backends.package import make
from harness.repository import MissingLibrary
from roi_align import _library

if not torch.cuda.is_available():
    raise MissingLibrary("roi_align_cuda needs a GPU, and torch.cuda.is_available() is False on this machine.")
if not _library.HAS_CUDA:
    raise MissingLibrary(f"roi_align_cuda needs CUDA kernels, but {_library.CUDA_MISSING}; see README.md, Installing.")

_TITLE = f"roi_align {version('roi-align')} (CUDA"

backend = make(
    name="roi_align_cuda",
    title=f"{_TITLE})",
    device="cuda",
    tensorflow_bits=("forward",),
    layout_order=("grad_boxes",),
    unordered=("grad_image",),
)
deterministic = make(
    name="roi_align_cuda_deterministic",
    title=f"{_TITLE}, deterministic)",
    device="cuda",
    tensorflow_bits=("forward", "grad_image"),
    layout_order=("grad_boxes",),
    deterministic=True,
)
