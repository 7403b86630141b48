"""torchvision's Mask R-CNN and Faster R-CNN with this operator, on photographs, as a real client.

The models differ in one line per pooler. Up to the proposals all bits are equal; pooled features agree within the
oracle's bound for two correct poolers; logits, deltas, losses and gradients within the resulting bounds
(harness/detectors/bounds.py). Final detections are not compared: with random weights, non-maximum suppression is
unstable.
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
# The dtypes of a model: float32 throughout, float64 throughout, float64 around poolers in float32.
FLOATS = {"float32": torch.float32, "float64": torch.float64, "single": torch.float64}
# The number of outputs that the oracle checks per branch and implementation; it is plain Python.
PLACES = {"forward": 400, "grad_image": 40}


def detector_call(model: Any, floats: str, training: bool) -> agreement.DetectorCall:
    model = bounds.around_single(model) if floats == "single" else model
    dtype = FLOATS[floats]
    targets = models.targets(PHOTOGRAPHS, dtype) if training else None
    return agreement.call(model, models.images(PHOTOGRAPHS, dtype), targets)


@functools.cache
def unmodified(name: str, floats: str, training: bool = False) -> agreement.DetectorCall:
    return detector_call(models.detector(name, FLOATS[floats]), floats, training)


@functools.cache
def modified(name: str, floats: str, training: bool = False) -> agreement.DetectorCall:
    return detector_call(models.with_roi_align(models.detector(name, FLOATS[floats])), floats, training)


@functools.cache
def combinations(name: str) -> list[agreement.Combination]:
    return agreement.combinations(unmodified(name, "single"))


@pytest.fixture(scope="module", autouse=True)
def _free_memory():
    """Frees the graphs of training steps, gigabytes that later tests need."""
    yield
    for cache in (unmodified, modified, combinations):
        cache.cache_clear()
    gc.collect()
    cpu.give_back_memory()


def test_with_roi_align_replaces_the_pooler():
    model = models.detector(NAMES[0])
    assert isinstance(model.roi_heads.box_roi_pool, MultiScaleRoIAlign)
    assert isinstance(models.with_roi_align(model).roi_heads.box_roi_pool, TorchvisionMultiScaleRoIAlign)


def note(tally: Any, call: str, fractions: dict[str, float]) -> None:
    for name, part in fractions.items():
        tally.bound(f"{call}, {name}", part)
    assert max(fractions.values()) <= 1, fractions


@pytest.mark.parametrize(
    ("name", "floats"), [(NAMES[0], "float32"), (NAMES[0], "float64"), *((name, "single") for name in NAMES)]
)
def test_inference_agrees_with_torchvision_up_to_suppression(tally, name, floats):
    theirs, ours = unmodified(name, floats), modified(name, floats)
    box = theirs.branches["box"], ours.branches["box"]
    assert all(torch.equal(box[0].maps[level], each) for level, each in box[1].maps.items())
    assert all(torch.equal(*pair) for pair in zip(box[0].boxes, box[1].boxes, strict=True))
    # Detections may differ after suppression, so our mask branch runs on torchvision's.
    branches = {
        part: ours.branches[part] if part == "box" else models.again(ours.model, part, branch)
        for part, branch in theirs.branches.items()
    }
    fractions = agreement.pooled_fractions(theirs, branches, torch.float64 if floats == "float64" else torch.float32)
    if floats == "single":
        fractions |= agreement.output_fractions(combinations(name), branches)
        assert len(fractions) == (5 if name == NAMES[0] else 3)
    note(tally, f"{name}, {floats}", fractions)


@pytest.mark.parametrize("name", [name for name in models.DETECTORS if name.startswith("brief")])
def test_every_detector_of_torchvision_takes_the_pooler(tally, name):
    """MobileNet's two maps have one scale, and so do the last two of an image of 65 pixels."""
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
    # As above, branches after the first run on the inputs of torchvision's.
    pooled = {
        part: ours.branches[part] if part == "box" else models.again(ours.model, part, branch)
        for part, branch in theirs.branches.items()
    }
    note(tally, f"{name}, float32", agreement.pooled_fractions(theirs, pooled))


