"""mmcv's roi_align on the CPU, mean and maximum, with its gradient of the image: its own Python file and C++ kernels.

The environment has mmcv with this one operator (compiling.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from mmcv import __version__  # type: ignore[import-not-found, unused-ignore]
from mmcv.ops import roi_align  # type: ignore[import-not-found, unused-ignore]
from torch import Tensor

from harness.backends import Makers
from harness.backends.peers.snippets import literal, number, place, program
from harness.backends.torch_arrays import torch_backend
from harness.operators.arrays import LAYOUTS, SINGLE_AND_DOUBLE, Array, Direction
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import SAMPLED, RoiInputs
from harness.operators.sheet import Sheet

# An adaptive grid has as many samples as a box has pixels.
_MOST = 1e4


def make_roi_align(name: str) -> Backend[RoiInputs]:
    """The documentation is the docstring of mmcv.ops.RoIAlign."""
    sheet = Sheet(
        operator="roi_align",
        directions=("forward", "grad_image"),  # the boxes get none
        image_dtypes=SINGLE_AND_DOUBLE,  # of halves it computes positions and sums in half precision
        boxes_dtypes=SINGLE_AND_DOUBLE,
        same_dtype=True,  # no types are documented; boxes of another are refused: "expected scalar type"
        layouts=LAYOUTS,
        modes=SAMPLED,  # "pool_mode (str, 'avg' or 'max'): pooling mode in each bin"
        grids=("fixed", "adaptive"),  # "0 to take samples densely for current models"
        scale_dtype="float32",
        largest=_MOST,
        empty=("boxes",),
    )
    return replace(torch_backend(name, f"mmcv {__version__} (CPU)", sheet, _pool, _tensor, _avoids), snippet=snippet)


BACKENDS: Makers = {("roi_align", "mmcv"): make_roi_align}


def _avoids(inputs: RoiInputs, direction: Direction) -> str | None:
    edges = inputs.boxes[:, 1:]
    if inputs.aligned and bool((edges[:, 2:] < edges[:, :2]).any()):
        return 'mmcv raises for an aligned box that is inverted: "ROIs in ROIAlign cannot have non-negative size!"'
    return None


def _pool(of: Any) -> Any:
    ratio = max(of.sampling_ratio, 0)
    return roi_align(of.image, of.boxes, of.output_size, of.spatial_scale, ratio, of.mode, of.aligned)


def _tensor(array: Array) -> Tensor:
    """An NCHW copy: it has no kernels for another layout."""
    return torch.from_numpy(np.array(array, order="C"))


def snippet(inputs: RoiInputs, direction: Direction, index: tuple[int, ...]) -> str:
    gradient = direction == "grad_image"
    rule = f'{number(inputs.spatial_scale)}, {max(inputs.sampling_ratio, 0)}, "{inputs.mode}", {inputs.aligned}'
    upstream = literal(inputs.upstream)
    return program(
        "import numpy as np, torch",
        "from mmcv.ops import roi_align",
        f"x = torch.from_numpy({literal(inputs.image)}){'.requires_grad_()' if gradient else ''}",
        f"boxes = torch.from_numpy({literal(inputs.boxes)})",
        f"y = roi_align(x, boxes, {inputs.output_size}, {rule})",
        *([f"y = torch.autograd.grad(y, x, torch.from_numpy({upstream}))[0]"] if gradient else []),
        f"print(y.detach().numpy()[{place(index)}])",
    )
