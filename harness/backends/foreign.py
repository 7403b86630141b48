"""Somebody's own function as a backend: what its sheet declares, called as a user would call it, gradients by autograd.

    def my_roi_align(input, boxes, output_size, spatial_scale, sampling_ratio, aligned): ...
    my_roi_align.sheet = {"operator": "roi_align", "directions": ["forward", "grad_image"]}

It gets torch tensors on the device and in the layouts that it declares, and returns one. The sheet is
plain data, so that a package that declares one needs nothing of this project.

crop_and_resize   f(image, boxes, box_indices, crop_size), and by keyword `extrapolation_value` if the border is "rule",
                  and `method` if more than "bilinear" is declared. Box rules other than "normalized" are not asked for.
roi_align         f(input, boxes (K,5), output_size, spatial_scale, sampling_ratio, aligned), torchvision's order, and
                  by keyword `mode` if more than "avg" is declared.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

from harness.backends.package import device_tensor
from harness.backends.torch_arrays import to_numpy
from harness.operators import sheet as sheets
from harness.operators.arrays import Direction
from harness.operators.implementation import Backend
from harness.operators.sheet import Sheet
from harness.repository import MissingLibrary


def load(name: str, place: str) -> Backend[Any]:
    """The backend at "module:object", which may be a function with a sheet, or a Backend.

    ValueError if there is none or its sheet says what no sheet can, MissingLibrary if its module needs one that is
    missing or its device is.
    """
    module_name, _, object_name = place.partition(":")
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and module_name.startswith(error.name):
            raise ValueError(
                f"There is no module {error.name!r} for the backend {name!r}; is it on PYTHONPATH?"
            ) from None
        raise MissingLibrary(f"Backend {name!r} needs the module {error.name!r}, which is not installed.") from error
    for part in object_name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{module_name} has no {object_name!r}; the backend {name!r} is given as module:function.")
        found = getattr(found, part)
    if isinstance(found, Backend):
        return found
    if not callable(found):
        raise ValueError(f"{place} is a {type(found).__name__}; a backend is a function with a sheet, or a Backend.")
    if not hasattr(found, "sheet"):
        raise ValueError(
            f"{place} has no capability sheet. Give it one, such as {object_name}.sheet = "
            '{"operator": "roi_align", "directions": ["forward"]}; docs/judging.md lists what a sheet can say.'
        )
    return of_function(name, found, sheets.read(found.sheet, place))


def of_function(name: str, function: Callable[..., Any], sheet: Sheet) -> Backend[Any]:
    """A function as a backend on the device of its sheet; MissingLibrary if torch has no such device here."""
    device = sheet.device
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise MissingLibrary(f"{name} declares the device {device!r}, and torch has none here: {error}") from None
    call = _crop_and_resize if sheet.operator == "crop_and_resize" else _roi_align

    def prepare(inputs: Any, direction: Direction) -> Callable[[], torch.Tensor]:
        forward, leaves = call(function, sheet, inputs, device)
        if direction == "forward":
            return forward
        wanted = leaves[direction].requires_grad_()
        result, upstream = forward(), device_tensor(inputs.upstream, device)

        def gradient() -> torch.Tensor:
            if not result.requires_grad:
                raise RuntimeError(f"{direction} is declared, but the result has no gradient: it requires none.")
            return torch.autograd.grad(result, wanted, upstream, retain_graph=True)[0]

        return gradient

    return Backend(
        name=name, title=f"{name}, torch {torch.__version__} ({device.upper()})", sheet=sheet, prepare=prepare,
        to_numpy=to_numpy,
    )  # fmt: skip


Leaves = dict[Direction, torch.Tensor]


def _crop_and_resize(
    function: Callable[..., Any], sheet: Sheet, inputs: Any, device: str
) -> tuple[Callable[[], torch.Tensor], Leaves]:
    image, boxes = device_tensor(inputs.image, device), device_tensor(inputs.boxes, device)
    box_indices = device_tensor(inputs.box_indices, device)
    keywords: dict[str, Any] = {}
    if sheet.border == "rule":
        keywords["extrapolation_value"] = inputs.extrapolation_value
    if sheet.methods != ("bilinear",):
        keywords["method"] = inputs.method
    leaves: Leaves = {"grad_image": image, "grad_boxes": boxes}
    return lambda: function(image, boxes, box_indices, inputs.crop_size, **keywords), leaves


def _roi_align(
    function: Callable[..., Any], sheet: Sheet, inputs: Any, device: str
) -> tuple[Callable[[], torch.Tensor], Leaves]:
    features, boxes = device_tensor(inputs.image, device), device_tensor(inputs.boxes, device)
    keywords = {} if sheet.modes == ("avg",) else {"mode": inputs.mode}
    rule = (inputs.output_size, inputs.spatial_scale, inputs.sampling_ratio, inputs.aligned)
    leaves: Leaves = {"grad_image": features, "grad_boxes": boxes}
    return lambda: function(features, boxes, *rule, **keywords), leaves
