"""Against the oracle: every output within its own bound, in every direction, under every box rule and dtype.

This is the check that needs no other library, and the only one that reaches float64, the gradients of half images, bad
boxes and pixel boxes.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, note, settings, target

from harness import strategies
from harness.case import BOX_RULES, DIRECTIONS, HALVES, SINGLE_AND_DOUBLE
from harness.judge import assert_no_side_effect, assert_passes

# The half types are asked for apart, so that they take no case from the others. Each gets half as many, of those in
# which something is rounded: geometry of every kind they share with float32 (test_metamorphic.py).
ROUNDED = {"empty": False, "finite_boxes": True, "values": ["normal", "wide", "ramp", "dyadic", "inf_pixel"]}
KINDS = {
    "single_and_double": ({"image_dtypes": SINGLE_AND_DOUBLE}, 1),
    **{half: ({"image_dtypes": [half], **ROUNDED}, 2) for half in HALVES},
}
of_each_kind = pytest.mark.parametrize(("kind", "share"), KINDS.values(), ids=KINDS)


@of_each_kind
@pytest.mark.parametrize("box_rule", BOX_RULES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_within_the_oracles_bound(backend, tally, direction, box_rule, kind, share):
    methods = ["bilinear", "nearest"] if box_rule == "normalized" else ["bilinear"]

    @settings(max_examples=max(25, settings().max_examples // share))
    @given(case=strategies.cases(box_rules=[box_rule], methods=methods, **kind))
    def holds(case):
        refusal = backend.refuses(case.inputs(), direction)
        if refusal:
            note(refusal)
            return
        verdict = assert_passes(backend=backend, case=case, direction=direction)
        target(verdict.fraction, label="fraction of the bound")
        tally.bound(f"{direction}, {box_rule} boxes, {case.image_dtype} images", verdict.fraction)

    holds()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_large_coordinates_leave_no_room_for_a_contracted_multiply_add(backend, tally, direction):
    """Where positions are large, one ulp of a position is many bounds of arithmetic: order A shows, or does not."""
    large = strategies.cases(
        longest_side=600,
        values=["normal"],
        layouts=["contiguous"],
        most_outputs=200,
        image_dtypes=SINGLE_AND_DOUBLE,
    )

    @given(case=large)
    def holds(case):
        inputs = case.inputs()
        if backend.refuses(inputs, direction):
            return
        # Most of a large image is out of reach of its few boxes: only the pixels that got something are looked at.
        reached = np.argwhere(backend.run(inputs, direction)).tolist() if direction == "grad_image" else None
        places = None if reached is None else [tuple(place) for place in reached]
        verdict = assert_passes(backend=backend, case=case, direction=direction, places=places)
        tally.bound(f"{direction}, sides up to 600", verdict.fraction)

    holds()


@of_each_kind
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_many_channels_are_within_the_oracles_bound(backend, tally, direction, kind, share):
    """As many channels as vectors and blocks of planes have, and a few more or fewer."""

    @settings(max_examples=max(25, settings().max_examples // (3 * share)))
    @given(case=strategies.cases(channels=(8, 9, 16, 23), longest_side=6, most_outputs=2000, **kind))
    def holds(case):
        if not backend.refuses(case.inputs(), direction):
            verdict = assert_passes(backend=backend, case=case, direction=direction)
            tally.bound(f"{direction}, many channels, {case.image_dtype} images", verdict.fraction)

    holds()


@pytest.mark.parametrize("direction", DIRECTIONS)
@settings(max_examples=max(25, settings().max_examples // 4))
@given(case=strategies.cases())
def test_calls_have_no_side_effect(backend, direction, case):
    if not backend.refuses(case.inputs(), direction):
        assert_no_side_effect(backend=backend, case=case, direction=direction)
