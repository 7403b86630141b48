"""multiscale_roi_align: each box as roi_align pools it from its own level, and the level as torchvision assigns it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roi_align import TorchvisionMultiScaleRoIAlign, multiscale_roi_align, roi_align

pytestmark = [pytest.mark.package, pytest.mark.cpu]

SCALES = [1 / 4, 1 / 8, 1 / 16, 1 / 32]


def make_levels(channels: int = 2, images: int = 2, last: bool = False) -> list[torch.Tensor]:
    """Level k holds k + 1 everywhere and noise on top, so that no level passes for another."""
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last if last else torch.contiguous_format
    return [
        (torch.rand(images, channels, 64 >> k, 80 >> k, generator=generator) / 4 + k + 1).to(memory_format=layout)
        for k in range(4)
    ]


def level_of(box: np.ndarray, first: int, last: int, scale: float = 224.0, level: int = 4) -> int | None:
    """The level by the formula, in float32, step by step: written again, in NumPy."""
    to = np.float32
    with np.errstate(all="ignore"):
        side = np.sqrt((box[2] - box[0]) * (box[3] - box[1]))
        found = to(to(level) + to(np.log2(np.float64(to(side / to(scale)))))) + to(1e-6)
    return None if np.isnan(found) else int(np.clip(np.floor(found), first, last))


@st.composite
def many_boxes(draw: st.DrawFn) -> torch.Tensor:
    """Boxes (K, 5) from a pixel to ten times an image, some of them squares exactly between two levels."""
    rows = []
    for _ in range(draw(st.integers(1, 8))):
        x, y = draw(st.floats(-20, 300, width=32)), draw(st.floats(-20, 250, width=32))
        side = draw(st.one_of(st.floats(0, 900, width=32), st.sampled_from([28.0, 56.0, 112.0, 224.0, 448.0, 896.0])))
        other = draw(st.one_of(st.just(side), st.floats(-50, 900, width=32)))
        x, y = (0.0, 0.0) if draw(st.booleans()) else (x, y)
        rows.append([float(draw(st.integers(0, 1))), x, y, x + side, y + other])
    return torch.tensor(rows)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("mode", ["avg", "max"])
@given(rows=many_boxes())
def test_each_box_is_pooled_from_its_own_level_alone(rows, mode, last):
    levels = make_levels(last=last)
    got = multiscale_roi_align(levels, rows, (3, 2), SCALES, 2, mode=mode)
    for row, pooled in zip(rows, got, strict=True):
        level = level_of(row[1:].numpy(), 2, 5)
        if level is None:
            assert not pooled.any()
            continue
        alone = roi_align(levels[level - 2], row[None], (3, 2), SCALES[level - 2], 2, mode=mode)[0]
        assert torch.equal(pooled, alone)


def _areas_near_levels() -> torch.Tensor:
    """Boxes from the origin whose size is within 64 ulps of a power of two times 224, on both sides."""
    sides = []
    for power in range(-4, 5):
        bits = np.float32(224 * 2.0**power).view(np.int32) + np.arange(-64, 65, dtype=np.int32)
        sides.append(bits.view(np.float32))
    side = torch.from_numpy(np.concatenate(sides))
    return torch.stack([torch.zeros_like(side), torch.zeros_like(side), side, side], dim=1)


def test_the_level_is_torchvisions_to_the_last_ulp():
    """Next to every boundary, and over random boxes: where a level is decided by the 1e-6 and by rounding."""
    poolers = pytest.importorskip("torchvision.ops.poolers")
    generator = torch.Generator().manual_seed(0)
    random = torch.rand(200_000, 4, generator=generator) * 1200 - 100
    boxes = torch.cat([_areas_near_levels(), random])
    wanted = poolers.initLevelMapper(0, 7)([boxes])
    # Maps of one value each, as large as the boxes: a box's value tells its level, 0 that it reached none.
    levels = [torch.full((1, 1, 2000 >> k, 2000 >> k), float(k + 1)) for k in range(8)]
    rows = torch.cat([torch.zeros(len(boxes), 1), boxes], dim=1)
    found = multiscale_roi_align(levels, rows, 1, [2.0**-k for k in range(8)], 1)[:, 0, 0, 0]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    assert not found[area < 0].any()
    reached = (area >= 0) & (found > 0)
    assert reached.sum() > 50_000
    assert torch.equal(found[reached].long() - 1, wanted[reached])


@given(rows=many_boxes())
def test_pooling_and_gradients_are_torchvisions(rows):
    poolers = pytest.importorskip("torchvision.ops.poolers")
    names = ["0", "1", "2", "3"]
    levels = [level.requires_grad_() for level in make_levels()]
    boxes = [rows[rows[:, 0] == image, 1:] for image in (0, 1)]
    shapes = [(256, 320), (200, 300)]
    pooled = [
        make(names, 3, 2)(dict(zip(names, levels, strict=True)), boxes, shapes)
        for make in (poolers.MultiScaleRoIAlign, TorchvisionMultiScaleRoIAlign)
    ]
    assert torch.allclose(*pooled, rtol=0, atol=1e-5)
    upstream = torch.randn(pooled[0].shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad(each, levels, upstream, allow_unused=True) for each in pooled]
    for theirs, ours in zip(*gradients, strict=True):
        assert torch.allclose(ours, torch.zeros_like(ours) if theirs is None else theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("scale", "level"), [(224.0, 4), (32.0, 3), (100.0, 2), (16.5, 5)])
def test_a_box_of_the_canonical_scale_belongs_to_the_canonical_level(scale, level):
    levels, box = make_levels(images=1), torch.tensor([[1.0, 2.0, 1.0 + scale, 2.0 + scale]])
    wanted = roi_align(levels[level - 2], [box], (3, 3), SCALES[level - 2], 2)
    canonical = {"canonical_scale": scale, "canonical_level": level}
    assert torch.equal(multiscale_roi_align(levels, [box], (3, 3), SCALES, 2, **canonical), wanted)
    names = [str(k) for k in range(4)]
    module = TorchvisionMultiScaleRoIAlign(names, 3, 2, **canonical)
    assert torch.equal(module(dict(zip(names, levels, strict=True)), [box], [(256, 320)]), wanted)


def test_one_level_gets_every_box_at_any_scale():
    features, rows = torch.rand(1, 2, 20, 20), torch.tensor([[0.0, 1, 1, 900, 900], [0, 3, 3, 4, 4]])
    assert torch.equal(multiscale_roi_align([features], rows, 3, [0.3], 2), roi_align(features, rows, 3, 0.3, 2))


def test_gradcheck_over_levels():
    levels = [level.double().requires_grad_() for level in make_levels(channels=1, images=1)[1:]]
    rows = torch.tensor(
        [[0.0, 3.1, 5.3, 60.7, 70.2], [0, 10.3, 20.1, 150.9, 140.4], [0, 1.7, 2.9, 300.3, 311.8]]
    ).double()

    def pool(edges, *maps):
        boxes = torch.cat([rows[:, :1], edges], dim=1)
        return multiscale_roi_align(maps, boxes, 2, SCALES[1:], 2, True, canonical_scale=64, canonical_level=3)

    edges = rows[:, 1:].clone().requires_grad_()
    assert torch.autograd.gradcheck(pool, (edges, *levels))
    assert torch.autograd.gradgradcheck(lambda *maps: pool(rows[:, 1:], *maps), levels)


def test_the_module_says_what_it_lacks():
    module = TorchvisionMultiScaleRoIAlign(["a"], 3, 2)
    with pytest.raises(ValueError, match=r"None of the maps \['b'\] has a name in \['a'\]"):
        module({"b": torch.rand(1, 1, 4, 4)}, [torch.rand(1, 4)], [(8, 8)])
    with pytest.raises(ValueError, match="image_shapes must hold"):
        module({"a": torch.rand(1, 1, 4, 4)}, [torch.rand(1, 4)], [])
    assert "output_size=(3, 3)" in repr(module)
