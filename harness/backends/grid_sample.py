"""crop_and_resize in terms of torch's grid_sample, the common way to write it without an operator.

Positions go through [-1, 1] and back, so they are rounded in another order than A; the judge allows for that. A grid
must have the image's dtype, so a half image is sampled as float32 and its crops are rounded. The nearest mode rounds
halves to even, which is another rule. It runs on any device, eagerly or through torch.compile.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._functorch import config as functorch_config
from torch.nn import functional

from harness.backends import Makers
from harness.backends.torch_arrays import host_tensor, prepare_call, require_device, to_numpy
from harness.operators.arrays import DIRECTIONS, FLOATS, LAYOUTS, SINGLE_AND_DOUBLE, Array, Direction
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.implementation import Backend
from harness.operators.sheet import Sheet


def make_crop_and_resize(name: str, device: str, *, compiled: bool = False) -> Backend[Inputs]:
    """grid_sample on a device as a backend; MissingLibrary if the device is missing.

    compiled: through torch.compile, for the exact shapes of each call.
    """
    require_device(name, device)

    def prepare(inputs: Inputs, direction: Direction) -> Callable[[], Tensor]:
        # Detectors have a list of boxes per image; computing it inside the call would make a GPU's host wait.
        rows = {int(n): np.flatnonzero(inputs.box_indices == n) for n in np.unique(inputs.box_indices)}
        groups = tuple((n, _tensor(numbers, device)) for n, numbers in rows.items())
        back = _tensor(np.argsort(np.concatenate(list(rows.values()))), device)
        function = _compile() if compiled else crop_and_resize

        def crop(of: Any) -> Tensor:
            return function(of.image, of.boxes, groups, back, of.crop_size, of.extrapolation_value)

        if not compiled:
            return prepare_call(crop, inputs, direction, partial(_tensor, device=device))
        with warnings.catch_warnings():  # the compiler's advice is irrelevant here
            warnings.simplefilter("ignore")
            call = prepare_call(crop, inputs, direction, partial(_tensor, device=device))
            call()  # compile outside the timed part
        return call

    return Backend(
        name=name,
        title=f"grid_sample, torch {torch.__version__} ({device.upper()}{', compiled' if compiled else ''})",
        sheet=Sheet(
            operator="crop_and_resize",
            directions=DIRECTIONS,
            device=device,
            compiles=compiled,
            image_dtypes=FLOATS,
            boxes_dtypes=SINGLE_AND_DOUBLE,
            index_dtypes=("int32", "int64"),
            layouts=LAYOUTS,
            # It differentiates through samples that are masked afterwards, where 0 times NaN is NaN.
            special_values=("forward", "grad_image"),
            layout_bits=("forward", "grad_image"),
            list_bits=("forward", "grad_boxes"),
            unordered=("grad_image",) if device == "cuda" else (),
        ),
        prepare=prepare,
        to_numpy=to_numpy,
    )


BACKENDS: Makers = {
    ("crop_and_resize", "grid_sample"): partial(make_crop_and_resize, device="cpu"),
    ("crop_and_resize", "grid_sample_compiled"): partial(make_crop_and_resize, device="cpu", compiled=True),
    ("crop_and_resize", "grid_sample_cuda"): partial(make_crop_and_resize, device="cuda"),
    ("crop_and_resize", "grid_sample_cuda_compiled"): partial(make_crop_and_resize, device="cuda", compiled=True),
}


def axis_positions(first: Tensor, last: Tensor, count: int, length: int) -> Tensor:
    """Positions in pixel indices, (M, count), differentiable in the box."""
    if count == 1:
        return (0.5 * (first + last) * (length - 1))[:, None]
    share = torch.arange(count, dtype=first.dtype, device=first.device) / (count - 1)
    return (first[:, None] + (last - first)[:, None] * share) * (length - 1)


def crop_and_resize(
    image: Tensor,
    boxes: Tensor,
    groups: tuple[tuple[int, Tensor], ...],
    back: Tensor,
    crop_size: tuple[int, int],
    extrapolation_value: float,
) -> Tensor:
    """Crops (M,C,h,w); the boxes of one image share one grid, so no image is copied per box.

    groups: each image with boxes, and their rows; back: the position of each box in the concatenated groups.
    """
    dtype, image = image.dtype, image.to(torch.promote_types(image.dtype, torch.float32))
    height, width = image.shape[2:]
    boxes = boxes.to(torch.promote_types(boxes.dtype, image.dtype))
    y = axis_positions(boxes[:, 0], boxes[:, 2], crop_size[0], height)
    x = axis_positions(boxes[:, 1], boxes[:, 3], crop_size[1], width)
    inside = ((y >= 0) & (y <= height - 1))[:, :, None] & ((x >= 0) & (x <= width - 1))[:, None, :]
    grid = torch.stack(
        [
            (x * (2 / max(width - 1, 1)) - 1)[:, None, :].expand(-1, crop_size[0], -1),
            (y * (2 / max(height - 1, 1)) - 1)[:, :, None].expand(-1, -1, crop_size[1]),
        ],
        dim=-1,
    ).to(image.dtype)
    crops = []
    for n, numbers in groups:
        rows = grid[numbers].reshape(1, numbers.shape[0] * crop_size[0], crop_size[1], 2)
        sampled = functional.grid_sample(image[n : n + 1], rows, padding_mode="border", align_corners=True)
        crops.append(sampled.reshape(-1, numbers.shape[0], *crop_size).transpose(0, 1))
    gathered = torch.cat(crops)[back] if len(crops) > 1 else crops[0]  # for one image they are already in order
    return torch.where(inside[:, None], gathered, extrapolation_value).to(dtype)


def _compile() -> Callable[..., Tensor]:
    """The function through torch.compile, which compiles on the first call."""
    torch._dynamo.reset()  # torch caches eight shapes of a function and refuses the ninth
    functorch_config.donated_buffer = False  # otherwise no graph could be retained
    return torch.compile(crop_and_resize, fullgraph=True, dynamic=False)


def _tensor(array: Array, device: str) -> Tensor:
    """A tensor with the array's strides; a copy where the array may not be written or overlaps itself."""
    if not array.flags.writeable or 0 in array.strides:
        array = array.copy()
    return host_tensor(array).to(device)
