"""The CUDA kernels' host functions as plain C functions, and their arrays, for running them without a GPU."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent
DRIVERS = (HERE / "crop_and_resize.cpp", HERE / "roi_align.cpp")
