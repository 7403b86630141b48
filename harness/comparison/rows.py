"""What a comparison times: this project's operators on named workloads, each result judged before it has a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from harness.backends import load
from harness.measuring import gate
from harness.measuring.roi_workloads import RATIOS, roi_inputs
from harness.measuring.workloads import WORKLOADS, Layout, Workload
from harness.operators.arrays import DIRECTIONS, Array, Direction
from harness.operators.implementation import Backend
from harness.operators.judgement import judge
from harness.operators.sheet import OperatorName

BACKEND = "roi_align"
# The quick ones; but real input is made by skimage or a network, which each of many processes would do again.
USUAL = tuple(workload.name for workload in WORKLOADS if workload.quick and not workload.real)
_LAYOUTS: tuple[Layout, ...] = ("contiguous", "channels_last")
_OPERATORS: tuple[OperatorName, ...] = ("crop_and_resize", "roi_align")
_RATIO = RATIOS["sampling_ratio 2"]
# Of roi_align's outputs, so many go to its oracle: it is plain Python, and a pixel's gradient looks at every box.
_PLACES = {"forward": 48, "grad_image": 6, "grad_boxes": 1}


@dataclass(frozen=True)
class Row:
    """One line of a comparison."""

    operator: OperatorName
    workload: str
    direction: Direction
    layout: Layout

    def __str__(self) -> str:
        return f"{self.operator} {self.workload} {self.direction} {self.layout}"


def rows(workloads: Iterable[str]) -> list[Row]:
    """All rows of these workloads, those of one workload and layout together; ValueError for a name that none has."""
    made: list[Row] = []
    for name in workloads:
        _workload(name)
        made += [
            Row(of, name, direction, layout) for layout, of, direction in product(_LAYOUTS, _OPERATORS, DIRECTIONS)
        ]
    return made


def prepared(row: Row) -> tuple[Backend[Any], Any, Callable[[], Any]]:
    """The backend, its inputs and the call to be judged and timed."""
    backend, workload = load(BACKEND, row.operator), _workload(row.workload)
    pools = row.operator == "roi_align"
    inputs: Any = roi_inputs(workload, _RATIO, row.layout) if pools else workload.inputs(row.layout)
    return backend, inputs, backend.prepare(inputs, row.direction)


def judged(row: Row, backend: Backend[Any], inputs: Any, got: Array) -> str:
    """What the oracle has against a result, "" if nothing: a sample of its places, as in the benchmarks."""
    if row.operator == "crop_and_resize":
        found = gate.check(backend, inputs, row.direction, got, lambda: None)
        return "" if found.passed else found.message
    flat = np.random.default_rng(0).integers(0, got.size, _PLACES[row.direction])
    places = [tuple(int(axis) for axis in np.unravel_index(place, got.shape)) for place in flat]
    pinned = row.direction in backend.sheet.pinned
    verdict = judge(inputs, row.direction, got, pinned=pinned, places=places)
    return "" if verdict.passed else str(verdict)


def _workload(name: str) -> Workload:
    found = next((workload for workload in WORKLOADS if workload.name == name), None)
    if found is None:
        raise ValueError(f"There is no workload {name!r}; there are {', '.join(each.name for each in WORKLOADS)}.")
    return found
