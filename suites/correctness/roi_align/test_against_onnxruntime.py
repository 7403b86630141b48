"""Compares with ONNX Runtime's RoiAlign: its mean is this rule in another order of rounding; its maximum is of weighted
pixels.

The oracle judges it, with the tolerance for another order; unambiguous values are compared with ours.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from harness import backends
from harness.judging.trial import failure, judge_case, run
from harness.operators.implementation import Backend
from harness.operators.judgement import beyond_two_bounds, judge
from harness.operators.roi_align import reference as rule
from harness.operators.roi_align.case import RoiCase
from harness.operators.roi_align.strategy import roi_cases
from harness.operators.verdict import Status
from suites.missing import skip_if_missing

CASES = {
    "image_dtypes": ["float32", "float64"],
    "same_dtype": True,
    "values": ["normal", "ramp", "dyadic"],
    "box_families": ["interior", "lower_band", "upper_band", "border", "on_pixel", "whole_bins", "tiny", "covering"],
    "empty": (),
    "extent": "positive where adaptive",  # it counts the samples of an inverted box below 0: the matrix shows it
}


@pytest.fixture(scope="module")
def onnxruntime() -> Backend:
    with skip_if_missing():
        return backends.load("onnxruntime", "roi_align")


@settings(max_examples=max(400, settings().max_examples), suppress_health_check=list(HealthCheck))
@given(case=roi_cases(**CASES, modes=["avg"]))
def test_onnxruntimes_mean_follows_this_rule(backend, onnxruntime, tally, case):
    inputs = case.inputs()
    assume(not onnxruntime.refuses(inputs, "forward") and not backend.refuses(inputs, "forward"))
    theirs = run(onnxruntime, inputs, "forward")
    verdict = judge(case.inputs(), "forward", theirs, pinned=False)
    assert verdict.passed, failure(onnxruntime, case, "forward", str(verdict))
    tally.bound("ONNX Runtime's mean, another order of rounding", verdict.fraction)
    apart = beyond_two_bounds(inputs, "forward", backend.run(inputs, "forward"), theirs, pinned=False)
    assert apart is None, failure(backend, case, "forward", apart)


@settings(max_examples=max(400, settings().max_examples), suppress_health_check=list(HealthCheck))
@given(case=roi_cases(**CASES, modes=["weighted_max"]))
def test_onnxruntimes_maximum_is_of_weighted_pixels(onnxruntime, tally, case):
    assume(not onnxruntime.refuses(case.inputs(), "forward"))
    verdict = judge_case(onnxruntime, case, "forward")
    assert verdict.passed, failure(onnxruntime, case, "forward", str(verdict))
    tally.bound("ONNX Runtime's maximum, another order of rounding", verdict.fraction)


def _largest_tap(inputs) -> np.ndarray:
    """ONNX Runtime's maximum: the largest product of weight and pixel, over the taps of all samples."""
    pooled = np.zeros((len(inputs.boxes), inputs.image.shape[1], *inputs.output_size))
    maps = inputs.image.astype(np.float64)
    for box in rule.boxes_of(rule.STEPS, inputs):
        planes = maps[box.image]
        for i, j in np.ndindex(*inputs.output_size):
            taps = []
            for sample in rule.samples_of(box, i, j, np.float64):
                if sample is None:
                    taps.append(np.zeros(len(planes)))
                    continue
                _, (top, bottom, ly), _, (left, right, lx) = sample
                taps += [(1 - ly) * (1 - lx) * planes[:, top, left], (1 - ly) * lx * planes[:, top, right]]
                taps += [ly * (1 - lx) * planes[:, bottom, left], ly * lx * planes[:, bottom, right]]
            pooled[box.row, :, i, j] = np.max(taps, axis=0)
    return pooled


def test_onnxruntimes_maximum_is_over_weighted_pixels_and_ours_over_samples(backend, onnxruntime):
    """On a map of ones the largest sample is 1, and the largest weight of a pixel is not."""
    case = RoiCase((1, 2, 9, 11), ((0, 1.3, 0.9, 7.2, 6.4),), (3, 2), sampling_ratio=2, mode="max", seed=3)
    inputs = case.inputs()
    weighted = replace(inputs, mode="weighted_max")
    theirs, ours = onnxruntime.run(weighted, "forward"), backend.run(inputs, "forward")
    assert judge(weighted, "forward", theirs, pinned=False).passed
    assert judge(weighted, "forward", ours, pinned=False).status is Status.OUT
    assert judge(inputs, "forward", theirs, pinned=False).status is Status.OUT
    assert np.allclose(theirs, _largest_tap(inputs), atol=1e-5)
    assert not np.allclose(theirs, ours, atol=1e-2)
    inputs.image[...] = 1
    assert np.allclose(backend.run(inputs, "forward"), 1)
    assert onnxruntime.run(weighted, "forward").max() < 0.97
