"""Every property of harness/properties, asked of the backend under test, in every direction that it declares.

What the backend's sheet does not declare is skipped and listed at the end of the run; what it declares has to hold.
"""

from __future__ import annotations

import pytest
from hypothesis import given, note, settings, target

from harness.judging.trial import failure
from harness.properties import all_properties

ROWS = [
    pytest.param(stated, direction, id=f"{stated.operator}-{stated.slug}-{direction}")
    for stated in all_properties()
    for direction in stated.directions
]
FEWEST = 10


@pytest.mark.parametrize(("stated", "direction"), ROWS)
def test_property(backend_of, tally, undeclared, stated, direction):
    backend = backend_of(stated.operator)
    undeclared(f"{stated.operator}, {stated.name}, {direction}", stated.undeclared(backend.sheet, direction))

    @settings(max_examples=max(FEWEST, settings().max_examples // stated.share))
    @given(case=stated.cases(backend.sheet))
    def holds(case):
        verdict = stated.holds(backend, case, direction)
        if verdict is None:
            note("it was not asked")
            return
        if not verdict.passed:
            of = "" if stated.is_oracles else stated.name
            raise AssertionError(failure(backend, case, direction, str(verdict), of))
        if verdict.compared:
            target(verdict.fraction, label="fraction of the bound")
            tally.bound(f"{stated.operator}, {direction}, {stated.name}", verdict.fraction)

    holds()
