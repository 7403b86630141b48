"""Sizes at which an implementation may change its way: what small random cases cannot reach.

Results too large for a cache, crops too large for a tile, more boxes than a block of threads, one image for many
threads: each is compared with TensorFlow by bits, or with the same call in small pieces.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.judging.trial import run
from harness.measuring import gate
from harness.operators.arrays import HALVES, differing
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.judgement import judge


def _inputs(shape, rows, crop_size, method="bilinear", seed=0) -> Inputs:
    random = np.random.default_rng(seed)
    boxes = random.uniform(-0.1, 1.1, (rows, 4)).astype(np.float32)
    return Inputs(
        image=random.standard_normal(shape, dtype=np.float32),
        boxes=boxes,
        box_indices=random.integers(0, shape[0], rows).astype(np.int32),
        upstream=random.standard_normal((rows, shape[1], *crop_size), dtype=np.float32),
        crop_size=crop_size,
        method=method,
        extrapolation_value=-1.5,
    )


def _channels_last(array):
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


SIZES = {
    "a result of 13 MB, in whole lines": ((2, 32, 20, 24), 2100, (7, 7)),
    "a result of 13 MB, channels left over": ((2, 35, 20, 24), 1900, (7, 7)),
    "crops larger than a tile": ((1, 19, 30, 41), 6, (67, 53)),
    "one row a tile": ((1, 16, 9, 300), 2, (3, 700)),
    "one image, one block of channels": ((1, 16, 33, 17), 300, (5, 3)),
    "more than 65,535 boxes": ((3, 2, 8, 9), 70_000, (2, 3)),
    "few boxes on a large map": ((1, 24, 400, 300), 2, (5, 4)),
    "many channels, one pixel": ((2, 1030, 1, 1), 5, (2, 2)),
    "a gradient of several bands, in whole lines": ((1, 64, 160, 208), 150, (7, 7)),
    "three channels in several bands": ((1, 3, 600, 700), 40, (64, 64)),
}


@pytest.mark.parametrize(("shape", "rows", "crop_size"), SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("method", ["bilinear", "nearest"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_bits_do_not_depend_on_the_size(backend, tensorflow, tally, shape, rows, crop_size, method, layout):
    inputs = _inputs(shape, rows, crop_size, method)
    if layout == "channels_last":
        inputs = replace(inputs, image=_channels_last(inputs.image), upstream=_channels_last(inputs.upstream))
    for direction in ("forward", "grad_image"):
        if backend.refuses(inputs, direction) or direction not in backend.sheet.pinned:
            continue
        got = backend.run(inputs, direction)
        if direction not in backend.sheet.tensorflow_bits:
            found = gate.check(backend, inputs, direction, got, lambda: None)
            assert found.passed, found.message
            continue
        different = int(differing(got, tensorflow.run(inputs, direction)).sum())
        tally.bits(f"{direction} against TensorFlow, large", got.size, different)
        assert different == 0, direction


@pytest.mark.parametrize(("shape", "rows", "crop_size"), SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("half", HALVES)
def test_halves_of_all_sizes_are_float32_rounded_once(backend, tally, shape, rows, crop_size, half):
    wide = _inputs(shape, rows, crop_size)
    inputs = replace(wide, image=wide.image.astype(half), upstream=wide.upstream.astype(half))
    wide = replace(wide, image=inputs.image.astype(np.float32), upstream=inputs.upstream.astype(np.float32))
    for direction in ("forward", "grad_image"):
        if backend.refuses(inputs, direction) or backend.refuses(wide, direction):
            continue
        got = backend.run(inputs, direction)
        if direction in backend.sheet.unordered:
            found = gate.check(backend, inputs, direction, got, lambda: None)
            assert found.passed, found.message
            continue
        different = int(differing(got, backend.run(wide, direction).astype(half)).sum())
        tally.bits(f"{direction} of {half} images against that of float32, large", got.size, different)
        assert different == 0, direction


@pytest.mark.parametrize(("shape", "rows", "crop_size"), SIZES.values(), ids=SIZES)
def test_box_gradients_of_all_sizes_are_within_the_oracles_bound(backend, tally, shape, rows, crop_size):
    inputs = _inputs(shape, rows, crop_size)
    if backend.refuses(inputs, "grad_boxes"):
        pytest.skip(str(backend.refuses(inputs, "grad_boxes")))
    rows_looked_at = sorted({0, rows // 2, rows - 1})
    places = [(row, column) for row in rows_looked_at for column in range(4)]
    pinned = "grad_boxes" in backend.sheet.pinned
    verdict = judge(inputs, "grad_boxes", run(backend, inputs, "grad_boxes"), pinned=pinned, places=places)
    assert verdict.passed, str(verdict)
    tally.bound("grad_boxes, large", verdict.fraction)
