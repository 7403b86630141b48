"""Each box of a pyramid is pooled as roi_align pools it from its map at that map's scale; the oracle selects the map.

Scales usually halve from map to map; detectors also have two maps of one scale, skipped scales, and image sides that
the scales do not divide. A box without a map gives 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import event, given
from hypothesis import strategies as st
from torch import Tensor

from harness.operators.roi_align.levels import map_of, scale_of
from harness.operators.roi_align.strategy import pyramid_rows, pyramid_scales, pyramid_sizes
from roi_align import TorchvisionMultiScaleRoIAlign, multiscale_roi_align, roi_align
from suites.correctness.calls import each_layout

pytestmark = pytest.mark.package

IMAGE = (65, 97)
CANONICAL = {"canonical_scale": 24.0, "canonical_level": 2}


def make_maps(sizes: Sequence[tuple[int, int]], channels: int = 2) -> list[Tensor]:
    """Map k of two images is k + 1 plus noise, so that no map can be confused with another, or with none."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(2, channels, *size, generator=generator) / 4 + k + 1 for k, size in enumerate(sizes)]


@st.composite
def pyramids(draw: st.DrawFn) -> tuple[tuple[float, ...], Tensor]:
    """Draws scales, and boxes (K, 5) for them."""
    scales, dtype = draw(pyramid_scales()), draw(st.sampled_from(["float32", "float64"]))
    rows = draw(pyramid_rows(scales, **CANONICAL, dtype=dtype))
    return scales, torch.tensor(rows, dtype=getattr(torch, dtype))


@each_layout
@pytest.mark.parametrize("mode", ["avg", "max"])
@given(pyramid=pyramids())
def test_each_box_is_pooled_from_its_own_map_alone(device, pyramid, mode, layout):
    """Bit by bit, in every direction: one call for all maps equals a call for each."""
    scales, rows = pyramid[0], pyramid[1].to(device)
    maps = [
        each.to(device, memory_format=layout).requires_grad_()
        for each in make_maps([tuple(max(1, round(side * scale)) for side in IMAGE) for scale in scales])
    ]
    rows.requires_grad_()
    pooled = multiscale_roi_align(maps, rows, (3, 2), scales, 2, mode=mode, **CANONICAL)
    upstream = torch.rand(pooled.shape, generator=torch.Generator().manual_seed(1)).to(device)
    *of_maps, of_rows = torch.autograd.grad(pooled, [*maps, rows], upstream)
    dtype = str(rows.dtype).removeprefix("torch.")
    places = [map_of(row[1:], scales, dtype, **CANONICAL) for row in rows.tolist()]
    for place in set(places) | set(range(len(maps))):
        own = [row for row, at in enumerate(places) if at == place]
        if place is None:
            event("a box of no map")
            assert not pooled[own].any()
            assert not of_rows[own].any()
            continue
        alone = rows[own].detach().requires_grad_()
        expected = roi_align(maps[place], alone, (3, 2), scales[place], 2, mode=mode)
        gradients = torch.autograd.grad(expected, [maps[place], alone], upstream[own])
        assert torch.equal(pooled[own], expected)
        assert torch.equal(of_maps[place], gradients[0])
        assert torch.equal(of_rows[own], gradients[1])


def test_the_strategy_draws_every_kind_of_box():
    """With as few examples as in a pull request: a box past the maps, and one on the second of two maps of one
    scale."""
    kinds: set[str] = set()

    @given(pyramid=pyramids())
    def look(pyramid: tuple[tuple[float, ...], Tensor]) -> None:
        scales, rows = pyramid
        dtype = str(rows.dtype).removeprefix("torch.")
        for _, x1, y1, x2, y2 in rows.tolist():
            place = map_of((x1, y1, x2, y2), scales, dtype, **CANONICAL)
            if place is None:
                kinds.add("past the maps" if (x2 - x1) * (y2 - y1) >= 0 else "no level")
            elif scales[place] != scales[0] * 2.0**-place:
                kinds.add("a map of another scale than the level's")
            elif place and scales[place - 1] == scales[place]:
                kinds.add("second of a scale")
            else:
                kinds.add("a level's own map")

    look()
    assert kinds >= {"past the maps", "no level", "a map of another scale than the level's", "a level's own map"}


