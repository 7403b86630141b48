"""Against torchvision's golden vectors: what a machine without torchvision has in its place."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from harness.judging.trial import failure
from harness.operators.arrays import differing
from harness.operators.judgement import beyond_two_bounds
from harness.operators.roi_align import golden_cases as roi_golden


@pytest.fixture(scope="module")
def stored() -> roi_golden.RoiGolden:
    return roi_golden.read()


@pytest.mark.parametrize("direction", roi_golden.DIRECTIONS)
def test_results_are_those_of_the_golden_vectors(backend, stored, tally, direction):
    assert len(stored.vectors) >= 300
    for vector in stored.vectors:
        inputs, want = vector.case.inputs(), vector.results[direction]
        if backend.refuses(inputs, direction):
            continue
        got = backend.run(inputs, direction)
        apart = beyond_two_bounds(inputs, direction, got, want, pinned=direction in backend.sheet.pinned)
        what = f"roi_align, {direction} against torchvision {stored.torchvision}'s golden vectors"
        tally.bits(what, got.size, int(differing(got, want).sum()))
        assert apart is None, failure(backend, vector.case, direction, apart)


@pytest.mark.parametrize("direction", roi_golden.DIRECTIONS)
def test_a_corrupted_vector_is_found(backend, stored, direction):
    """By a thousandth of its largest value."""
    vector = next(each for each in stored.vectors if np.abs(each.results[direction]).max(initial=0) > 0.5)
    inputs = vector.case.inputs()
    if backend.refuses(inputs, direction):
        pytest.skip("it is not asked for this")
    wrong = vector.results[direction].copy()
    wrong.flat[np.argmax(np.abs(wrong))] *= 1.001
    pinned = direction in backend.sheet.pinned
    got = backend.run(inputs, direction)
    assert beyond_two_bounds(inputs, direction, got, wrong, pinned=pinned) is not None
    assert beyond_two_bounds(inputs, direction, got, vector.results[direction], pinned=pinned) is None


def test_the_same_vectors_are_the_same_bytes(stored, tmp_path):
    roi_golden.write(stored, tmp_path / "again.npz")
    again = roi_golden.read(tmp_path / "again.npz")
    roi_golden.write(dataclasses.replace(again), tmp_path / "twice.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "twice.npz").read_bytes()
    with pytest.raises(ValueError, match="There are no golden vectors at"):
        roi_golden.read(tmp_path / "none.npz")
