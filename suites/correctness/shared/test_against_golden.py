"""Against TensorFlow's golden vectors: what a machine without TensorFlow has in its place.

A few hundred cases of every kind, from a file: the same comparison as with the library itself, and many fewer of them.
"""

from __future__ import annotations

import pytest

from harness.judging import golden
from harness.judging.trial import failure
from harness.operators.arrays import DIRECTIONS, differing
from harness.operators.judgement import unlike_tensorflow


@pytest.fixture(scope="module")
def stored() -> golden.Golden:
    return golden.read()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_results_are_those_of_the_golden_vectors(backend, stored, tally, direction):
    what = f"{direction} against TensorFlow {stored.tensorflow}'s golden vectors"
    if direction not in backend.sheet.tensorflow_bits:
        what += ", by bounds"
    for vector in stored.vectors:
        inputs, want = vector.inputs(), vector.results[direction]
        if backend.refuses(inputs, direction):
            continue
        got = backend.run(inputs, direction)
        unlike = unlike_tensorflow(backend.sheet, inputs, direction, got, want)
        if got.shape == want.shape:
            tally.bits(what, got.size, int(differing(got, want).sum()))
        assert unlike is None, failure(backend, vector.case, direction, unlike)
