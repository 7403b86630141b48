"""The judge of poolers of several maps passes right results, and fails boxes from another map and wrong gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.detectors.pyramid import Level, judge_levels, levels
from harness.operators.arrays import Array, Direction
from harness.operators.verdict import Status
from roi_align import TorchvisionMultiScaleRoIAlign, roi_align

SIZES = {"0": (60, 80), "1": (30, 40)}
SCALES = (0.25, 0.125)
# Boxes of two images in pixels: below 112, 56 at least, for the first map, larger for the second.
BOXES = (
    np.array([[10.5, 8, 70, 75.25], [3, 5, 150, 160], [100, 20.5, 180, 90]], np.float32),
    np.array([[30, 30, 200, 190.75], [0, 0, 60, 61]], np.float32),
)


def results(*, other: bool = False) -> tuple[list[Level], dict[Direction, list[Array]]]:
    """The levels, and the results of this project's pooler; other: of boxes pooled from the other map."""
    random = np.random.default_rng(0)
    maps = {name: random.standard_normal((2, 3, *size), np.float32) for name, size in SIZES.items()}
    tensors = {name: torch.from_numpy(each).requires_grad_() for name, each in maps.items()}
    rows = [torch.from_numpy(each) for each in BOXES]
    pooled = TorchvisionMultiScaleRoIAlign(list(maps), 4, 2)(tensors, rows, [(240, 320)] * 2)
    upstream = random.standard_normal(pooled.shape, np.float32)
    of = levels(list(maps.values()), SCALES, BOXES, upstream, 2)
    gradients = torch.autograd.grad(pooled, list(tensors.values()), torch.from_numpy(upstream), retain_graph=True)
    crops = pooled.detach().numpy()
    if other:
        alone = [
            roi_align(tensors[name], rows, 4, scale, 2).detach().numpy()
            for name, scale in zip(maps, SCALES, strict=True)
        ]
        return of, {"forward": [alone[1 - place][level.rows] for place, level in enumerate(of)]}
    return of, {
        "forward": [crops[level.rows] for level in of],
        "grad_image": [each.numpy() for each in gradients],
    }


def test_each_box_belongs_to_the_map_of_its_size() -> None:
    assert [level.rows.tolist() for level in results()[0]] == [[0, 2, 4], [1, 3]]


@pytest.mark.parametrize("direction", ["forward", "grad_image"])
def test_a_right_pooler_passes(direction: Direction) -> None:
    of, right = results()
    verdict = judge_levels(of, direction, right[direction], pinned=True)
    assert verdict.status is Status.WITHIN
    assert 0 < verdict.fraction <= 1


def test_boxes_from_another_map_fail() -> None:
    of, wrong = results(other=True)
    assert judge_levels(of, "forward", wrong["forward"], pinned=True).status is Status.OUT


@pytest.mark.parametrize("place", range(len(SCALES)))
@pytest.mark.parametrize("factor", [0, 1.001])
def test_a_wrong_gradient_of_one_map_fails(place: int, factor: float) -> None:
    of, right = results()
    wrong = [each * np.float32(factor if k == place else 1) for k, each in enumerate(right["grad_image"])]
    assert judge_levels(of, "grad_image", wrong, pinned=True).status is Status.OUT
