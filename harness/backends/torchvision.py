"""torchvision's roi_align on any device: the peer of roi_align, and a peer of crop_and_resize for timing only.

It needs boxes of the image's dtype, copies any layout to NCHW, and has no box gradient. On CUDA its gradient uses
atomics, and its positions are fused multiply-adds: no order of rounding is pinned.

As roi_align it has no maximum, and it crashes or raises for an invalid index or grid.

As crop_and_resize it computes another rule: pixel boxes, and an edge pixel where crop_and_resize extrapolates. It gets
pixel boxes whose bin centres are crop_and_resize's samples, one sample per bin, so it reads the same taps and does the
same amount of work; its values are never compared (`same_rule` is False).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torchvision  # type: ignore[import-untyped, unused-ignore]
from torch import Tensor
from torchvision.ops import roi_align  # type: ignore[import-untyped, unused-ignore]

from harness.backends import Makers
from harness.backends.torch_arrays import prepare_call, require_device, to_numpy, torch_backend
from harness.operators.arrays import DIRECTIONS, LAYOUTS, SINGLE_AND_DOUBLE, Array, Direction
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import RoiInputs
from harness.operators.sheet import EMPTY, OperatorName, Sheet

# The largest box in pixels: an adaptive grid allocates as many samples.
_MOST = 1e4
_TITLE = f"torchvision {torchvision.__version__.partition('+')[0]}"


def make_roi_align(name: str, device: str) -> Backend[RoiInputs]:
    """The operator on a device as a backend; MissingLibrary if the device is missing."""
    require_device(name, device)

    # Pixels are multiplied by weights of 0, so NaN and infinity leak.
    sheet = _sheet(
        "roi_align",
        device,
        same_dtype=True,
        largest=_MOST,
        grids=("fixed", "adaptive"),
        pinned=("forward", "grad_image") if device == "cpu" else (),
        unordered=("grad_image",) if device == "cuda" else (),
    )
    return torch_backend(name, f"{_TITLE} ({device.upper()})", sheet, _pool, partial(_tensor, device=device), avoids)


def make_crop_and_resize(name: str, device: str, image_dtypes: tuple[str, ...] = SINGLE_AND_DOUBLE) -> Backend[Inputs]:
    """The operator on a device as a peer of crop_and_resize, for images of these types; MissingLibrary likewise."""
    require_device(name, device)

    def prepare(inputs: Inputs, direction: Direction) -> Callable[[], Tensor]:
        # Of the image's own type: in a half type their coordinates are rounded.
        in_pixels = replace(inputs, boxes=_pixel_rois(inputs).astype(inputs.image.dtype))
        return prepare_call(_pool_crops, in_pixels, direction, partial(_tensor, device=device))

    sheet = _sheet(
        "crop_and_resize", device, image_dtypes=image_dtypes, index_dtypes=("int32", "int64"), special_values=DIRECTIONS
    )
    return Backend(name, f"{_TITLE} roi_align (another rule)", sheet, prepare, to_numpy, same_rule=False)


BACKENDS: Makers = {
    ("crop_and_resize", "torchvision"): partial(make_crop_and_resize, device="cpu"),
    # It has kernels for float16, and none for bfloat16.
    ("crop_and_resize", "torchvision_cuda"): partial(
        make_crop_and_resize, device="cuda", image_dtypes=("float16", *SINGLE_AND_DOUBLE)
    ),
    ("roi_align", "torchvision"): partial(make_roi_align, device="cpu"),
    ("roi_align", "torchvision_cuda"): partial(make_roi_align, device="cuda"),
}


def avoids(inputs: RoiInputs, direction: Direction) -> str | None:
    edges = inputs.boxes[:, 1:]
    inverted = np.sign(edges[:, 2:] - edges[:, :2]).prod(axis=1) < 0
    if inputs.aligned and inputs.sampling_ratio <= 0 and inverted.any():
        return "torchvision's roi_align raises for an adaptive grid of a box that is inverted on one axis."
    return None


def _pool(of: Any) -> Any:
    return roi_align(of.image, of.boxes, of.output_size, of.spatial_scale, of.sampling_ratio, of.aligned)


def _pool_crops(of: Any) -> Any:
    return roi_align(of.image, of.boxes, of.crop_size, spatial_scale=1.0, sampling_ratio=1, aligned=True)


def _tensor(array: Array, device: str) -> Tensor:
    """An NCHW copy: torchvision has no kernels for other layouts."""
    return torch.from_numpy(np.array(array, order="C")).to(device)


def _sheet(operator: OperatorName, device: str, **declared: Any) -> Sheet:
    return Sheet(
        **{
            "operator": operator,
            "directions": ("forward", "grad_image"),
            "device": device,
            "image_dtypes": SINGLE_AND_DOUBLE,
            "boxes_dtypes": SINGLE_AND_DOUBLE,
            "layouts": LAYOUTS,
            "empty": EMPTY,
            "layout_bits": DIRECTIONS,
            "list_bits": DIRECTIONS,
            **declared,
        }
    )


def _pixel_rois(inputs: Inputs) -> Array:
    """(M,5) float64 rows (index, x1, y1, x2, y2) whose bin centres are crop_and_resize's sample positions.

    With `aligned` torchvision samples at start + (i + 0.5) * size / n - 0.5, start and size in pixels. The first sample
    must be a1 * (L - 1) and the step (a2 - a1) * (L - 1) / (n - 1); a crop of one sample has a unit step.
    """
    boxes = inputs.boxes.astype(np.float64)
    _, _, height, width = inputs.image.shape
    rois = np.empty((len(boxes), 5))
    rois[:, 0] = inputs.box_indices
    for axis, (length, count) in enumerate(zip((height, width), inputs.crop_size, strict=True)):
        first, last = boxes[:, axis] * (length - 1), boxes[:, axis + 2] * (length - 1)
        if count == 1:
            first, step = (first + last) / 2, np.ones(len(boxes))
        else:
            step = (last - first) / (count - 1)
        start = first - step / 2 + 0.5
        rois[:, 2 - axis] = start
        rois[:, 4 - axis] = start + step * count
    return rois
