"""The benchmark of the detectors judges and counts the boxes that its timed call pools."""

from __future__ import annotations

import pytest

pytest.importorskip("torchvision", reason="the detectors are torchvision's")
pytest.importorskip("skimage", reason="the photographs are scikit-image's")

import torch

from harness.detectors import models
from suites.performance import bench_detectors as bench


@pytest.mark.parametrize("direction", bench.DIRECTIONS)
def test_a_rows_boxes_are_those_of_its_timed_call(direction: str) -> None:
    (name,) = bench.SMALL
    targets = models.targets(bench.PHOTOGRAPHS) if direction == "training" else None
    _, branches = models.run(bench.model_of(name, "torchvision"), models.images(bench.PHOTOGRAPHS), targets)
    call = bench.theirs(name, direction)
    assert call.branches.keys() == branches.keys()
    for part, branch in branches.items():
        assert all(map(torch.equal, call.branches[part].boxes, branch.boxes))
        assert not call.branches[part].pooled.requires_grad


def test_a_training_step_pools_other_boxes_than_an_inference() -> None:
    (name,) = bench.SMALL
    counts = {
        direction: sum(map(len, bench.theirs(name, direction).branches["box"].boxes)) for direction in bench.DIRECTIONS
    }
    assert counts["training"] != counts["inference"]
