"""roi_align against torchvision, whose rule it is: thousands of cases for each setting, and how many values differ.

Positions are rounded in the same order, so both take the same branch wherever the rule jumps, and nothing is left out.
Sums are made in another order, so values may differ in their last bits: as far as two right results may, no further.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, settings

from harness.agreement import differing
from harness.roi_agreement import beyond_two_bounds
from harness.roi_judge import failure
from harness.roi_strategies import roi_cases

CASES = {
    "image_dtypes": ["float32", "float32", "float64"],
    "same_dtype": True,
    "modes": ["avg"],
    "values": ["normal", "normal", "wide", "ramp", "dyadic"],
    "box_families": [
        "interior", "lower_band", "upper_band", "border", "on_pixel", "whole_bins", "tiny", "inverted", "zero_size",
        "covering", "outside",
    ],
}  # fmt: skip
SETTINGS = {
    f"{'aligned' if aligned else 'legacy'}, {name}": {"aligned": [aligned], "ratios": ratios}
    for aligned in (False, True)
    for name, ratios in (("sampling_ratio 1 to 3", [2, 1, 3]), ("adaptive", [0, -1]))
}
# torchvision raises for half of the aligned, adaptive boxes that are inverted: those are drawn again.
MANY = settings(max_examples=max(5000, settings().max_examples), suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("setting", SETTINGS)
def test_results_are_torchvisions(roi_backend, torchvision, tally, setting):
    if roi_backend.name == "torchvision":
        pytest.skip("it is torchvision itself")

    @MANY
    @given(case=roi_cases(**CASES, **SETTINGS[setting]))
    def holds(case):
        inputs = case.inputs()
        for direction in ("forward", "grad_image"):
            assume(not roi_backend.refuses(inputs, direction) and not torchvision.refuses(inputs, direction))
            got, want = roi_backend.run(inputs, direction), torchvision.run(inputs, direction)
            pinned = direction in roi_backend.pinned
            apart = beyond_two_bounds(case.inputs(), direction, got, want, pinned=pinned)
            tally.bits(
                f"roi_align, {direction} against torchvision, {setting}", got.size, int(differing(got, want).sum())
            )
            assert apart is None, failure(roi_backend, case, direction, f"{apart} The other is torchvision's.")

    holds()
