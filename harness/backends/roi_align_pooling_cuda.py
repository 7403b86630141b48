"""This project's roi_align on CUDA. Its gradients are gathered in one order, so it has one mode only."""

from __future__ import annotations

from importlib.metadata import version

import torch

from harness.backends.roi_align_pooling import make
from harness.repository import MissingLibrary
from roi_align import _library

if not torch.cuda.is_available():
    raise MissingLibrary("roi_align_cuda needs a GPU, and torch.cuda.is_available() is False on this machine.")
if not _library.HAS_CUDA:
    raise MissingLibrary(f"roi_align_cuda needs CUDA kernels, but {_library.CUDA_MISSING}; see README.md, Installing.")

backend = make("roi_align_cuda", f"roi_align {version('roi-align')} (CUDA)", "cuda")
