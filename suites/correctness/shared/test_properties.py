"""Tests every property of harness/properties on the backend under test, in every direction that it declares.

Properties outside of the backend's sheet are skipped and listed at the end of the run; all others must hold.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

from harness.judging.trial import failure
from harness.operators import OPERATORS
from harness.properties import questions
from harness.properties.search import earlier_calls, search

ROWS = [
    pytest.param(property_, direction, id=f"{property_.operator}-{property_.slug}-{direction}")
    for property_, direction in questions(*OPERATORS)
]
FEWEST = 10
# A remark on a failure. True: a fresh process shows it only after earlier calls; None: not even after those.
REMARKS = {
    False: "",
    True: " (It depends on earlier calls: the line below asks for those too.)",
    None: " (It depends on earlier calls: a fresh process did not show it again, even after this property's own.)",
}


@pytest.mark.parametrize(("property_", "direction"), ROWS)
def test_property(backend_of, tally, undeclared, property_, direction):
    backend = backend_of(property_.operator)
    name = f"{property_.operator}, {property_.name}, {direction}"
    undeclared(name, property_.undeclared(backend.sheet, direction))
    examples = property_.examples(settings().max_examples, backend.sheet, FEWEST)
    finding = search(property_, backend, direction, settings(max_examples=examples))
    for _, verdict in finding.verdicts:
        if verdict.passed and verdict.compared:
            tally.bound(f"{property_.operator}, {direction}, {property_.name}", verdict.fraction)
    if finding.failure is not None:
        after = earlier_calls(finding, property_, backend, direction)
        message = f"{finding.failure.verdict}{finding.failure.remark}{REMARKS[after if after is None else bool(after)]}"
        of = "" if property_.is_oracles else property_.name
        raise AssertionError(failure(backend, finding.failure.case, direction, message, of, after or ()))