SQUARES = [4.0, 28.0, 60.0, 112.0, 224.0, 448.0, 900.0]
# The scales of maps, and the map for squares of these sides, 0 for none: torchvision 0.26's choices.
PLACES = {
    (1 / 4, 1 / 8, 1 / 16, 1 / 32): (1, 1, 1, 2, 3, 4, 4),
    (1 / 32, 1 / 32): (1, 1, 1, 1, 1, 1, 1),  # MobileNet's
    (1 / 16, 1 / 16): (1, 1, 1, 1, 1, 1, 1),  # a dilated backbone's
    (1 / 4, 1 / 8, 1 / 16, 1 / 16): (1, 1, 1, 2, 3, 3, 3),  # of an image of 65 pixels, not padded
    (1 / 8, 1 / 32): (1, 1, 1, 1, 2, 0, 0),  # of the example in torchvision's docstring
    (1 / 4, 1 / 16, 1 / 8): (1, 1, 1, 2, 2, 2, 2),
    (1 / 4, 1 / 8, 1 / 4): (1, 1, 1, 1, 1, 1, 1),
    (0.3,): (1, 1, 1, 1, 1, 1, 1),
}


@pytest.mark.parametrize(("scales", "places"), PLACES.items(), ids=str)
def test_squares_are_pooled_from_torchvisions_maps(device, scales, places):
    maps = [torch.full((1, 1, 300, 300), k + 1.0, device=device) for k in range(len(scales))]
    rows = torch.tensor([[0, 0, 0, side, side] for side in SQUARES], device=device)
    assert multiscale_roi_align(maps, rows, 1, scales, 1).flatten().tolist() == list(places)
    boxes = [(0.0, 0.0, side, side) for side in SQUARES]
    assert [map_of(box, scales, "float32") for box in boxes] == [place - 1 if place else None for place in places]
    try:
        from torchvision.ops import poolers
    except ImportError:
        return
    theirs = poolers.MultiScaleRoIAlign(["a"], 1, 1)
    theirs.scales = list(scales)
    if len(scales) > 1:
        ends = [-round(torch.tensor(scale).log2().item()) for scale in (scales[0], scales[-1])]
        theirs.map_levels = poolers.initLevelMapper(*ends)
    else:
        theirs.map_levels = poolers.initLevelMapper(0, 0)
    theirs.featmap_names = [str(k) for k in range(len(maps))]
    pooled = theirs({str(k): each.cpu() for k, each in enumerate(maps)}, [rows[:, 1:].cpu()], [(900, 900)])
    assert pooled.flatten().tolist() == list(places)


@pytest.mark.cpu
@given(sizes=pyramid_sizes())
def test_scales_are_inferred_as_torchvision_infers_them(sizes):
    """If a map's height and width imply different scales, the error names both; torchvision picks a wrong one."""
    poolers = pytest.importorskip("torchvision.ops.poolers")
    image, shapes = sizes
    maps = {str(k): each for k, each in enumerate(make_maps(shapes))}
    scales = [tuple(scale_of(*pair) for pair in zip(shape, image, strict=True)) for shape in shapes]
    boxes = [torch.tensor([[1.0, 2, 21, 18], [0, 0, image[1], image[0]]]), torch.tensor([[3.0, 1, 5, 4]])]
    both = (TorchvisionMultiScaleRoIAlign, poolers.MultiScaleRoIAlign)
    ours, theirs = (make(list(maps), 3, 2, **CANONICAL) for make in both)
    apart = next((pair for pair in scales if pair[0] != pair[1]), None)
    if apart is not None:
        event("height and width tell two scales")
        with pytest.raises(ValueError, match=f"has the scale {apart[0]} along the height .* and {apart[1]} along"):
            ours(maps, boxes, [image, image])
        return
    inferred = [scale for scale, _ in scales]
    pooled = ours(maps, boxes, [image, (10, 10)])
    assert torch.equal(pooled, multiscale_roi_align(list(maps.values()), boxes, 3, inferred, 2, **CANONICAL))
    assert torch.allclose(pooled, theirs(maps, boxes, [image, (10, 10)]), rtol=0, atol=1e-5)


@pytest.mark.cpu
def test_explicit_scales_override_inferred_ones():
    """A 10 x 100 image padded to 32 x 128: heights imply other scales than widths, and explicit scales override
    both."""
    maps = {str(k): each for k, each in enumerate(make_maps([(8, 32), (4, 16), (2, 8)]))}
    boxes, scales = [torch.tensor([[2.0, 1, 60, 9], [0, 0, 100, 10]])] * 2, (1 / 4, 1 / 8, 1 / 16)
    with pytest.raises(ValueError, match=r"x\['0'\] of 8 x 32 pixels has the scale 1.0 along the height of 10 x 100 "):
        TorchvisionMultiScaleRoIAlign(list(maps), 3, 2)(maps, boxes, [(10, 100)])
    module = TorchvisionMultiScaleRoIAlign(list(maps), 3, 2, scales=scales)
    for shapes in ([(10, 100)], [(32, 128)], []):
        expected = multiscale_roi_align(list(maps.values()), boxes, 3, scales, 2)
        assert torch.equal(module(maps, boxes, shapes), expected)
    with pytest.raises(ValueError, match="one scale for each of the 2 levels, not 3"):
        module({name: maps[name] for name in ("0", "1")}, boxes, [])


