"""torchvision's roi_align on the CPU, for scale: what most detectors call today.

It computes another rule: pixel boxes, and an edge pixel where crop_and_resize extrapolates. It is given the pixel
boxes whose bins have their centres at crop_and_resize's samples, one sample a bin, so that it reads the same taps and
does the same amount of work; its values are never compared (`same_rule` is False). `make` makes it for any device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchvision  # type: ignore[import-untyped, unused-ignore]
from torchvision.ops import roi_align  # type: ignore[import-untyped, unused-ignore]

from harness.operators.arrays import LAYOUTS, SINGLE_AND_DOUBLE, Array, Direction
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.implementation import Backend
from harness.operators.sheet import Sheet


def make(name: str, device: str, image_dtypes: tuple[str, ...]) -> Backend[Inputs]:
    """The operator on a device as a backend, for images of these types."""

    def prepare(inputs: Inputs, direction: Direction) -> Callable[[], Any]:
        return _prepare(inputs, direction, device)

    return Backend(
        name=name,
        title=f"torchvision {torchvision.__version__.partition('+')[0]} roi_align (another rule)",
        sheet=Sheet(
            operator="crop_and_resize",
            directions=("forward", "grad_image"),
            device=device,
            image_dtypes=image_dtypes,
            boxes_dtypes=SINGLE_AND_DOUBLE,
            index_dtypes=("int32", "int64"),
            layouts=LAYOUTS,
            empty=True,
            special_values=True,
        ),
        prepare=prepare,
        to_numpy=to_numpy,
        same_rule=False,
    )


def _prepare(inputs: Inputs, direction: Direction, device: str) -> Callable[[], Any]:
    """The call on NCHW copies; for the image gradient autograd's, on a graph built here and kept."""
    image = torch.from_numpy(np.array(inputs.image, order="C")).to(device)
    # It wants boxes of the image's own type: in a half type their coordinates are rounded.
    rois = torch.from_numpy(_pixel_rois(inputs)).to(device, image.dtype)

    def forward() -> Any:
        return roi_align(image, rois, inputs.crop_size, spatial_scale=1.0, sampling_ratio=1, aligned=True)

    if direction == "forward":
        return forward
    image.requires_grad_(True)
    crops = forward()
    upstream = torch.from_numpy(np.array(inputs.upstream, order="C")).to(device)
    return lambda: torch.autograd.grad(crops, image, upstream, retain_graph=True)[0]


def to_numpy(result: Any) -> Array:
    """A result as an NCHW array of its own."""
    return np.array(result.detach().cpu().numpy(), order="C")


def _pixel_rois(inputs: Inputs) -> Array:
    """(M,5) float64 rows (index, x1, y1, x2, y2) whose bin centres are crop_and_resize's sample positions.

    With `aligned` torchvision samples at start + (i + 0.5) * size / n - 0.5, start and size in pixels. The first
    sample is to be a1 * (L - 1) and the step (a2 - a1) * (L - 1) / (n - 1); a crop of one sample has a unit step.
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


backend = make("torchvision", "cpu", ("float32", "float64"))
