"""This project's CUDA kernels as nvcc compiles them, emulated by harness/kernels/ptx instruction by instruction.

This judges the compiler's output for the kernels on a machine without a GPU; a second here corresponds to a microsecond
on a GPU.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from harness.backends import Makers
from harness.backends.cuda_on_host import make_crop_and_resize, make_roi_align
from harness.kernels import compiling
from harness.kernels.drivers.calls import Library
from harness.kernels.ptx.emulator import launch
from harness.kernels.ptx.library import kernel_library
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName

_TITLE = "CUDA kernels as PTX, emulated"


def make(
    operator: OperatorName,
    name: str,
    *,
    atomics: bool = False,
    library: Library = kernel_library,
    order: int | None = None,
) -> Backend[Any]:
    """An operator's kernels as a backend; crop_and_resize's image gradient with or without atomics.

    order: even runs warps forward, odd backward. MissingLibrary without nvcc.
    """
    compiling.nvcc()
    if operator == "roi_align":
        return make_roi_align(name, library=library, launch=launch, title=_TITLE, order=order)
    return make_crop_and_resize(name, atomics=atomics, library=library, launch=launch, title=_TITLE, order=order)


BACKENDS: Makers = {
    ("crop_and_resize", "cuda_ptx"): partial(make, "crop_and_resize", atomics=True),
    ("crop_and_resize", "cuda_ptx_gather"): partial(make, "crop_and_resize"),
    ("roi_align", "cuda_ptx"): partial(make, "roi_align"),
}
