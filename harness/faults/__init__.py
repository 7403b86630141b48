"""The judge itself on trial: faults planted on purpose, each of which some check has to find.

fault.py      what a fault of a step-by-step reference is
reference/    those that are planted so
package/      the package built with a fault of its own sources, read from texts; first_failure is the plugin that runs
              in it

Importing this module registers those of the references with harness.backends: "fault:NAME" is then a backend's name.
Which check finds which fault is told by harness/conformance/kills.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from harness import backends
from harness.faults.fault import Fault
from harness.faults.reference import crop_and_resize, roi_align
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName

FAULTS: tuple[Fault, ...] = (*crop_and_resize.FAULTS, *roi_align.FAULTS)


def _backend(fault: Fault, name: str) -> Backend[Any]:
    return fault.backend


for _each in FAULTS:
    backends.register(_each.operator, _each.backend.name, partial(_backend, _each))


def load(name: str, operator: OperatorName = "crop_and_resize") -> Backend[Any]:
    """As harness.backends.load, which knows the planted faults in every process that has this function."""
    return backends.load(name, operator)
