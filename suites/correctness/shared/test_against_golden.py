"""Results agree with golden vectors of TensorFlow and torchvision, on machines without these libraries too.

A few hundred cases of every kind from a file: the same comparison as with the library itself, with fewer cases.
"""

import numpy as np
import pytest

from harness.judging import golden
from harness.judging.trial import failure
from harness.operators import OPERATORS
from harness.operators.arrays import differing
from harness.operators.judgement import unlike_peer

ROWS = [(operator, direction) for operator in OPERATORS for direction in OPERATORS[operator].peer.directions]
each_row = pytest.mark.parametrize(("operator", "direction"), ROWS, ids=["-".join(row) for row in ROWS])


@each_row
def test_results_agree_with_the_golden_vectors(backend, operator, tally, direction):
    file = golden.read(operator)
    name = f"{operator}, {direction} against {file.peer}'s golden vectors"
    if direction not in backend.sheet.tensorflow_bits:
        name += ", by bounds"
    for vector in file.vectors:
        inputs, theirs = vector.inputs(), vector.results[direction]
        if backend.refuses(inputs, direction):
            continue
        result = backend.run(inputs, direction)
        unlike = unlike_peer(backend.sheet, inputs, direction, result, theirs)
        if result.shape == theirs.shape:
            tally.bits(name, result.size, int(differing(result, theirs).sum()))
        assert unlike is None, failure(backend, vector.case, direction, unlike)


@each_row
def test_a_corrupted_vector_fails(backend, operator, direction):
    """The corruption is a thousandth of the largest value."""
    normal = (each for each in golden.read(operator).vectors if each.case.values == "normal")
    vector = next(each for each in normal if np.abs(each.results[direction]).max(initial=0) > 0.5)
    if backend.refuses(vector.inputs(), direction):
        pytest.skip("it is not asked for this")
    corrupt = vector.results[direction].copy()
    corrupt.flat[np.argmax(np.abs(corrupt))] *= 1.001
    result = backend.run(vector.inputs(), direction)
    assert unlike_peer(backend.sheet, vector.inputs(), direction, result, corrupt) is not None
    assert unlike_peer(backend.sheet, vector.inputs(), direction, result, vector.results[direction]) is None
