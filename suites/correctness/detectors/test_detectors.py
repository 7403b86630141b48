"""A real client: torchvision's Mask R-CNN and Faster R-CNN with this operator in them, on photographs.

The models differ in one line a pooler. Up to the proposals they are equal in every bit; what they pool is equal as far
as the oracle lets two right poolers be apart; logits, deltas, losses and gradients as far as that can change them
(harness/detectors/bounds.py). Final detections are not compared: with random weights non-maximum suppression jumps.
"""

from __future__ import annotations

import copy
import functools
import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("torchvision", reason="the detectors are torchvision's")
pytest.importorskip("skimage", reason="the photographs are scikit-image's")

from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from harness.detectors import agreement, bounds, models
from harness.detectors.models import BRANCHES
from harness.measuring.devices import cpu
from harness.operators.judgement import judge
from harness.operators.roi_align.case import RoiInputs
from roi_align import TorchvisionMultiScaleRoIAlign, roi_align

pytestmark = [pytest.mark.package, pytest.mark.cpu]

PHOTOGRAPHS = ("astronaut", "coffee")
NAMES = ("small Mask R-CNN", "small Faster R-CNN")
# What a model computes in: float32 throughout, float64 throughout, float64 around poolers in float32.
FLOATS = {"float32": torch.float32, "float64": torch.float64, "single": torch.float64}
# Outputs that go to the oracle, of each branch and implementation: plain Python.
PLACES = {"forward": 400, "grad_image": 40}


def called(model: Any, floats: str, training: bool) -> agreement.DetectorCall:
    model = bounds.around_single(model) if floats == "single" else model
    dtype = FLOATS[floats]
    wanted = models.targets(PHOTOGRAPHS, dtype) if training else None
    return agreement.call(model, models.images(PHOTOGRAPHS, dtype), wanted)


@functools.cache
def unmodified(name: str, floats: str, training: bool = False) -> agreement.DetectorCall:
    return called(models.detector(name, FLOATS[floats]), floats, training)


@functools.cache
def modified(name: str, floats: str, training: bool = False) -> agreement.DetectorCall:
    return called(models.with_roi_align(models.detector(name, FLOATS[floats])), floats, training)


@functools.cache
def combinations(name: str) -> list[agreement.Combination]:
    return agreement.combinations(unmodified(name, "single"))


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_kept():
    """Training steps hold on to their graphs: gigabytes, which the tests after these have better use for."""
    yield
    for kept in (unmodified, modified, combinations):
        kept.cache_clear()
    gc.collect()
    cpu.give_back_memory()


def test_the_line_that_readers_are_shown_is_the_one_that_is_run():
    model = models.detector(NAMES[0])
    assert isinstance(model.roi_heads.box_roi_pool, MultiScaleRoIAlign)
    assert isinstance(models.with_roi_align(model).roi_heads.box_roi_pool, TorchvisionMultiScaleRoIAlign)


def told(tally: Any, call: str, used: dict[str, float]) -> None:
    for what, part in used.items():
        tally.bound(f"{call}, {what}", part)
    assert max(used.values()) <= 1, used


@pytest.mark.parametrize(
    ("name", "floats"), [(NAMES[0], "float32"), (NAMES[0], "float64"), *((name, "single") for name in NAMES)]
)
def test_inference_is_torchvisions_up_to_suppression(tally, name, floats):
    theirs, ours = unmodified(name, floats), modified(name, floats)
    box = theirs.branches["box"], ours.branches["box"]
    assert all(torch.equal(box[0].maps[level], each) for level, each in box[1].maps.items())
    assert all(torch.equal(*pair) for pair in zip(box[0].boxes, box[1].boxes, strict=True))
    # After suppression detections may be others: the mask branch is asked about theirs.
    branches = {
        part: ours.branches[part] if part == "box" else models.again(ours.model, part, branch)
        for part, branch in theirs.branches.items()
    }
    used = agreement.pooled_used(theirs, branches, torch.float64 if floats == "float64" else torch.float32)
    if floats == "single":
        used |= agreement.outputs_used(combinations(name), branches)
        assert len(used) == (5 if name == NAMES[0] else 3)
    told(tally, f"{name}, {floats}", used)


