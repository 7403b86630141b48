"""The implementations under test, one small file each, loaded only when asked for.

A backend is a plain record of functions. BACKENDS below names its module, which imports its own library and nobody
else's, and the object in it: `backend`, unless another one is named after a colon. A library or a device that is
missing makes `load` raise MissingLibrary, which the suites turn into a skip with that reason.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.case import Array, Direction, Inputs

BACKENDS = {
    "roi_align": "harness.backends.roi_align_cpu",
    "reference": "harness.backends.reference",
    "tensorflow": "harness.backends.tensorflow_cpu",
    "grid_sample": "harness.backends.grid_sample",
    "torchvision": "harness.backends.torchvision_cpu",
    "roi_align_cuda": "harness.backends.roi_align_cuda",
    "roi_align_cuda_deterministic": "harness.backends.roi_align_cuda:deterministic",
    "torchvision_cuda": "harness.backends.torchvision_cuda",
    "grid_sample_cuda": "harness.backends.grid_sample_cuda",
    "grid_sample_cuda_compiled": "harness.backends.grid_sample_cuda:compiled",
    "cuda_on_host": "harness.backends.cuda_on_host:backend",
    "cuda_on_host_gather": "harness.backends.cuda_on_host:gather",
}


class MissingLibrary(Exception):
    """What a backend stands for, a library or a device, is not here; the message says which and how to get it."""


@dataclass(frozen=True)
class Backend:
    """One implementation.

    title       what tables call it, library and version, e.g. "TensorFlow 2.21.0 (CPU)".
    refuses     why this backend cannot be asked for a direction of these inputs, or None if it can.
    prepare     copies the inputs to where and how the library wants them and returns the call to be judged or timed.
    to_numpy    what that call returned, as an NCHW array (boxes: (M,4)), copied to the host.
    order_a     the directions whose sample positions it rounds in order A: there the judge excuses no ambiguity.
    same_rule   False if it computes another rule than crop_and_resize's and may only be timed, for scale.
    tensorflow_bits  the directions whose results are TensorFlow's in every bit, for float32 images and boxes.
    layout_order     the directions that are summed in another order in another layout or image dtype: there these agree
                     within bounds and not in every bit.
    unordered        the directions that are summed in no fixed order: the same call may give other bits each time.
    """

    name: str
    title: str
    refuses: Callable[[Inputs, Direction], str | None]
    prepare: Callable[[Inputs, Direction], Callable[[], Any]]
    to_numpy: Callable[[Any], Array]
    order_a: frozenset[Direction] = frozenset()
    same_rule: bool = True
    tensorflow_bits: frozenset[Direction] = frozenset()
    layout_order: frozenset[Direction] = frozenset()
    unordered: frozenset[Direction] = frozenset()

    def run(self, inputs: Inputs, direction: Direction) -> Array:
        """One direction of one call, as NumPy."""
        return self.to_numpy(self.prepare(inputs, direction)())


def load(name: str) -> Backend:
    """The backend of that name, "fault:NAME" for a planted fault.

    ValueError if there is none, MissingLibrary if its library is not installed.
    """
    if name.startswith("fault:"):
        # Imported here: the faults are made of a backend.
        from harness.mutants import FAULTS

        planted = {fault.backend.name: fault.backend for fault in FAULTS}
        if name in planted:
            return planted[name]
    if name not in BACKENDS:
        raise ValueError(
            f"There is no backend {name!r}; there are {', '.join(BACKENDS)}, and the planted faults of "
            "harness/mutants.py as fault:NAME."
        )
    backend: Backend = imported(name, BACKENDS[name])
    return backend


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
