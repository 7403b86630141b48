"""torchvision's roi_align on CUDA: the peer that figures of a GPU are ratios to.

Its gradient is added up by atomics. It takes float16 and no bfloat16.
"""

from __future__ import annotations

import torch

from harness.backends.torchvision_cpu import make
from harness.repository import MissingLibrary

if not torch.cuda.is_available():
    raise MissingLibrary("torchvision_cuda needs a GPU, and torch.cuda.is_available() is False on this machine.")

backend = make("torchvision_cuda", "cuda", ("float16", "float32", "float64"))
