"""Compares roi_align with torchvision, which has the same rule, on thousands of cases for each setting; counts
differing values.

Both round positions in the same order, so they take the same branch at every jump of the rule, and no case is excluded.
Their sums have another order, so values may differ in their last bits, within the bound for two correct results.
Drawing boxes takes longer than pooling them, so each case runs in every setting.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from harness.backends import is_foreign
from harness.judging.trial import failure
from harness.operators import operator_of, within
from harness.operators.arrays import differing
from harness.operators.drawing import UndeclaredError, exact
from harness.operators.judgement import beyond_two_bounds
from harness.operators.roi_align.case import RoiCase, Row
from harness.operators.verdict import Crash, Hang

CASES = {
    "image_dtypes": ["float32", "float32", "float64"],
    "modes": ["avg"],
    "ratios": [2, 1, 3],
    "values": ["normal", "normal", "wide", "ramp", "dyadic"],
    "box_families": [
        "interior", "lower_band", "upper_band", "border", "on_pixel", "whole_bins", "tiny", "inverted", "zero_size",
        "covering", "outside",
    ],
}  # fmt: skip
# Cases are drawn in one setting and transformed into the others.
TORCHVISIONS = {"same_dtype": True, "grids": ("fixed",), "aligned": (False, True)}
GRIDS = {False: "fixed", True: "adaptive"}
SETTINGS = {
    f"{'aligned' if aligned else 'legacy'}, {name}": (aligned, adaptive)
    for aligned in (False, True)
    for name, adaptive in (("sampling_ratio 1 to 3", False), ("adaptive", True))
}


def in_setting(case: RoiCase, aligned: bool, adaptive: bool) -> RoiCase:
    """The case with the same samples in another setting: boxes move by the half pixel of `aligned`.

    torchvision raises for an aligned, adaptive box that is inverted on one axis only, so such a box is turned round.
    """
    half = 0.5 * (aligned - case.aligned) / case.spatial_scale
    boxes = case.boxes
    if half:
        boxes = tuple((row[0], *(exact(edge + half, case.boxes_dtype) for edge in row[1:])) for row in boxes)
    if aligned and adaptive:
        boxes = tuple(_turned_round(row) for row in boxes)
    ratio = -(case.seed % 2) if adaptive else case.sampling_ratio
    return replace(case, boxes=boxes, aligned=aligned, sampling_ratio=ratio)


def _turned_round(row: Row) -> Row:
    index, x1, y1, x2, y2 = row
    if (x2 - x1) * (y2 - y1) >= 0:
        return row
    return index, min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


class ProcessEnded(BaseException):
    """A call crashed or hung. Not an Exception, so that Hypothesis does not retry it."""


def run_or_end(run, inputs, direction):
    try:
        return run(inputs, direction)
    except (Crash, Hang) as error:
        raise ProcessEnded(f"{operator_of(inputs).name}, {direction}: {error}") from None


def test_results_agree_with_torchvision(backend, torchvision, tally, undeclared):
    if backend.name == "torchvision":
        pytest.skip("it is torchvision itself")
    sheet = backend.sheet
    declared = [
        (setting, aligned, adaptive, direction)
        for setting, (aligned, adaptive) in SETTINGS.items()
        for direction in ("forward", "grad_image")
        if aligned in sheet.aligned and GRIDS[adaptive] in sheet.grids and direction in sheet.directions
    ]
    try:
        cases = within(replace(sheet, **TORCHVISIONS), finite_boxes=True, **CASES)
    except UndeclaredError as reason:
        undeclared("roi_align against torchvision", str(reason))
    if not declared:
        undeclared("roi_align against torchvision", "neither a grid nor a direction of torchvision's is declared")
    counts: Counter[str] = Counter()
    # Thousands for this project's backends; for a foreign function, in another process, as many as for a property.
    many = settings().max_examples if is_foreign(backend.name) else max(5000, settings().max_examples)

    @settings(max_examples=many, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def holds(case):
        for setting, aligned, adaptive, direction in declared:
            variant = in_setting(case, aligned, adaptive)
            inputs = variant.inputs()
            if torchvision.refuses(inputs, direction):
                continue
            counts[f"{setting}, {direction}"] += 1
            if backend.refuses(inputs, direction):
                continue
            result, expected = run_or_end(backend.run, inputs, direction), torchvision.run(inputs, direction)
            pinned = direction in backend.sheet.pinned
            apart = beyond_two_bounds(inputs, direction, result, expected, pinned=pinned)
            name = f"roi_align, {direction} against torchvision, {setting}"
            tally.bits(name, result.size, int(differing(result, expected).sum()))
            assert apart is None, failure(backend, variant, direction, f"{apart} The other is torchvision's.")

    try:
        holds()
    except ProcessEnded as end:
        pytest.fail(str(end))
    assert len(counts) == len(declared)
    assert min(counts.values()) >= 0.99 * many, "torchvision was not asked often enough"
