"""torchvision's roi_align on CUDA. Its positions are fused multiply-adds: no order of rounding is pinned."""

from __future__ import annotations

import torch

from harness.backends.torchvision import make
from harness.repository import MissingLibrary

if not torch.cuda.is_available():
    raise MissingLibrary("torchvision_cuda needs a GPU, and torch.cuda.is_available() is False on this machine.")

backend = make("torchvision_cuda", "cuda", pinned=(), unordered=("grad_image",))
