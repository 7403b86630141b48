"""Results of all sizes are correct: halves are float32 results rounded once, and box gradients are within the oracle's
bound.

Each operator's own folder compares them with a peer, or with exact arithmetic.
"""

from dataclasses import replace

import numpy as np
import pytest

from harness.judging.sample import judge_sample
from harness.judging.trial import run
from harness.operators.arrays import HALVES, differing
from harness.operators.judgement import judge
from suites.correctness import sizes


@sizes.of("crop_and_resize", "roi_align")
@pytest.mark.parametrize("half", HALVES)
def test_halves_of_all_sizes_are_float32_rounded_once(backend, tally, operator, size, half):
    sizes.skip_if_long(backend, size.rows)
    wide = sizes.inputs_of(operator, size)
    inputs = replace(wide, image=wide.image.astype(half), upstream=wide.upstream.astype(half))
    wide = replace(wide, image=inputs.image.astype(np.float32), upstream=inputs.upstream.astype(np.float32))
    for direction in ("forward", "grad_image"):
        if backend.refuses(inputs, direction) or backend.refuses(wide, direction):
            continue
        result = backend.run(inputs, direction)
        if direction in backend.sheet.unordered or direction not in backend.sheet.layout_bits:
            verdict = judge_sample(inputs, direction, result, pinned=direction in backend.sheet.pinned)
            assert verdict.passed, str(verdict)
            continue
        different = int(differing(result, backend.run(wide, direction).astype(half)).sum())
        tally.bits(f"{operator}, {direction} of {half} images against that of float32, large", result.size, different)
        assert different == 0, direction


@sizes.of("crop_and_resize", "roi_align")
def test_box_gradients_of_all_sizes_are_within_the_oracles_bound(backend, tally, operator, size):
    sizes.skip_if_long(backend, size.rows)
    inputs = sizes.inputs_of(operator, size)
    if backend.refuses(inputs, "grad_boxes"):
        pytest.skip(str(backend.refuses(inputs, "grad_boxes")))
    columns = range(inputs.boxes.shape[1])[-4:]
    places = [(row, column) for row in sorted({0, size.rows // 2, size.rows - 1}) for column in columns]
    pinned = "grad_boxes" in backend.sheet.pinned
    verdict = judge(inputs, "grad_boxes", run(backend, inputs, "grad_boxes"), pinned=pinned, places=places)
    assert verdict.passed, str(verdict)
    tally.bound(f"{operator}, grad_boxes, large", verdict.fraction)
