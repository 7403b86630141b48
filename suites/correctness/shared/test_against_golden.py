"""Against the golden vectors of TensorFlow and torchvision: what a machine without them has in their place.

A few hundred cases of every kind, from a file: the same comparison as with the library itself, and many fewer of them.
"""

from __future__ import annotations

import numpy as np
import pytest

from harness.judging import golden
from harness.judging.trial import failure
from harness.operators import OPERATORS
from harness.operators.arrays import differing
from harness.operators.judgement import unlike_peer

FIXTURES = {"crop_and_resize": "backend", "roi_align": "roi_backend"}
ROWS = [(operator, direction) for operator in OPERATORS for direction in OPERATORS[operator].peer.directions]
each_row = pytest.mark.parametrize(("operator", "direction"), ROWS, ids=["-".join(row) for row in ROWS])


@pytest.fixture
def judged(request, operator):
    return request.getfixturevalue(FIXTURES[operator])


@each_row
def test_results_are_those_of_the_golden_vectors(operator, judged, tally, direction):
    stored = golden.read(operator)
    what = f"{operator}, {direction} against {stored.peer}'s golden vectors"
    if direction not in judged.sheet.tensorflow_bits:
        what += ", by bounds"
    for vector in stored.vectors:
        inputs, theirs = vector.inputs(), vector.results[direction]
        if judged.refuses(inputs, direction):
            continue
        got = judged.run(inputs, direction)
        unlike = unlike_peer(judged.sheet, inputs, direction, got, theirs)
        if got.shape == theirs.shape:
            tally.bits(what, got.size, int(differing(got, theirs).sum()))
        assert unlike is None, failure(judged, vector.case, direction, unlike)


@each_row
def test_a_corrupted_vector_is_found(operator, judged, direction):
    """By a thousandth of its largest value."""
    vectors = golden.read(operator).vectors
    vector = next(
        each
        for each in vectors
        if each.case.values == "normal" and np.abs(each.results[direction]).max(initial=0) > 0.5
    )
    if judged.refuses(vector.inputs(), direction):
        pytest.skip("it is not asked for this")
    corrupt = vector.results[direction].copy()
    corrupt.flat[np.argmax(np.abs(corrupt))] *= 1.001
    got = judged.run(vector.inputs(), direction)
    assert unlike_peer(judged.sheet, vector.inputs(), direction, got, corrupt) is not None
    assert unlike_peer(judged.sheet, vector.inputs(), direction, got, vector.results[direction]) is None
