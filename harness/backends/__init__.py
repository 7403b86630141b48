"""The implementations under test: a file per library, imported only when one of its backends is loaded.

A backend is a plain record of functions and a capability sheet (harness/operators/sheet.py). The tables below map each
backend to its file; that file imports only its own library, and has a table of functions that make its backends.
Backends that are made elsewhere, such as planted faults, are registered. A backend outside this project is named by
"module:object", or by an entry point of the group "roi_align.backends"; it may be a Backend, or a plain function with a
sheet (foreign.py). If a library or a device is missing, `load` raises MissingLibrary, which the suites turn into a skip
with that reason.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from harness.backends.peers import environments
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName
from harness.repository import MissingLibrary

# A maker gets the backend's name; raises MissingLibrary if its device is missing.
Maker = Callable[[str], Backend[Any]]
Makers = dict[tuple[OperatorName, str], Maker]

# In the order of tables: each backend's name, and the file in this folder that makes it.
BACKENDS: dict[OperatorName, dict[str, str]] = {
    "crop_and_resize": {
        "roi_align": "package",
        "reference": "reference",
        "tensorflow": "tensorflow",
        "onnxruntime": "onnxruntime",
        "grid_sample": "grid_sample",
        "grid_sample_compiled": "grid_sample",
        "torchvision": "torchvision",
        "roi_align_cuda": "package",
        "roi_align_cuda_deterministic": "package",
        "torchvision_cuda": "torchvision",
        "grid_sample_cuda": "grid_sample",
        "grid_sample_cuda_compiled": "grid_sample",
        "cuda_on_host": "cuda_on_host",
        "cuda_on_host_gather": "cuda_on_host",
        "cuda_ptx": "cuda_ptx",
        "cuda_ptx_gather": "cuda_ptx",
    },
    "roi_align": {
        "roi_align": "package",
        "roi_align_cuda": "package",
        "cuda_on_host": "cuda_on_host",
        "cuda_ptx": "cuda_ptx",
        "reference": "reference",
        "torchvision": "torchvision",
        "torchvision_cuda": "torchvision",
        "onnxruntime": "onnxruntime",
    },
}
# Libraries that only the matrix of all libraries needs, not the suites or benchmarks. `make peers` installs them:
# beside torch, or in environments of their own (peers/environments.py).
PEERS: dict[OperatorName, dict[str, str]] = {
    "crop_and_resize": {
        "openvino": "peers.openvino",
        "mnn": "peers.mnn",
        "tvm": "peers.tvm",
        "mindspore": "peers.mindspore",
        "tfjs_cpu": "peers.tfjs",
        "tfjs_wasm": "peers.tfjs",
        "jax": "peers.jax",
    },
    "roi_align": {
        "openvino": "peers.openvino",
        "ncnn": "peers.ncnn",
        "mnn": "peers.mnn",
        "opencv": "peers.opencv",
        "onnx_reference": "peers.onnx_reference",
        "paddle": "peers.paddle",
        "tvm": "peers.tvm",
        "mindspore": "peers.mindspore",
        "mmcv": "peers.mmcv",
        "keras_hub": "peers.keras_hub",
        "jax": "peers.jax",
    },
}
ENTRY_POINTS = "roi_align.backends"
# The backends whose same_rule is False, listed so that it is known even if they are missing.
OTHER_RULE: dict[OperatorName, tuple[str, ...]] = {"crop_and_resize": ("torchvision", "torchvision_cuda")}
_registry: Makers = {}


def register(operator: OperatorName, name: str, make: Maker) -> None:
    """Registers a backend that is made elsewhere under a name, with priority over the tables."""
    _registry[operator, name] = make


def is_foreign(name: str) -> bool:
    """Whether this names a backend outside this project: "module:object", or an entry point."""
    return (":" in name and not name.startswith("fault:")) or name in _entry_points()


def is_a_peer(name: str) -> bool:
    """Whether this is a library of the matrix only: it runs in a process of its own, possibly in its own Python."""
    return any(name in table for table in PEERS.values())


def operators_of(name: str) -> tuple[OperatorName, ...]:
    """The operators of a backend of this project, () for an unknown name."""
    return tuple(
        each for each in BACKENDS if name in BACKENDS[each] or name in PEERS[each] or (each, name) in _registry
    )


def interpreter(name: str, operator: OperatorName) -> Path | None:
    """The Python that a backend's library is installed in, None for this one.

    MissingLibrary if its environment is missing.
    """
    return environments.interpreter(PEERS[operator].get(name, ""))


def load(name: str, operator: OperatorName = "crop_and_resize") -> Backend[Any]:
    """The backend of this name for an operator; this project's backends are cached.

    name: one of this project's backends, "module:object", or an entry point. ValueError if there is none,
    MissingLibrary if its library is not installed or its device is missing.
    """
    if is_foreign(name):
        from harness.backends import foreign

        return foreign.load(name, _entry_points().get(name, name))
    if (operator, name) in _registry:
        return _cached(_registry[operator, name], name)
    table = BACKENDS[operator] | PEERS[operator]
    if name not in table:
        raise ValueError(
            f"There is no backend {name!r} of {operator}; there are {', '.join(table)}, the planted faults as "
            f"fault:NAME, and yours as module:function or by an entry point of the group {ENTRY_POINTS!r}."
        )
    makers: Makers = load_module(name, f"{__name__}.{table[name]}").BACKENDS
    return _cached(makers[operator, name], name)


def load_module(name: str, module: str) -> Any:
    """Imports the module of a backend; MissingLibrary if it needs a library that is not installed.

    ModuleNotFoundError if the module itself, or a part of its own package, does not exist.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or module).partition(".")[0] == module.partition(".")[0]:
            raise
        raise MissingLibrary(
            f"Backend {name!r} needs the module {error.name!r}, which is not installed; {_installs(name)}."
        ) from error


def _installs(name: str) -> str:
    """How to install the library of a backend, as the end of a sentence."""
    if is_a_peer(name):
        return "`make peers` installs it and the other libraries of the matrix"
    return "`make env` installs all that this project's backends need"


@functools.cache
def _cached(make: Maker, name: str) -> Backend[Any]:
    return make(name)


def _entry_points() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
