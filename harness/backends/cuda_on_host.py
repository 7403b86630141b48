"""This project's CUDA kernels, run on the CPU by harness/kernels/cuda_on_host: slow, but with the kernels' results.

The boxes of a call select the order of threads: forward, backward or random. So cases cover all three, and the same
call always has the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from harness.backends import Makers
from harness.kernels import compiling
from harness.kernels.cuda_on_host import kernel_library, launch
from harness.kernels.drivers.calls import CropKernels, Launch, Library, RoiKernels, of_one_level
from harness.operators.arrays import (
    DIRECTIONS,
    FLOATS,
    LAYOUTS,
    SINGLE_AND_DOUBLE,
    Array,
    Direction,
)
from harness.operators.crop_and_resize.case import BOX_RULES, METHODS, Inputs
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import SAMPLED, RoiInputs
from harness.operators.sheet import EMPTY, OperatorName, Sheet

_TITLE = "CUDA kernels on the CPU"


def make_crop_and_resize(
    name: str,
    *,
    atomics: bool,
    library: Library = kernel_library,
    launch: Launch = launch,
    title: str = _TITLE,
    order: int | None = None,
) -> Backend[Inputs]:
    """The kernels of a library as a backend, with a fixed order of threads if given.

    atomics: the image gradient uses atomics, the operator's default; otherwise it is gathered in the CPU's order, as
    under torch.use_deterministic_algorithms(True). MissingLibrary without a compiler.
    """
    compiling.compiler()
    kernels = CropKernels(library, launch, order, atomics)
    sheet = _sheet(
        "crop_and_resize",
        index_dtypes=("int32", "int64"),
        methods=METHODS,
        box_rules=BOX_RULES,
        tensorflow_bits=("forward",) if atomics else ("forward", "grad_image"),
        unordered=("grad_image",) if atomics else (),
    )
    full_title = f"roi_align ({title}, {'atomics' if atomics else 'deterministic'})"
    return Backend(
        name, full_title, sheet, lambda inputs, direction: lambda: kernels.run(inputs, direction), np.asarray
    )


def make_roi_align(
    name: str,
    *,
    library: Library = kernel_library,
    launch: Launch = launch,
    title: str = _TITLE,
    order: int | None = None,
) -> Backend[RoiInputs]:
    """The same for roi_align."""
    compiling.compiler()
    kernels = RoiKernels(library, launch, order)

    def prepare(inputs: RoiInputs, direction: Direction) -> Callable[[], Array]:
        return lambda: kernels.run(of_one_level(inputs), direction)[0]

    sheet = _sheet("roi_align", modes=SAMPLED, grids=("fixed", "adaptive"))
    return Backend(name, f"roi_align ({title})", sheet, prepare, np.asarray)


BACKENDS: Makers = {
    ("crop_and_resize", "cuda_on_host"): partial(make_crop_and_resize, atomics=True),
    ("crop_and_resize", "cuda_on_host_gather"): partial(make_crop_and_resize, atomics=False),
    ("roi_align", "cuda_on_host"): make_roi_align,
}


def _sheet(operator: OperatorName, **declared: Any) -> Sheet:
    """The common sheet plus the operator's own fields. The operators widen integers before the kernels."""
    return Sheet(
        operator=operator,
        directions=DIRECTIONS,
        image_dtypes=FLOATS,
        boxes_dtypes=SINGLE_AND_DOUBLE,
        layouts=LAYOUTS,
        bad_input=("boxes",),
        empty=EMPTY,
        special_values=DIRECTIONS,
        pinned=DIRECTIONS,
        layout_bits=("forward", "grad_image"),
        list_bits=DIRECTIONS,
        **declared,
    )
