"""This project's roi_align on any device that torch has, asked through what users call, gradients through autograd."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import torch

from harness.backends.roi_align_torch import device_tensor
from harness.backends.torch_arrays import to_numpy
from harness.case import Direction
from harness.roi_backends import RoiBackend
from harness.roi_case import RoiInputs
from roi_align import roi_align


def refuses(inputs: RoiInputs, direction: Direction) -> str | None:
    if direction == "grad_image" and inputs.input.dtype.kind in "iu":
        return "a map of integers has no gradient"
    return None


def make(name: str, title: str, device: str) -> RoiBackend:
    """The operator on a device as a backend."""

    def prepare(inputs: RoiInputs, direction: Direction) -> Callable[[], torch.Tensor]:
        features, boxes = device_tensor(inputs.input, device), device_tensor(inputs.boxes, device)

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

    return RoiBackend(
        name=name,
        title=title,
        refuses=refuses,
        prepare=prepare,
        to_numpy=to_numpy,
        pinned=frozenset({"forward", "grad_image", "grad_boxes"}),
    )


backend = make("roi_align", f"roi_align {version('roi-align')} (CPU)", "cpu")
