"""This project's operators on any device that torch has, asked through what users call, gradients through autograd.

The layout of the inputs is passed on as it is: whether the operator keeps it is part of what is judged. On CUDA the
forward has the CPU's bits. There crop_and_resize's image gradient is added up by atomics, in no fixed order, or, under
torch.use_deterministic_algorithms(True), gathered in the CPU's order; roi_align's is always gathered. The gradient of
the boxes is the same each time, in an order of its own for each layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from harness.backends import Makers
from harness.backends.torch_arrays import device_tensor, require_device, torch_backend
from harness.operators.arrays import DIRECTIONS, FLOATS, LAYOUTS, SINGLE_AND_DOUBLE, Direction
from harness.operators.crop_and_resize.case import BOX_RULES, METHODS, Inputs
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import SAMPLED, RoiInputs
from harness.operators.sheet import EMPTY, INTEGERS, OperatorName, Sheet
from harness.repository import MissingLibrary
from roi_align import RoIAlign, crop_and_resize, roi_align


def make_crop_and_resize(name: str, device: str, *, deterministic: bool = False) -> Backend[Inputs]:
    """crop_and_resize on a device as a backend; MissingLibrary if that is not here.

    deterministic: gradients are asked for under torch.use_deterministic_algorithms(True).
    """
    _require(name, device)
    atomics = device == "cuda" and not deterministic

    def around(direction: Direction) -> AbstractContextManager[None]:
        return _deterministic_algorithms() if deterministic and direction != "forward" else nullcontext()

    sheet = _sheet(
        "crop_and_resize",
        device,
        index_dtypes=("int32", "int64"),
        methods=METHODS,
        box_rules=BOX_RULES,
        tensorflow_bits=("forward",) if atomics else ("forward", "grad_image"),
        unordered=("grad_image",) if atomics else (),
    )
    title = _title(device, ", deterministic" if deterministic else "")
    return torch_backend(name, title, sheet, _crop, partial(device_tensor, device=device), avoids, around)


def make_roi_align(name: str, device: str) -> Backend[RoiInputs]:
    """roi_align on a device as a backend; MissingLibrary if that is not here."""
    _require(name, device)

    sheet = _sheet("roi_align", device, modes=SAMPLED, grids=("fixed", "adaptive"))
    return torch_backend(name, _title(device), sheet, _pool, partial(device_tensor, device=device))


BACKENDS: Makers = {
    ("crop_and_resize", "roi_align"): partial(make_crop_and_resize, device="cpu"),
    ("crop_and_resize", "roi_align_cuda"): partial(make_crop_and_resize, device="cuda"),
    ("crop_and_resize", "roi_align_cuda_deterministic"): partial(
        make_crop_and_resize, device="cuda", deterministic=True
    ),
    ("roi_align", "roi_align"): partial(make_roi_align, device="cpu"),
    ("roi_align", "roi_align_cuda"): partial(make_roi_align, device="cuda"),
}


def avoids(inputs: Inputs, direction: Direction) -> str | None:
    if inputs.box_rule != "normalized" and inputs.method != "bilinear":
        return "RoIAlign has no method: it is bilinear"
    return None


def _crop(of: Any) -> Tensor:
    """What users call with these inputs, whose arrays are tensors."""
    if of.box_rule == "normalized":
        return crop_and_resize(of.image, of.boxes, of.box_indices, of.crop_size, of.method, of.extrapolation_value)
    height, width = of.crop_size
    align = RoIAlign(height, width, of.extrapolation_value, of.box_rule == "bin_centres")
    crops: Tensor = align(of.image, of.boxes, of.box_indices)
    return crops


def _pool(of: Any) -> Tensor:
    rule = (of.output_size, of.spatial_scale, of.sampling_ratio, of.aligned)
    return roi_align(of.image, of.boxes, *rule, mode=of.mode)


def _require(name: str, device: str) -> None:
    require_device(name, device)
    if device == "cuda":
        # Only here: `compare` runs other revisions of the package, which agree in what is public.
        from roi_align import _library

        if not _library.HAS_CUDA:
            raise MissingLibrary(
                f"{name} needs CUDA kernels, but {_library.CUDA_MISSING}; see docs/operators.md, Facts worth knowing."
            )


def _title(device: str, mode: str = "") -> str:
    return f"roi_align {version('roi-align')} ({device.upper()}{mode})"


def _sheet(operator: OperatorName, device: str, **declared: Any) -> Sheet:
    """What both operators declare, and what one declares beside it."""
    return Sheet(
        operator=operator,
        directions=DIRECTIONS,
        device=device,
        image_dtypes=(*FLOATS, *INTEGERS),
        boxes_dtypes=SINGLE_AND_DOUBLE,
        layouts=LAYOUTS,
        bad_input=("boxes", "indices"),
        empty=EMPTY,
        special_values=DIRECTIONS,
        pinned=DIRECTIONS,
        layout_bits=DIRECTIONS if device == "cpu" else ("forward", "grad_image"),
        list_bits=DIRECTIONS,
        **declared,
    )


@contextmanager
def _deterministic_algorithms() -> Iterator[None]:
    """torch's own switches, which belong to the whole process: put back as they were.

    Under the first torch fills fresh tensors with NaN, which on CUDA costs a call one more pass over its result: the
    second leaves that out, so that what is timed is the operator.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    of_memory: Any = torch.utils.deterministic  # a module whose attribute is a property, of which mypy knows nothing
    fills = of_memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    of_memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        of_memory.fill_uninitialized_memory = fills
