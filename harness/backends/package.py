"""This project's operator on any device that torch has, asked through what users call, gradients through autograd.

The layout of the inputs is passed on as it is: whether the operator keeps it is part of what is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch

from harness.backends.torch_arrays import host_tensor, to_numpy
from harness.operators.arrays import DIRECTIONS, LAYOUTS, Array, Direction
from harness.operators.crop_and_resize.case import BOX_RULES, METHODS, Inputs
from harness.operators.implementation import Backend
from harness.operators.sheet import Sheet
from roi_align import RoIAlign, crop_and_resize
from roi_align._checks import BOX_DTYPES, IMAGE_DTYPES

# In bytes: the largest unit in which a kernel loads, and what torch's allocator of device memory aligns to.
_VECTOR, _ALIGNED = 16, 512


def device_tensor(array: Array, device: str) -> torch.Tensor:
    """The array on the device under its own strides, as far from an aligned address as it is on the host.

    It lies inside memory that is not its own, NaN where its values can be: before it, behind it, and all that lies
    between its elements on the host too.
    """
    host = host_tensor(array)
    if device == "cpu":
        return host
    span = 1 + sum((size - 1) * stride for size, stride in zip(host.shape, host.stride(), strict=True))
    if not host.numel():
        return torch.empty_strided(host.shape, host.stride(), dtype=host.dtype, device=device)
    start = (_ALIGNED + host.data_ptr() % _VECTOR) // host.element_size()
    filling = torch.nan if host.is_floating_point() else 0
    memory = torch.full((start + span + _VECTOR,), filling, dtype=host.dtype, device=device)
    memory[start : start + span] = host.as_strided((span,), (1,)).to(device)
    return memory.as_strided(host.shape, host.stride(), start)


def names(dtypes: Iterable[torch.dtype]) -> tuple[str, ...]:
    """NumPy's names of torch's dtypes."""
    return tuple(str(dtype).removeprefix("torch.") for dtype in dtypes)


def avoids(inputs: Inputs, direction: Direction) -> str | None:
    if inputs.box_rule != "normalized" and inputs.method != "bilinear":
        return "RoIAlign has no method: it is bilinear"
    return None


def make(
    name: str,
    title: str,
    device: str,
    *,
    tensorflow_bits: tuple[Direction, ...],
    layout_order: tuple[Direction, ...] = (),
    unordered: tuple[Direction, ...] = (),
    deterministic: bool = False,
) -> Backend[Inputs]:
    """The operator on a device as a backend.

    deterministic: gradients are asked for under torch.use_deterministic_algorithms(True).
    """

    def prepare(inputs: Inputs, direction: Direction) -> Callable[[], torch.Tensor]:
        image, boxes = device_tensor(inputs.image, device), device_tensor(inputs.boxes, device)
        box_indices = device_tensor(inputs.box_indices, device)

        def crop() -> torch.Tensor:
            if inputs.box_rule == "normalized":
                return crop_and_resize(
                    image, boxes, box_indices, inputs.crop_size, inputs.method, inputs.extrapolation_value
                )
            align = RoIAlign(*inputs.crop_size, inputs.extrapolation_value, inputs.box_rule == "bin_centres")
            crops: torch.Tensor = align(image, boxes, box_indices)
            return crops

        if direction == "forward":
            return crop
        wanted = image if direction == "grad_image" else boxes
        wanted.requires_grad_()
        crops = crop()
        upstream = device_tensor(inputs.upstream, device)

        def gradient() -> torch.Tensor:
            return torch.autograd.grad(crops, wanted, upstream, retain_graph=True)[0]

        def deterministic_gradient() -> torch.Tensor:
            with _deterministic_algorithms():
                return gradient()

        return deterministic_gradient if deterministic else gradient

    return Backend(
        name=name,
        title=title,
        sheet=Sheet(
            operator="crop_and_resize",
            directions=DIRECTIONS,
            device=device,
            image_dtypes=names(IMAGE_DTYPES),
            boxes_dtypes=names(BOX_DTYPES),
            index_dtypes=("int32", "int64"),
            layouts=LAYOUTS,
            bad_input=("boxes", "indices"),
            empty=True,
            special_values=True,
            methods=METHODS,
            box_rules=BOX_RULES,
            pinned=DIRECTIONS,
            tensorflow_bits=tensorflow_bits,
            layout_order=layout_order,
            unordered=unordered,
        ),
        prepare=prepare,
        to_numpy=to_numpy,
        avoids=avoids,
    )


@contextmanager
def _deterministic_algorithms() -> Iterator[None]:
    """torch's own switch, which belongs to the whole process: put back as it was."""
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