@pytest.mark.cpu
def test_explicit_scales_allow_export_with_dynamic_sizes():
    """The inferred scales and sizes would be those of the example."""
    module = TorchvisionMultiScaleRoIAlign(["0", "1"], 3, 2, **CANONICAL, scales=[1 / 4, 1 / 8])
    boxes = [torch.tensor([[1.0, 2, 60, 70], [4, 2, 20, 19]])] * 2
    maps, others = (
        dict(zip("01", make_maps([(high, wide), (high // 2, wide // 2)]), strict=True))
        for high, wide in ((32, 40), (20, 48))
    )
    height, width = (torch.export.Dim(name, min=4, max=32) for name in ("height", "width"))
    sizes = {"0": {2: 2 * height, 3: 2 * width}, "1": {2: height, 3: width}}
    program = torch.export.export(module, (maps, boxes, []), dynamic_shapes=(sizes, [None, None], [])).module()
    assert torch.equal(program(others, boxes, []), module(others, boxes, []))


@pytest.mark.cpu
def test_scales_are_inferred_for_each_call():
    """torchvision keeps the scales of its first call."""
    module = TorchvisionMultiScaleRoIAlign(["a", "b"], 2, 2, canonical_scale=24.0, canonical_level=2)
    maps, boxes = make_maps([(32, 32), (16, 16)]), [torch.tensor([[1.0, 2, 20, 30]])] * 2
    for side in (64, 128, 64):
        scales = [32 / side, 16 / side]
        expected = multiscale_roi_align(maps, boxes, 2, scales, 2, **CANONICAL)
        assert torch.equal(module(dict(zip("ab", maps, strict=True)), boxes, [(side, side)]), expected)


@pytest.mark.cpu
def test_an_inferred_scale_is_the_nearest_power_of_two():
    """On a logarithmic scale, as torchvision infers it: between 1/4 and 1/2 the border is at 1/sqrt(8)."""
    module = TorchvisionMultiScaleRoIAlign(["a"], 1, 1)
    for side in (1, 2, 3, 5, 12, 13, 50):
        image = torch.arange(1.0, side + 1)[:, None].expand(1, 1, side, side)
        for whole in (1, 2, 3, 4, 5, 7, 17, 18, 19, 33, 100, 141, 142, 799, 800):
            boxes = [torch.tensor([[0, 0, 0.8 * whole, 0.8 * whole]])]
            expected = roi_align(image, boxes, 1, 2.0 ** round(math.log2(side / whole)), 1)
            assert torch.equal(module({"a": image}, boxes, [(whole, whole)]), expected), (side, whole)


@pytest.mark.cpu
def test_the_modules_errors_and_repr_name_its_arguments():
    module = TorchvisionMultiScaleRoIAlign(["a"], 3, 2)
    with pytest.raises(ValueError, match=r"None of the maps \['b'\] has a name in \['a'\]"):
        module({"b": torch.rand(1, 1, 4, 4)}, [torch.rand(1, 4)], [(8, 8)])
    with pytest.raises(ValueError, match="image_shapes must hold"):
        module({"a": torch.rand(1, 1, 4, 4)}, [torch.rand(1, 4)], [])
    with pytest.raises(ValueError, match=r"image_shapes must hold the \(height, width\) of .* not \[\(8, 0\)\]"):
        module({"a": torch.rand(1, 1, 4, 4)}, [torch.rand(1, 4)], [(8, 0)])
    with pytest.raises(ValueError, match=r"x\['a'\] must have at least one row and one column"):
        module({"a": torch.rand(1, 1, 4, 0)}, [torch.rand(1, 4)], [(8, 8)])
    assert repr(module) == (
        "TorchvisionMultiScaleRoIAlign(featmap_names=['a'], output_size=(3, 3), sampling_ratio=2, "
        "canonical_scale=224, canonical_level=4, scales=None)"
    )
    module = TorchvisionMultiScaleRoIAlign(["a", "b"], (3, 2), 0, **CANONICAL, scales=(1, 0.5))
    assert repr(module).endswith("canonical_scale=24.0, canonical_level=2, scales=[1.0, 0.5])")
