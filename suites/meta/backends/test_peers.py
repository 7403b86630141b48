"""The peers' GPU code on the CPU: the same lines, except for the device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("torchvision", reason="it is one of the peers")

from harness.backends import grid_sample, load, torchvision
from harness.measuring.workloads import SMOKE
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.judgement import judge
from harness.repository import MissingLibrary


@pytest.mark.skipif(torch.cuda.is_available(), reason="about a machine without a GPU")
@pytest.mark.parametrize("name", ["torchvision_cuda", "grid_sample_cuda", "grid_sample_cuda_compiled"])
def test_gpu_backends_need_a_gpu(name: str) -> None:
    with pytest.raises(MissingLibrary, match=f"{name} needs the device 'cuda', and torch has none here: "):
        load(name)


def some_rows(count: int) -> Inputs:
    inputs = SMOKE.inputs()
    return replace(
        inputs, boxes=inputs.boxes[:count], box_indices=inputs.box_indices[:count], upstream=inputs.upstream[:count]
    )


def test_compiled_grid_sample_is_right_for_changing_shapes() -> None:
    compiled = grid_sample.make_crop_and_resize("compiled", "cpu", compiled=True)
    for inputs in (SMOKE.inputs(), some_rows(7)):
        call = compiled.prepare(inputs, "grad_image")
        first, second = compiled.to_numpy(call()), compiled.to_numpy(call())
        assert judge(inputs, "grad_image", first, pinned=False).passed
        assert np.array_equal(first, second)
    verdict = judge(SMOKE.inputs(), "forward", compiled.run(SMOKE.inputs(), "forward"), pinned=False)
    assert verdict.passed, str(verdict)


def test_grid_sample_accepts_unordered_indices_and_images_without_boxes() -> None:
    image = np.arange(4 * 2 * 5 * 6, dtype=np.float32).reshape(4, 2, 5, 6)
    inputs = replace(some_rows(6), image=image, box_indices=np.array([3, 0, 3, 0, 1, 0], np.int32))
    inputs = replace(inputs, upstream=inputs.upstream[:, :2].copy())
    for direction in ("forward", "grad_image", "grad_boxes"):
        verdict = judge(inputs, direction, load("grid_sample").run(inputs, direction), pinned=False)
        assert verdict.passed, str(verdict)


def test_torchvision_accepts_only_its_declared_types() -> None:
    backend = torchvision.make_crop_and_resize("made", "cpu", ("float16", "float32"))
    bfloat16 = SMOKE.inputs(dtype="bfloat16")
    assert "images 'bfloat16': not declared, only 'float16', 'float32'" in str(backend.refuses(bfloat16, "forward"))
    assert backend.refuses(SMOKE.inputs(dtype="float16"), "forward") is None
    assert "grad_boxes is not declared" in str(backend.refuses(SMOKE.inputs(), "grad_boxes"))


def test_a_workload_has_the_same_values_in_every_type_and_layout() -> None:
    plain = SMOKE.inputs()
    for dtype in ("float16", "bfloat16"):
        half, last = SMOKE.inputs(dtype=dtype), SMOKE.inputs("channels_last", dtype)
        assert half.image.dtype.name == half.upstream.dtype.name == dtype
        assert np.array_equal(half.image, plain.image.astype(dtype))
        assert np.array_equal(last.image, half.image)
        assert last.image.strides[1] == last.image.itemsize
        assert half.boxes is plain.boxes  # positions are not rounded
