"""torchvision's roi_align: the operator whose rule this is. `backend` is the CPU's, `make` makes it for any device.

It wants boxes of the map's own type, float32 or float64, has no maximum and no gradient of the boxes, and ends the
process or raises where an index or a grid makes no sense.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torchvision  # type: ignore[import-untyped, unused-ignore]
from torchvision.ops import roi_align  # type: ignore[import-untyped, unused-ignore]

from harness.backends.torch_arrays import to_numpy
from harness.operators.arrays import LAYOUTS, SINGLE_AND_DOUBLE, Direction
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import RoiInputs
from harness.operators.sheet import Sheet

# A box is asked for up to this many pixels: an adaptive grid allocates as many samples as it has.
_MOST = 1e4


def avoids(inputs: RoiInputs, direction: Direction) -> str | None:
    edges = inputs.boxes[:, 1:]
    if not (np.abs(edges.astype(np.float64)) < _MOST).all():
        return f"torchvision's roi_align is given finite boxes below {_MOST:.0f} pixels."
    turned = np.sign(edges[:, 2:] - edges[:, :2]).prod(axis=1) < 0
    if inputs.aligned and inputs.sampling_ratio <= 0 and turned.any():
        return "torchvision's roi_align raises for an adaptive grid of a box that is inverted on one axis."
    return None


def make(name: str, device: str, pinned: tuple[Direction, ...], unordered: tuple[Direction, ...]) -> Backend[RoiInputs]:
    """The operator on a device as a backend, on NCHW copies: it has no kernels for another layout."""

    def prepare(inputs: RoiInputs, direction: Direction) -> Callable[[], Any]:
        features = torch.from_numpy(np.array(inputs.image, order="C")).to(device)
        boxes = torch.from_numpy(np.array(inputs.boxes)).to(device)

        def pool() -> Any:
            return roi_align(
                features, boxes, inputs.output_size, inputs.spatial_scale, inputs.sampling_ratio, inputs.aligned
            )

        if direction == "forward":
            return pool
        features.requires_grad_()
        pooled, upstream = pool(), torch.from_numpy(np.array(inputs.upstream, order="C")).to(device)
        return lambda: torch.autograd.grad(pooled, features, upstream, retain_graph=True)[0]

    return Backend(
        name=name,
        title=f"torchvision {torchvision.__version__.partition('+')[0]} ({device.upper()})",
        # Pixels are multiplied by weights of 0, so that NaN and infinity leak.
        sheet=Sheet(
            operator="roi_align",
            directions=("forward", "grad_image"),
            device=device,
            image_dtypes=SINGLE_AND_DOUBLE,
            boxes_dtypes=SINGLE_AND_DOUBLE,
            layouts=LAYOUTS,
            same_dtype=True,
            empty=True,
            grids=("fixed", "adaptive"),
            pinned=pinned,
            unordered=unordered,
        ),
        prepare=prepare,
        to_numpy=to_numpy,
        avoids=avoids,
    )


backend = make("torchvision", "cpu", pinned=("forward", "grad_image"), unordered=())