@pytest.mark.parametrize("which", [unmodified, modified])
@pytest.mark.parametrize("part", ["box", "mask"])
@pytest.mark.parametrize("direction", PLACES)
def test_random_pooled_values_pass_the_oracle(tally, which, part, direction):
    """Random elements of each pooler's results within the model, and of its gradients of the maps."""
    call = which(NAMES[0], "float32", direction == "grad_image")
    branch, worst, count = call.branches[part], 0.0, 0
    levels = initLevelMapper(2, 5)(branch.boxes)
    rows = torch.cat([torch.cat([each.new_full((len(each), 1), n), each], 1) for n, each in enumerate(branch.boxes)])
    gradients = {}
    if direction == "grad_image":
        sources = (branch.pooled, *branch.maps.values())
        tensors = torch.autograd.grad(sum(call.result.values()), sources, retain_graph=True, allow_unused=True)
        gradients = dict(zip(("pooled", *branch.maps), tensors, strict=True))
    upstream = gradients.get("pooled", branch.pooled)
    random = np.random.default_rng(0)
    for level in sorted(set(levels.tolist())):
        on_level = (levels == level).nonzero()[:, 0]
        arrays = [each.numpy() for each in (branch.maps[str(level)].detach(), rows[on_level], upstream[on_level])]
        inputs = RoiInputs(*arrays, tuple(branch.pooled.shape[2:]), 2.0 ** -(2 + level), 2)
        result = (gradients[str(level)] if gradients else branch.pooled[on_level]).numpy()
        flat = random.choice(np.flatnonzero(result), max(8, PLACES[direction] * len(on_level) // len(rows)))
        places = [tuple(int(axis) for axis in np.unravel_index(place, result.shape)) for place in flat]
        verdict = judge(inputs, direction, result, pinned=True, places=places)
        assert verdict.passed, f"{which.__name__}, {part}, level {level}: {verdict}"
        worst, count = max(worst, verdict.fraction), count + len(places)
    assert count >= PLACES[direction] * 0.9
    tally.bound(f"{which.__name__} {NAMES[0]}, {part}, {direction}, some elements by the oracle", worst)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_step_agrees_with_torchvision(tally, name):
    theirs, ours = unmodified(name, "single", True), modified(name, "single", True)
    for part, branch in theirs.branches.items():
        assert all(torch.equal(*pair) for pair in zip(branch.boxes, ours.branches[part].boxes, strict=True))
    for loss in ("loss_objectness", "loss_rpn_box_reg"):  # the operator has no part in these
        assert torch.equal(theirs.result[loss], ours.result[loss])
    own = [path for path in theirs.gradients if path.startswith("rpn.")]
    assert own
    assert all(torch.equal(theirs.gradients[path], ours.gradients[path]) for path in own)
    note(tally, f"{name}, training, single", agreement.training_fractions(theirs, ours))


class Faulty(torch.nn.Module):
    """A faulty pooler: `make` gets the correct pooler and its arguments."""

    sampling_ratio = 2

    def __init__(self, size: int, make: Callable[..., Tensor]) -> None:
        super().__init__()
        self.honest, self.make = TorchvisionMultiScaleRoIAlign(["0", "1", "2", "3"], size, 2), make

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        return self.make(self.honest, x, boxes, image_shapes)


def faulty(theirs: agreement.DetectorCall, make: Callable[..., Tensor]) -> Any:
    """The same model with this pooler in both branches, in float32."""
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


def with_rule(ratio: int = 2, **rule: Any) -> Callable[..., Tensor]:
    """The correct pooler with another rule."""

    def make(pool: Any, *arguments: Any) -> Tensor:
        return TorchvisionMultiScaleRoIAlign(pool.featmap_names, pool.output_size, ratio, **rule)(*arguments)

    return make


FAULTS: dict[str, Callable[..., Tensor]] = {
    "half a pixel off, as with aligned": half_pixel,
    "sampling ratio 1": with_rule(ratio=1),
    "adaptive sampling": with_rule(ratio=-1),
    "level rule off by one": with_rule(canonical_level=5),
    "level rule of another size": with_rule(canonical_scale=120),
    "finest level only": lambda pool, x, boxes, shapes: roi_align(x["0"], boxes, pool.output_size, 1 / 4, 2),
    "scale off by 1e-4": lambda pool, x, boxes, shapes: pool(x, [each * 1.0001 for each in boxes], shapes),
    "last box as the one before it": stale_row,
    "maps in half precision": lambda pool, x, *where: pool({k: v.half().to(v.dtype) for k, v in x.items()}, *where),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_pooler_fails_every_comparison(fault):
    """In every comparison: pooled features, logits and deltas of both branches."""
    theirs = unmodified(NAMES[0], "single")
    wrong = faulty(theirs, FAULTS[fault])
    branches = {name: models.again(wrong, name, branch) for name, branch in theirs.branches.items()}
    fractions = agreement.pooled_fractions(theirs, branches) | agreement.output_fractions(
        combinations(NAMES[0]), branches
    )
    print(f"{fault}: {', '.join(f'{what} {part:.3g}' for what, part in fractions.items())}")
    assert min(fractions.values()) > 1, fractions


class Rescaled(torch.autograd.Function):
    """The identity, with a gradient one percent too large."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * 1.01


def with_gradient(change: Callable[[Tensor], Tensor]) -> agreement.DetectorCall:
    """A training step whose poolers pass the gradient of the finest level through this function."""

    def make(pool: Any, x: dict[str, Tensor], boxes: list[Tensor], shapes: list[tuple[int, int]]) -> Tensor:
        return pool({**x, "0": change(x["0"])}, boxes, shapes)

    return detector_call(faulty(unmodified(NAMES[0], "single"), make), "single", True)


def test_a_gradient_one_percent_too_large_fails():
    theirs, ours = unmodified(NAMES[0], "single", True), with_gradient(Rescaled.apply)
    fractions = agreement.map_fractions(theirs, ours, "box") | agreement.map_fractions(theirs, ours, "mask")
    assert min(fractions.values()) > 1, fractions


def test_a_missing_gradient_fails_in_the_backbone():
    fractions = agreement.backbone_fractions(unmodified(NAMES[0], "single", True), with_gradient(Tensor.detach))
    assert min(fractions.values()) > 1, fractions
