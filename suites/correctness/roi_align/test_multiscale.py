"""Compares multiscale_roi_align with torchvision's pooler: results, gradients, graphs and bits; test_levels.py tests
the rule.

Inconsistent levels raise a clear error; threads and instruction sets change no bit.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from roi_align import TorchvisionMultiScaleRoIAlign, _library, multiscale_roi_align, roi_align
from suites.correctness.calls import on_every_instruction_set, with_threads

pytestmark = [pytest.mark.package, pytest.mark.cpu]

SCALES, NAMES = [1 / 4, 1 / 8, 1 / 16, 1 / 32], ["0", "1", "2", "3"]


def make_levels(channels: int = 2, images: int = 2, last: bool = False) -> list[torch.Tensor]:
    """Level k is k + 1 plus noise, so that no level can be confused with another."""
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last if last else torch.contiguous_format
    return [
        (torch.rand(images, channels, 64 >> k, 80 >> k, generator=generator) / 4 + k + 1).to(memory_format=layout)
        for k in range(4)
    ]


@st.composite
def many_boxes(draw: st.DrawFn) -> torch.Tensor:
    """Boxes (K, 5) from one pixel to ten times an image, some of them squares exactly between two levels."""
    rows = []
    for _ in range(draw(st.integers(1, 8))):
        x, y = draw(st.floats(-20, 300, width=32)), draw(st.floats(-20, 250, width=32))
        side = draw(st.one_of(st.floats(0, 900, width=32), st.sampled_from([28.0, 56.0, 112.0, 224.0, 448.0, 896.0])))
        other = draw(st.one_of(st.just(side), st.floats(-50, 900, width=32)))
        x, y = (0.0, 0.0) if draw(st.booleans()) else (x, y)
        rows.append([float(draw(st.integers(0, 1))), x, y, x + side, y + other])
    return torch.tensor(rows)


def _areas_near_levels() -> torch.Tensor:
    """Boxes at the origin with sizes within 64 ulps of a power of two times 224, on both sides."""
    bits = (224 * 2.0 ** np.arange(-4, 5)).astype(np.float32).view(np.int32)
    side = torch.from_numpy((bits[:, None] + np.arange(-64, 65, dtype=np.int32)).view(np.float32).ravel())
    return torch.stack([torch.zeros_like(side), torch.zeros_like(side), side, side], dim=1)


def test_levels_equal_torchvisions_next_to_every_boundary():
    """On random boxes, and next to every boundary, where the 1e-6 and rounding decide the level."""
    poolers = pytest.importorskip("torchvision.ops.poolers")
    generator = torch.Generator().manual_seed(0)
    random = torch.rand(200_000, 4, generator=generator) * 1200 - 100
    boxes = torch.cat([_areas_near_levels(), random])
    expected = poolers.initLevelMapper(0, 7)([boxes])
    # Maps of one value each, as large as the boxes: a box's value shows its level, 0 no level.
    levels = [torch.full((1, 1, 2000 >> k, 2000 >> k), float(k + 1)) for k in range(8)]
    rows = torch.cat([torch.zeros(len(boxes), 1), boxes], dim=1)
    values = multiscale_roi_align(levels, rows, 1, [2.0**-k for k in range(8)], 1)[:, 0, 0, 0]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    assert not values[area < 0].any()
    # Every box with an area has a level; the value of one whose centre is beyond its map is 0 all the same.
    inside = (area >= 0) & (boxes[:, :2] + boxes[:, 2:] > 0).all(dim=1)
    assert inside.sum() > 50_000
    assert torch.equal(values[inside].long() - 1, expected[inside])


@given(rows=many_boxes())
def test_pooling_and_gradients_agree_with_torchvision(rows):
    poolers = pytest.importorskip("torchvision.ops.poolers")
    levels = [level.requires_grad_() for level in make_levels()]
    boxes = [rows[rows[:, 0] == image, 1:] for image in (0, 1)]
    shapes = [(256, 320), (200, 300)]
    both = (poolers.MultiScaleRoIAlign, TorchvisionMultiScaleRoIAlign)
    pooled = [make(NAMES, 3, 2)(dict(zip(NAMES, levels, strict=True)), boxes, shapes) for make in both]
    assert torch.allclose(*pooled, rtol=0, atol=1e-5)
    upstream = torch.randn(pooled[0].shape, generator=torch.Generator().manual_seed(1))
    gradients = [torch.autograd.grad(each, levels, upstream, allow_unused=True) for each in pooled]
    for theirs, ours in zip(*gradients, strict=True):
        assert torch.allclose(ours, torch.zeros_like(ours) if theirs is None else theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("scale", "level"), [(224.0, 4), (32.0, 3), (100.0, 2), (16.5, 5)])
def test_a_box_of_the_canonical_scale_belongs_to_the_canonical_level(scale, level):
    levels, box = make_levels(images=1), torch.tensor([[1.0, 2.0, 1.0 + scale, 2.0 + scale]])
    expected = roi_align(levels[level - 2], [box], (3, 3), SCALES[level - 2], 2)
    canonical = {"canonical_scale": scale, "canonical_level": level}
    assert torch.equal(multiscale_roi_align(levels, [box], (3, 3), SCALES, 2, **canonical), expected)
    module = TorchvisionMultiScaleRoIAlign(NAMES, 3, 2, **canonical)
    assert torch.equal(module(dict(zip(NAMES, levels, strict=True)), [box], [(256, 320)]), expected)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("smaller_first", [False, True])
def test_levels_may_be_views_of_one_memory(mode, smaller_first):
    """Both levels begin at one address, and a thread pools them one after the other."""
    whole = torch.rand(1, 16, 32, 32)
    levels = [whole[..., :12, :12], whole] if smaller_first else [whole, whole[..., :16, :16]]
    sides = torch.tensor([50.0, 120.0]).repeat_interleave(8)
    boxes = torch.stack([torch.zeros(16), *torch.rand(2, 16) * 20, *(sides + torch.rand(2, 16) * 20)], dim=1)

    def results(levels):
        maps, rows = ([each.detach().requires_grad_() for each in levels], boxes.clone().requires_grad_())
        pooled = multiscale_roi_align(maps, rows, 7, [1 / 4, 1 / 8], 2, mode=mode)
        return [pooled.detach(), *torch.autograd.grad(pooled.square().sum(), [*maps, rows])]

    (separate,), (shared,) = (
        with_threads([1], lambda of=of: results(of)) for of in ([each.clone() for each in levels], levels)
    )
    for one, other in zip(separate, shared, strict=True):
        assert torch.equal(one, other)


def test_one_level_gets_every_box_at_any_scale():
    features, rows = torch.rand(1, 2, 20, 20), torch.tensor([[0.0, 1, 1, 900, 900], [0, 3, 3, 4, 4]])
    assert torch.equal(multiscale_roi_align([features], rows, 3, [0.3], 2), roi_align(features, rows, 3, 0.3, 2))


def test_gradcheck_over_levels():
    levels = [level.double().requires_grad_() for level in make_levels(channels=1, images=1)[1:]]
    boxes = [[3.1, 5.3, 60.7, 70.2], [10.3, 20.1, 150.9, 140.4], [1.7, 2.9, 300.3, 311.8]]
    rows = torch.nn.functional.pad(torch.tensor(boxes).double(), (1, 0))

    def pool(edges, *maps):
        boxes = torch.cat([rows[:, :1], edges], dim=1)
        return multiscale_roi_align(maps, boxes, 2, SCALES[1:], 2, True, canonical_scale=64, canonical_level=3)

    edges = rows[:, 1:].clone().requires_grad_()
    assert torch.autograd.gradcheck(pool, (edges, *levels))
    assert torch.autograd.gradgradcheck(lambda *maps: pool(rows[:, 1:], *maps), levels)


def test_a_pyramid_with_a_list_of_boxes_compiles_without_graph_breaks():
    torch._dynamo.reset()

    def pool(levels, boxes):
        return multiscale_roi_align(levels, boxes, 3, SCALES, 2, canonical_scale=60)

    levels = [level.requires_grad_() for level in make_levels()]
    boxes = [torch.rand(count, 2, 2).sort(dim=1).values.reshape(count, 4) * 90 for count in (4, 5)]
    assert torch.equal(torch.compile(pool, fullgraph=True, dynamic=True)(levels, boxes), pool(levels, boxes))


_DIGEST = """
import hashlib, torch
from roi_align import multiscale_roi_align
generator, digest = torch.Generator().manual_seed(0), hashlib.sha256()
for channels, last in ((3, False), (3, True), (35, False), (35, True)):
    for mode in ("avg", "max"):
        layout = torch.channels_last if last else torch.contiguous_format
        levels = [torch.randn(2, channels, 40 >> k, 56 >> k, generator=generator) for k in range(3)]
        corners = torch.rand(2, 60, 2, 2, generator=generator).sort(dim=2).values.reshape(2, 60, 4) * 200 - 8
        boxes = [each.clone().requires_grad_() for each in corners]
        for threads in (1, 3):
            torch.set_num_threads(threads)
            maps = [level.to(memory_format=layout).requires_grad_() for level in levels]
            pooled = multiscale_roi_align(maps, boxes, (5, 4), (0.25, 0.125, 0.0625), mode=mode, canonical_scale=80)
            results = [pooled, *torch.autograd.grad(pooled.square().sum(), [*maps, *boxes])]
            bits = b"".join(each.detach().contiguous().numpy().tobytes() for each in results)
            assert threads == 1 or bits == before, (channels, last, mode)
            before = bits
        digest.update(bits)
