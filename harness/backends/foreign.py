"""A function as a backend: called as a user would call it, within its sheet, with gradients by autograd.

    def my_roi_align(input, boxes, output_size, spatial_scale, sampling_ratio, aligned): ...
    my_roi_align.sheet = {"operator": "roi_align", "directions": ["forward", "grad_image"]}

It gets torch tensors on its declared device and in its declared layouts, and returns a tensor. The sheet is plain data,
so a package with a sheet does not depend on this project.

crop_and_resize   f(image, boxes, box_indices, crop_size), and by keyword `extrapolation_value` if the border is "rule",
                  and `method` if more than "bilinear" is declared. Box rules other than "normalized" are not asked for.
roi_align         f(input, boxes (K,5), output_size, spatial_scale, sampling_ratio, aligned), torchvision's order, and
                  by keyword `mode` if more than "avg" is declared: "avg" or "max", whichever maximum is declared.
"""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.backends import load_module
from harness.backends.torch_arrays import device_tensor, require_device, torch_backend
from harness.operators import operator_of
from harness.operators import sheet as sheets
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName, Sheet
from harness.repository import MissingLibrary

Function = Callable[..., Tensor]
Call = Callable[[Any], Tensor]


def load(name: str, place: str) -> Backend[Any]:
    """Loads the backend at "module:object": a function with a sheet, or a Backend.

    ValueError with a sentence if there is none, if its module cannot be imported, or if its sheet is invalid;
    MissingLibrary if its device or a library that its module needs is missing.
    """
    module_name, _, object_name = place.partition(":")
    if not (module_name and object_name):
        raise ValueError(f"{place!r} names no function; a backend is given as module:function, such as mykernel:crop.")
    try:
        target = load_module(name, module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"There is no module {error.name!r} for the backend {name!r}; is it on PYTHONPATH?") from None
    except MissingLibrary:
        raise
    except Exception as error:
        raise ValueError(
            f"The module {module_name!r} of the backend {name!r} cannot be imported: {type(error).__name__}: "
            f"{_first_line(error)} ({_where(error)})."
        ) from error
    for part in object_name.split("."):
        if not hasattr(target, part):
            raise ValueError(f"{module_name} has no {object_name!r}; the backend {name!r} is given as module:function.")
        target = getattr(target, part)
    if isinstance(target, Backend):
        return target
    if not callable(target):
        raise ValueError(f"{place} is a {type(target).__name__}; a backend is a function with a sheet, or a Backend.")
    if not hasattr(target, "sheet"):
        raise ValueError(
            f"{place} has no capability sheet. Give it one, such as {object_name}.sheet = "
            '{"operator": "roi_align", "directions": ["forward"]}; docs/judging.md lists what a sheet can say.'
        )
    return of_function(name, target, sheets.read(target.sheet, place))


def _first_line(error: Exception) -> str:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return message.partition("\n")[0]


def _where(error: Exception) -> str:
    """The file and line to blame for a failed import."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    harness = str(Path(__file__).parents[1])
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not each.filename.startswith(harness)]
    # The failure is often in Python's own or installed files; the user can only fix the line that led there.
    own = frames
    for installed in (("<frozen", sysconfig.get_path("stdlib")), (sysconfig.get_path("purelib"),)):
        own = [each for each in own if not each.filename.startswith(installed)] or own
    return f"{own[-1].filename}, line {own[-1].lineno}"


def of_function(name: str, function: Function, sheet: Sheet) -> Backend[Any]:
    """A function as a backend on the device of its sheet; MissingLibrary if torch has no such device here."""
    require_device(name, sheet.device)
    call = _CALLS[sheet.operator](function, sheet)
    of = f"{sheet.title or name} {sheet.version}".strip()
    title = of if sheet.title else f"{of}, torch {torch.__version__} ({sheet.device.upper()})"
    return torch_backend(name, title, sheet, _for_sheet(call, sheet), partial(device_tensor, device=sheet.device))


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


def _for_sheet(call: Call, sheet: Sheet) -> Call:
    """The call as its sheet requires: once, or once per box; TypeError if it returns no tensor."""

    def call_checked(of: Any) -> Tensor:
        result = call(of)
        if not isinstance(result, Tensor):
            raise TypeError(f"the function returned {type(result).__name__}; a torch.Tensor is expected")
        return result

    def each(of: Any) -> Tensor:
        if len(of.boxes) < 2:
            return call_checked(of)
        names = operator_of(of).arrays[1:-1]
        rows = range(len(of.boxes))
        return torch.cat(
            [call_checked(replace(of, **{name: getattr(of, name)[k : k + 1] for name in names})) for k in rows]
        )

    return each if sheet.one_box else call_checked


_CALLS: dict[OperatorName, Callable[[Function, Sheet], Call]] = {
    "crop_and_resize": _crop_and_resize,
    "roi_align": _roi_align,
}
