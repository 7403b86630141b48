"""Somebody's own function as a backend: what its sheet declares, called as a user would call it, gradients by autograd.

    def my_roi_align(input, boxes, output_size, spatial_scale, sampling_ratio, aligned): ...
    my_roi_align.sheet = {"operator": "roi_align", "directions": ["forward", "grad_image"]}

It gets torch tensors on the device and in the layouts that it declares, and returns one. The sheet is
plain data, so that a package that declares one needs nothing of this project.

crop_and_resize   f(image, boxes, box_indices, crop_size), and by keyword `extrapolation_value` if the border is "rule",
                  and `method` if more than "bilinear" is declared. Box rules other than "normalized" are not asked for.
roi_align         f(input, boxes (K,5), output_size, spatial_scale, sampling_ratio, aligned), torchvision's order, and
                  by keyword `mode` if more than "avg" is declared: "avg" or "max", whichever maximum is declared.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from harness.backends import imported
from harness.backends.torch_arrays import device_tensor, prepared, require_device, to_numpy
from harness.operators import sheet as sheets
from harness.operators.arrays import Direction
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName, Sheet

Function = Callable[..., Tensor]
Call = Callable[[Any], Tensor]


def load(name: str, place: str) -> Backend[Any]:
    """The backend at "module:object", which may be a function with a sheet, or a Backend.

    ValueError if there is none or its sheet says what no sheet can, MissingLibrary if its module needs one that is
    missing or its device is.
    """
    module_name, _, object_name = place.partition(":")
    try:
        named = imported(name, module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"There is no module {error.name!r} for the backend {name!r}; is it on PYTHONPATH?") from None
    for part in object_name.split("."):
        if not hasattr(named, part):
            raise ValueError(f"{module_name} has no {object_name!r}; the backend {name!r} is given as module:function.")
        named = getattr(named, part)
    if isinstance(named, Backend):
        return named
    if not callable(named):
        raise ValueError(f"{place} is a {type(named).__name__}; a backend is a function with a sheet, or a Backend.")
    if not hasattr(named, "sheet"):
        raise ValueError(
            f"{place} has no capability sheet. Give it one, such as {object_name}.sheet = "
            '{"operator": "roi_align", "directions": ["forward"]}; docs/judging.md lists what a sheet can say.'
        )
    return of_function(name, named, sheets.read(named.sheet, place))


def of_function(name: str, function: Function, sheet: Sheet) -> Backend[Any]:
    """A function as a backend on the device of its sheet; MissingLibrary if torch has no such device here."""
    require_device(name, sheet.device)
    call = _CALLS[sheet.operator](function, sheet)

    def prepare(inputs: Any, direction: Direction) -> Callable[[], Tensor]:
        return prepared(call, inputs, direction, partial(device_tensor, device=sheet.device))

    title = f"{name}, torch {torch.__version__} ({sheet.device.upper()})"
    return Backend(name, title, sheet, prepare, to_numpy)


def _crop_and_resize(function: Function, sheet: Sheet) -> Call:
    def call(of: Any) -> Tensor:
        keywords: dict[str, Any] = {}
        if sheet.border == "rule":
            keywords["extrapolation_value"] = of.extrapolation_value
        if sheet.methods != ("bilinear",):
            keywords["method"] = of.method
        return function(of.image, of.boxes, of.box_indices, of.crop_size, **keywords)

    return call


def _roi_align(function: Function, sheet: Sheet) -> Call:
    def call(of: Any) -> Tensor:
        keywords = {} if sheet.modes == ("avg",) else {"mode": "avg" if of.mode == "avg" else "max"}
        rule = (of.output_size, of.spatial_scale, of.sampling_ratio, of.aligned)
        return function(of.image, of.boxes, *rule, **keywords)

    return call


_CALLS: dict[OperatorName, Callable[[Function, Sheet], Call]] = {
    "crop_and_resize": _crop_and_resize,
    "roi_align": _roi_align,
}
