"""This project's roi_align on any device that torch has, asked through what users call, gradients through autograd."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import torch

from harness.backends.package import device_tensor, names
from harness.backends.torch_arrays import to_numpy
from harness.operators.arrays import DIRECTIONS, LAYOUTS, Direction
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import MODES, RoiInputs
from harness.operators.sheet import Sheet
from roi_align import roi_align
from roi_align._checks import BOX_DTYPES, IMAGE_DTYPES


def make(name: str, title: str, device: str) -> Backend[RoiInputs]:
    """The operator on a device as a backend."""

    def prepare(inputs: RoiInputs, direction: Direction) -> Callable[[], torch.Tensor]:
        features, boxes = device_tensor(inputs.image, device), device_tensor(inputs.boxes, device)

        def pool() -> torch.Tensor:
            return roi_align(
                features,
                boxes,
                inputs.output_size,
                inputs.spatial_scale,
                inputs.sampling_ratio,
                inputs.aligned,
                mode=inputs.mode,
            )

        if direction == "forward":
            return pool
        wanted = features if direction == "grad_image" else boxes
        wanted.requires_grad_()
        pooled, upstream = pool(), device_tensor(inputs.upstream, device)
        return lambda: torch.autograd.grad(pooled, wanted, upstream, retain_graph=True)[0]

    sheet = Sheet(
        operator="roi_align",
        directions=DIRECTIONS,
        device=device,
        image_dtypes=names(IMAGE_DTYPES),
        boxes_dtypes=names(BOX_DTYPES),
        layouts=LAYOUTS,
        bad_input=("boxes", "indices"),
        empty=True,
        special_values=True,
        modes=MODES,
        grids=("fixed", "adaptive"),
        pinned=DIRECTIONS,
        layout_order=("grad_boxes",) if device == "cuda" else (),
    )
    return Backend(name=name, title=title, sheet=sheet, prepare=prepare, to_numpy=to_numpy)


backend = make("roi_align", f"roi_align {version('roi-align')} (CPU)", "cpu")
