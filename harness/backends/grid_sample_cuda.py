"""grid_sample on CUDA, as it is and through torch.compile: what those take who want no operator of their own."""

from __future__ import annotations

import torch

from harness.backends.grid_sample import make
from harness.repository import MissingLibrary

if not torch.cuda.is_available():
    raise MissingLibrary("grid_sample_cuda needs a GPU, and torch.cuda.is_available() is False on this machine.")

_TITLE = f"grid_sample, torch {torch.__version__} (CUDA"

backend = make("grid_sample_cuda", f"{_TITLE})", "cuda")
compiled = make("grid_sample_cuda_compiled", f"{_TITLE}, compiled)", "cuda", compiled=True)