print(torch.ops.roi_align.cpu_kernels(), digest.hexdigest())
"""


def test_threads_and_instruction_sets_give_the_same_bits():
    """Every set of kernels has the same digest, with one and with three threads."""
    digests = on_every_instruction_set(_DIGEST)
    assert len(set(digests.values())) == 1, digests


WRONG = {
    "a tensor": ({"features": torch.rand(3, 2, 3, 4)}, TypeError, "a sequence of tensors, one for each level"),
    "none": ({"features": []}, ValueError, "at least one level, not none"),
    "other channels": (
        {"features": [torch.rand(2, 3, 4, 4), torch.rand(2, 4, 2, 2)], "spatial_scales": [1, 0.5]}, ValueError,
        r"features\[1\] must have the N, C, dtype and device of features\[0\], \(2, 3\)"),
    "other dtypes": (
        {"features": [torch.rand(2, 3, 4, 4), torch.rand(2, 3, 2, 2).double()], "spatial_scales": [1, 0.5]},
        ValueError, "torch.float32 and cpu, not .* torch.float64"),
    "two scales": ({"spatial_scales": [0.25, 0.125]}, ValueError, "one scale for each of the 3 levels, not 2"),
    "scales that grow": ({"spatial_scales": [0.25, 0.5, 1]}, ValueError, "must not grow from the first to the last"),
    "a scale of a third": ({"spatial_scales": [0.5, 1 / 3, 0.25]}, ValueError, "must be powers of two, .* not 0.3333"),
    "a negative scale": ({"spatial_scales": [-1, -0.5, -0.25]}, ValueError, "must be powers of two"),
    "no canonical scale": ({"canonical_scale": 0}, ValueError, "canonical_scale must be positive, not 0"),
    "an index without an image": (
        {"boxes": torch.tensor([[0.0, 0.5, 1, 5, 4], [2.0, 0.5, 1, 5, 4]]), "validate": True}, IndexError,
        r"boxes\[1\] has the index 2"),
}  # fmt: skip


def test_cuda_levels_without_cuda_kernels_raise_an_error(monkeypatch):
    """Needs no GPU."""
    monkeypatch.setattr(_library, "HAS_CUDA", False)
    with FakeTensorMode(), pytest.raises(RuntimeError, match=r"features\[0\] is on cuda:0, but"):
        multiscale_roi_align([torch.rand(1, 1, 5, 5, device="cuda")], torch.rand(2, 5, device="cuda"), 2, [1.0])


@pytest.mark.parametrize(("changes", "error", "words"), WRONG.values(), ids=WRONG)
def test_wrong_levels_raise_a_clear_error(changes, error, words):
    arguments = {
        "features": [torch.rand(2, 3, 16 >> k, 16 >> k) for k in range(3)],
        "boxes": torch.tensor([[0.0, 0.5, 1, 5, 4]]),
        "output_size": 3,
        "spatial_scales": [0.25, 0.125, 0.0625],
        **changes,
    }
    with pytest.raises(error, match=words):
        multiscale_roi_align(**arguments)
