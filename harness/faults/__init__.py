"""Mutation tests of the judge: planted faults, each of which some check must find.

fault.py      a fault of a step-by-step reference
reference/    the faults of that kind
package/      faults in the package's own sources, read from texts; first_failure is a pytest plugin for their tests

Importing this module registers the references' faults with harness.backends, as backends named "fault:NAME".
harness/conformance/kills.py determines which check finds which fault.
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
    """harness.backends.load, with the planted faults registered: importing this function registers them in any
    process."""
    return backends.load(name, operator)
