"""Planted faults in box gradients and maxima of roi_align, judged without the promise of the pinned order of rounding:
the tolerance hides only faults that are another order, or a side of a jump.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.conformance import kills
from harness.faults import FAULTS
from harness.faults.fault import ROI_ALIGN, Fault
from harness.faults.reference import memory

TURNS = 4
# Only an order of rounding, or a choice at a jump of the rule, which a correct order may make too.
ALLOWED = {
    "roi_size_scaled_late": "rounds the size of a box in another order",
    "roi_share_first": "rounds positions in another order",
    "roi_one_sample_more": "has another grid where a bin is a whole number of pixels, and nowhere else",
    "roi_open_lower_end": "takes a sample at -1 itself as beyond the map, and no other",
    "roi_open_upper_end": "takes a sample at L itself as beyond the map, and no other",
    "roi_cast_neighbour_read": "reads a pixel whose weight another order may find a little above 0",
}
# Independent of the order: these faults are not arithmetic.
MEMORY = {fault.name for fault in memory.of_both(ROI_ALIGN)}
FAULTS_TO_FIND = [fault for fault in FAULTS if fault.operator == "roi_align" and fault.name not in {*ALLOWED, *MEMORY}]


def without_pinned(fault: Fault) -> Fault:
    """The fault without the promise of an order."""
    return replace(fault, backend=replace(fault.backend, sheet=replace(fault.backend.sheet, pinned=())))


@pytest.mark.parametrize("fault", FAULTS_TO_FIND, ids=[fault.name for fault in FAULTS_TO_FIND])
def test_a_fault_is_killed_without_the_pinned_order(fault: Fault) -> None:
    other = without_pinned(fault)
    for showing in kills.showings(other):
        if showing.direction == "grad_boxes" or showing.sheet.modes == ("max",):
            checks = [check for check in showing.checks() if check.is_oracles]
            attempts = (kills.attempt(other, showing, check, turn) for turn in range(TURNS) for check in checks)
            assert any(each.outcome == "killed" for each in attempts), (fault.name, fault.why, showing.name)
