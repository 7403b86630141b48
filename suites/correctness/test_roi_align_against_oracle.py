"""roi_align against its oracle: every output within its own bound, in every direction, mode, dtype and layout."""

from __future__ import annotations

import pytest
from hypothesis import given, note, settings, target
from hypothesis import strategies as st

from harness.case import DIRECTIONS, HALVES, SINGLE_AND_DOUBLE
from harness.roi_case import MODES
from harness.roi_judge import assert_passes, failure, side_effect
from harness.roi_strategies import SMOOTH_FAMILIES, roi_cases

ROUNDED = {"empty": False, "values": ["normal", "wide", "ramp", "dyadic", "inf_pixel"]}
KINDS = {
    "single_and_double": ({"image_dtypes": [*SINGLE_AND_DOUBLE, "uint8", "int16"]}, 1),
    # The case in which nothing but the operator itself decides, and which every peer takes.
    "single": ({"image_dtypes": ["float32"], "boxes_dtypes": ["float32"], "values": ["normal"], "empty": False}, 1),
    **{half: ({"image_dtypes": [half], **ROUNDED}, 2) for half in HALVES},
}
BANDS = ["lower_band", "upper_band", "border", "on_pixel", "whole_bins"]


def _holds(backend, tally, direction, what, case) -> None:
    refusal = backend.refuses(case.inputs(), direction)
    if refusal:
        note(refusal)
        return
    verdict = assert_passes(backend=backend, case=case, direction=direction)
    target(verdict.fraction, label="fraction of the bound")
    tally.bound(f"roi_align, {direction}, {what}", verdict.fraction)


@pytest.mark.parametrize(("kind", "share"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_within_the_oracles_bound(roi_backend, tally, direction, mode, kind, share):
    @settings(max_examples=max(25, settings().max_examples // share))
    @given(case=roi_cases(modes=[mode], **kind))
    def holds(case):
        _holds(roi_backend, tally, direction, f"{mode}, {case.image_dtype}", case)

    holds()


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("direction", DIRECTIONS)
@settings(max_examples=max(100, settings().max_examples))
@given(data=st.data())
def test_where_the_rule_jumps(roi_backend, tally, direction, aligned, data):
    """In the bands beside the map, on their ends, and at whole sizes of an adaptive grid."""
    strategy = roi_cases(aligned=[aligned], box_families=BANDS, image_dtypes=SINGLE_AND_DOUBLE, values=["normal"])
    _holds(roi_backend, tally, direction, "where the rule jumps", data.draw(strategy))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_many_channels(roi_backend, tally, direction, mode):
    """As many channels as vectors and blocks have, and a few more or fewer, in both layouts."""

    @settings(max_examples=max(25, settings().max_examples // 3))
    @given(
        case=roi_cases(
            modes=[mode],
            channels=(8, 15, 16, 19, 33, 70),
            longest_side=8,
            most_outputs=700,
            box_families=SMOOTH_FAMILIES,
        )
    )
    def holds(case):
        _holds(roi_backend, tally, direction, f"{mode}, many channels", case)

    holds()


@pytest.mark.parametrize("direction", DIRECTIONS)
@settings(max_examples=max(25, settings().max_examples // 4))
@given(case=roi_cases())
def test_calls_have_no_side_effect(roi_backend, direction, case):
    if not roi_backend.refuses(case.inputs(), direction):
        effect = side_effect(roi_backend, case, direction)
        assert effect is None, failure(roi_backend, case, direction, effect)
