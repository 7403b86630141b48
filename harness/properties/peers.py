"""Properties against golden vectors of TensorFlow and torchvision: by bits if a sheet promises them, else by bounds.

The vectors are in suites/golden, so a machine without TensorFlow or torchvision compares too (judging/golden.py).
"""

from __future__ import annotations

import functools
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from harness.judging import golden
from harness.operators import OPERATORS, AnyCase, operator_of
from harness.operators.arrays import Direction
from harness.operators.drawing import UndeclaredError
from harness.operators.implementation import Backend, lacks
from harness.operators.judgement import unlike_peer
from harness.operators.sheet import OperatorName, Sheet
from harness.properties import NotAskedError, Property, ask, for_both, relation


@functools.cache
def _vectors(operator: OperatorName) -> dict[AnyCase, golden.Vector]:
    return {vector.case: vector for vector in golden.read(operator).vectors}


def matches_stored_results(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    """Compares a result with the golden vector of its case; NotAskedError if there is none."""
    vector = _vectors(operator_of(case).name).get(case)
    if vector is None:
        raise NotAskedError("no results are stored for this case")
    result = ask(backend, vector.inputs(), direction)
    return unlike_peer(backend.sheet, vector.inputs(), direction, result, vector.results[direction])


def _stored_cases(sheet: Sheet) -> SearchStrategy[Any]:
    """The stored cases that the sheet allows."""
    cases = [case for case in _vectors(sheet.operator) if lacks(sheet, case.inputs(), "forward") is None]
    if not cases:
        raise UndeclaredError("none of the stored cases is declared")
    return st.sampled_from(cases)


def _stored_results(operator: OperatorName) -> Property:
    peer = OPERATORS[operator].peer
    return Property(
        f"as {peer.title}'s stored results",
        f"every bit is {peer.title}'s in the directions of which the sheet promises it; else within two bounds",
        operator,
        peer.directions,
        _stored_cases,
        relation(matches_stored_results),
    )


PROPERTIES = for_both(_stored_results)
