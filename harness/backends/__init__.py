"""The implementations under test, one small file each, loaded only when asked for.

A backend is a plain record of functions and a capability sheet (harness/operators/sheet.py). The tables below name its
module, which imports its own library and nobody else's, and the object in it: `backend`, unless another one is named
after a colon. Somebody else's is named by the same "module:object", or by an entry point of the group
"roi_align.backends"; it may be a Backend, or a plain function with a sheet (foreign.py). A library or a device that is
missing makes `load` raise MissingLibrary, which the suites turn into a skip with that reason.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any, cast

from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName
from harness.repository import MissingLibrary

BACKENDS: dict[OperatorName, dict[str, str]] = {
    "crop_and_resize": {
        "roi_align": "harness.backends.roi_align_cpu",
        "reference": "harness.operators.crop_and_resize.reference",
        "tensorflow": "harness.backends.tensorflow",
        "onnxruntime": "harness.backends.onnxruntime_crops",
        "grid_sample": "harness.backends.grid_sample",
        "grid_sample_compiled": "harness.backends.grid_sample:compiled",
        "torchvision": "harness.backends.torchvision_cpu",
        "roi_align_cuda": "harness.backends.roi_align_cuda",
        "roi_align_cuda_deterministic": "harness.backends.roi_align_cuda:deterministic",
        "torchvision_cuda": "harness.backends.torchvision_cuda",
        "grid_sample_cuda": "harness.backends.grid_sample_cuda",
        "grid_sample_cuda_compiled": "harness.backends.grid_sample_cuda:compiled",
        "cuda_on_host": "harness.backends.cuda_on_host:backend",
        "cuda_on_host_gather": "harness.backends.cuda_on_host:gather",
    },
    "roi_align": {
        "roi_align": "harness.backends.roi_align_pooling",
        "roi_align_cuda": "harness.backends.roi_align_pooling_cuda",
        "cuda_on_host": "harness.backends.cuda_on_host_pooling",
        "reference": "harness.operators.roi_align.reference",
        "torchvision": "harness.backends.torchvision",
        "torchvision_cuda": "harness.backends.torchvision_pooling_cuda",
        "onnxruntime": "harness.backends.onnxruntime",
    },
}
ENTRY_POINTS = "roi_align.backends"
# Those whose same_rule is False, known before they are loaded, and so where they are missing too.
OTHER_RULE: dict[OperatorName, tuple[str, ...]] = {"crop_and_resize": ("torchvision", "torchvision_cuda")}
_FAULTS: dict[OperatorName, str] = {
    "crop_and_resize": "harness.faults.reference.crop_and_resize",
    "roi_align": "harness.faults.reference.roi_align",
}


def is_foreign(name: str) -> bool:
    """Whether this is somebody else's: a place of the form "module:object", or an entry point."""
    if name.startswith("fault:"):
        return False
    return ":" in name or name in {point.name for point in entry_points(group=ENTRY_POINTS)}


def operators_of(name: str) -> tuple[OperatorName, ...]:
    """The operators that a backend of this project has, () for a name that is none."""
    if name.startswith("fault:roi_"):
        return ("roi_align",)
    if name.startswith("fault:"):
        return ("crop_and_resize",)
    return tuple(operator for operator, table in BACKENDS.items() if name in table)


def load(name: str, operator: OperatorName = "crop_and_resize") -> Backend[Any]:
    """The backend of that name for an operator, "fault:NAME" for a planted fault, somebody else's by its place.

    ValueError if there is none, MissingLibrary if its library is not installed.
    """
    if name.startswith("fault:"):
        # Imported here: the faults are made of a backend.
        planted = {fault.backend.name: fault.backend for fault in importlib.import_module(_FAULTS[operator]).FAULTS}
        if name in planted:
            backend: Backend[Any] = planted[name]
            return backend
    elif is_foreign(name):
        from harness.backends import foreign as functions

        return functions.load(name, _entry_points().get(name, name))
    table = BACKENDS[operator]
    if name not in table:
        raise ValueError(
            f"There is no backend {name!r} of {operator}; there are {', '.join(table)}, the planted faults as "
            f"fault:NAME, and yours as module:function or by an entry point of the group {ENTRY_POINTS!r}."
        )
    return cast(Backend[Any], imported(name, table[name]))


def _entry_points() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}


def imported(name: str, place: str) -> Any:
    """The object of a backend's own file, "module:object" or "module" for its `backend`; MissingLibrary as in load."""
    module_name, _, object_name = place.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == "harness":
            raise
        raise MissingLibrary(
            f"Backend {name!r} needs the module {error.name!r}, which is not installed; `make env` installs them all."
        ) from error
    return getattr(module, object_name or "backend")