@pytest.mark.parametrize("name", [name for name in models.DETECTORS if name.startswith("brief")])
def test_every_detector_of_torchvision_takes_the_pooler(tally, name):
    """MobileNet's two maps are of one scale, and so are the last two of an image of 65 pixels."""
    model = models.detector(name)
    photographs = models.images(PHOTOGRAPHS)
    if "65" in name:
        photographs = [each[:, :65, :65] for each in photographs]
    theirs, ours = (agreement.call(each, photographs) for each in (model, models.with_roi_align(model)))
    assert set(theirs.branches) == {part for part in BRANCHES if part == "box" or f"{part}rcnn" in name}
    assert all(
        torch.equal(*pair) for pair in zip(*(side.branches["box"].boxes for side in (theirs, ours)), strict=True)
    )
    assert all(branch.pooled.flatten(1).any(dim=1).all() for branch in theirs.branches.values())
    # As above, other branches than the first are asked about what theirs were given.
    pooled = {
        part: ours.branches[part] if part == "box" else models.again(ours.model, part, branch)
        for part, branch in theirs.branches.items()
    }
    told(tally, f"{name}, float32", agreement.pooled_used(theirs, pooled))


@pytest.mark.parametrize("which", [unmodified, modified])
@pytest.mark.parametrize("part", ["box", "mask"])
@pytest.mark.parametrize("direction", PLACES)
def test_some_of_what_was_pooled_by_the_oracle(tally, which, part, direction):
    """Elements anywhere of what either pooler made within the model, and of the gradient it sent to the maps."""
    call = which(NAMES[0], "float32", direction == "grad_image")
    branch, worst, seen = call.branches[part], 0.0, 0
    levels = initLevelMapper(2, 5)(branch.boxes)
    rows = torch.cat([torch.cat([each.new_full((len(each), 1), n), each], 1) for n, each in enumerate(branch.boxes)])
    gradients = {}
    if direction == "grad_image":
        wanted = (branch.pooled, *branch.maps.values())
        found = torch.autograd.grad(sum(call.result.values()), wanted, retain_graph=True, allow_unused=True)
        gradients = dict(zip(("pooled", *branch.maps), found, strict=True))
    upstream = gradients.get("pooled", branch.pooled)
    random = np.random.default_rng(0)
    for level in sorted(set(levels.tolist())):
        chosen = (levels == level).nonzero()[:, 0]
        arrays = [each.numpy() for each in (branch.maps[str(level)].detach(), rows[chosen], upstream[chosen])]
        inputs = RoiInputs(*arrays, tuple(branch.pooled.shape[2:]), 2.0 ** -(2 + level), 2)
        got = (gradients[str(level)] if gradients else branch.pooled[chosen]).numpy()
        flat = random.choice(np.flatnonzero(got), max(8, PLACES[direction] * len(chosen) // len(rows)))
        places = [tuple(int(axis) for axis in np.unravel_index(place, got.shape)) for place in flat]
        verdict = judge(inputs, direction, got, pinned=True, places=places)
        assert verdict.passed, f"{which.__name__}, {part}, level {level}: {verdict}"
        worst, seen = max(worst, verdict.fraction), seen + len(places)
    assert seen >= PLACES[direction] * 0.9
    tally.bound(f"{which.__name__} {NAMES[0]}, {part}, {direction}, some elements by the oracle", worst)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_is_torchvisions(tally, name):
    theirs, ours = unmodified(name, "single", True), modified(name, "single", True)
    for part, branch in theirs.branches.items():
        assert all(torch.equal(*pair) for pair in zip(branch.boxes, ours.branches[part].boxes, strict=True))
    for what in ("loss_objectness", "loss_rpn_box_reg"):  # the operator has no part in these
        assert torch.equal(theirs.result[what], ours.result[what])
    own = [path for path in theirs.gradients if path.startswith("rpn.")]
    assert own
    assert all(torch.equal(theirs.gradients[path], ours.gradients[path]) for path in own)
    told(tally, f"{name}, training, single", agreement.training_used(theirs, ours))


class Faulty(torch.nn.Module):
    """A pooler with a fault in it: `make` is given the honest one, and all that this is given."""

    sampling_ratio = 2

    def __init__(self, size: int, make: Callable[..., Tensor]) -> None:
        super().__init__()
        self.honest, self.make = TorchvisionMultiScaleRoIAlign(["0", "1", "2", "3"], size, 2), make

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        return self.make(self.honest, x, boxes, image_shapes)


def faulty(theirs: agreement.DetectorCall, make: Callable[..., Tensor]) -> Any:
    """The same model with this pooler, in float32, in both branches."""
    model = copy.deepcopy(theirs.model)
    model.roi_heads.box_roi_pool = bounds.InSingle(Faulty(7, make))
    model.roi_heads.mask_roi_pool = bounds.InSingle(Faulty(14, make))
    return model


def half_pixel(pool: Any, x: dict[str, Tensor], boxes: list[Tensor], shapes: list[tuple[int, int]]) -> Tensor:
    levels = initLevelMapper(2, 5)(boxes).split([len(each) for each in boxes])
    return pool(x, [each - 0.5 * 2.0 ** (2 + at[:, None]) for each, at in zip(boxes, levels, strict=True)], shapes)


def stale_row(pool: Any, x: dict[str, Tensor], boxes: list[Tensor], shapes: list[tuple[int, int]]) -> Tensor:
    pooled = pool(x, boxes, shapes)
    return torch.cat([pooled[:-1], pooled[-2:-1]])


def ruled(ratio: int = 2, **rule: Any) -> Callable[..., Tensor]:
    """The honest pooler with another rule."""

    def make(pool: Any, *arguments: Any) -> Tensor:
        return TorchvisionMultiScaleRoIAlign(pool.featmap_names, pool.output_size, ratio, **rule)(*arguments)

    return make


FAULTS: dict[str, Callable[..., Tensor]] = {
    "half a pixel off, as with aligned": half_pixel,
    "sampling ratio 1": ruled(ratio=1),
    "adaptive sampling": ruled(ratio=-1),
    "level rule off by one": ruled(canonical_level=5),
    "level rule of another size": ruled(canonical_scale=120),
    "finest level only": lambda pool, x, boxes, shapes: roi_align(x["0"], boxes, pool.output_size, 1 / 4, 2),
    "scale off by 1e-4": lambda pool, x, boxes, shapes: pool(x, [each * 1.0001 for each in boxes], shapes),
    "last box as the one before it": stale_row,
    "maps in half precision": lambda pool, x, *where: pool({k: v.half().to(v.dtype) for k, v in x.items()}, *where),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_pooler_is_found(fault):
    """In whatever is compared: pooled features, logits and deltas of both branches."""
    theirs = unmodified(NAMES[0], "single")
    wrong = faulty(theirs, FAULTS[fault])
    branches = {name: models.again(wrong, name, branch) for name, branch in theirs.branches.items()}
    used = agreement.pooled_used(theirs, branches) | agreement.outputs_used(combinations(NAMES[0]), branches)
    print(f"{fault}: {', '.join(f'{what} {part:.3g}' for what, part in used.items())}")
    assert min(used.values()) > 1, used


class Rescaled(torch.autograd.Function):
    """Nothing forward; backward a hundredth too much."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 1.01


def with_gradient(change: Callable[[Tensor], Tensor]) -> agreement.DetectorCall:
    """A training step whose poolers let the gradient of the finest level through this."""

    def make(pool: Any, x: dict[str, Tensor], boxes: list[Tensor], shapes: list[tuple[int, int]]) -> Tensor:
        return pool({**x, "0": change(x["0"])}, boxes, shapes)

    return called(faulty(unmodified(NAMES[0], "single"), make), "single", True)


def test_a_gradient_a_hundredth_too_large_is_found():
    theirs, ours = unmodified(NAMES[0], "single", True), with_gradient(Rescaled.apply)
    used = agreement.maps_used(theirs, ours, "box") | agreement.maps_used(theirs, ours, "mask")
    assert min(used.values()) > 1, used


def test_a_gradient_that_is_lost_is_found_behind_the_maps():
    used = agreement.behind_used(unmodified(NAMES[0], "single", True), with_gradient(Tensor.detach))
    assert min(used.values()) > 1, used
