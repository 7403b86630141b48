"""Whether two detectors that differ only in their poolers agree: each difference as a fraction of its bound.

Above 1, one of the poolers is wrong. Where the bound covers all elements together, a random combination is compared: it
reveals a difference in any element.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.detectors import bounds, models
from harness.detectors.models import BRANCHES, Branch, Target

# The losses of each branch, and the number of random combinations of a box's outputs to compare.
LOSSES = {"box": ("loss_classifier", "loss_box_reg"), "mask": ("loss_mask",)}
COMBINATIONS = 2


@dataclass(frozen=True)
class DetectorCall:
    """One call of a model: its photographs, its result and its branches, see models.run.

    gradients: of its parameters by name, after a training step.
    """

    model: Any
    photographs: list[Tensor]
    result: Any
    branches: dict[str, Branch]
    gradients: dict[str, Tensor]


def call(model: Any, photographs: list[Tensor], targets: list[Target] | None = None) -> DetectorCall:
    """Runs inference, or a training step if there are targets."""
    result, branches = models.run(model, photographs, targets)
    parameters = dict(model.named_parameters()) if targets else {}
    gradients = (
        torch.autograd.grad(sum(result.values()), list(parameters.values()), retain_graph=True) if targets else ()
    )
    return DetectorCall(model, photographs, result, branches, dict(zip(parameters, gradients, strict=True)))


def pooler(model: Any, name: str) -> Any:
    return getattr(model.roi_heads, BRANCHES[name][0])


def part_of_bound(ours: Tensor, theirs: Tensor, bound: Tensor | float) -> float:
    """The largest difference of an element, as a fraction of its bound."""
    apart = (ours.detach().double() - theirs.detach().double()).abs()
    fractions = torch.where(apart == 0, 0.0, apart / bound)
    return float(fractions.nan_to_num(nan=torch.inf).max())


def pooled_fractions(
    theirs: DetectorCall, ours: dict[str, Branch], dtype: torch.dtype = torch.float32
) -> dict[str, float]:
    """Compares every pooled element, with the bounds of this dtype."""
    return {
        f"{name}, pooled features": part_of_bound(
            ours[name].pooled, branch.pooled, bounds.of_pooled(branch, pooler(theirs.model, name), dtype)
        )
        for name, branch in theirs.branches.items()
    }


@dataclass(frozen=True)
class Combination:
    """One random combination of each box's outputs, (K,), and the bound on another detector's difference."""

    name: str
    place: int
    weights: Tensor
    value: Tensor
    bound: Tensor


def combinations(theirs: DetectorCall) -> list[Combination]:
    """Random combinations of class logits, box deltas and mask logits."""
    results = []
    for name, branch in theirs.branches.items():
        errors = bounds.of_pooled(branch, pooler(theirs.model, name))
        _, head, predictor = (getattr(theirs.model.roi_heads, part) for part in BRANCHES[name])
        pooled = branch.pooled.detach().requires_grad_()
        predictions = predictor(head(pooled))
        for place, output in enumerate(predictions if name == "box" else (predictions,)):
            own = output.flatten(1)
            for seed in range(COMBINATIONS):
                (weights,) = bounds.directions([own[0]], seed)
                # Boxes are independent: the gradient of the sum contains the gradient of each box.
                (slopes,) = torch.autograd.grad((own @ weights).sum(), pooled, retain_graph=True)
                bound = (slopes.abs() * errors).flatten(1).sum(1)
                results.append(Combination(name, place, weights, (own @ weights).detach(), bound))
    return results


def output_fractions(expected: list[Combination], ours: dict[str, Branch]) -> dict[str, float]:
    """Compares combinations of one detector's outputs with another's."""
    fractions: dict[str, float] = {}
    for each in expected:
        name = f"{each.name}, {('class logits', 'box deltas')[each.place] if each.name == 'box' else 'mask logits'}"
        result = ours[each.name].outputs[each.place].flatten(1) @ each.weights
        fractions[name] = max(fractions.get(name, 0.0), part_of_bound(result, each.value, each.bound))
    return fractions


def changed_signs(theirs: DetectorCall, ours: DetectorCall, name: str) -> int:
    """The number of ReLU units of the heads that are on in one model and off in the other."""
    one, other = (bounds.signs(theirs.model, name, side.branches[name].pooled.detach()) for side in (theirs, ours))
    count = int((one != other).sum())
    assert count <= 1e-5 * len(one), f"{count} units of the {name} branch changed their sign."
    return count


def loss_and_head_fractions(theirs: DetectorCall, ours: DetectorCall, name: str) -> dict[str, float]:
    """Compares a branch's losses, and the gradients of its parameters along a random direction."""
    loss, branch = sum(theirs.result.values()), theirs.branches[name]
    errors = bounds.of_pooled(branch, pooler(theirs.model, name))
    fractions = {
        loss_name: part_of_bound(
            ours.result[loss_name], theirs.result[loss_name], bounds.change(theirs.result[loss_name], branch, errors)
        )
        for loss_name in LOSSES[name]
    }
    if changed_signs(theirs, ours, name):
        return fractions  # the gradient jumps there, so either side is right
    modules = tuple(f"roi_heads.{part}." for part in BRANCHES[name][1:])
    parameters = {path: each for path, each in theirs.model.named_parameters() if path.startswith(modules)}
    gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
    directions = [
        along / gradient.detach().norm()  # so that each tensor contributes equally
        for along, gradient in zip(bounds.directions(gradients, 0), gradients, strict=True)
    ]
    projected = sum((each * along).sum() for each, along in zip(gradients, directions, strict=True))
    bound = bounds.change(torch.as_tensor(projected), branch, errors)
    return fractions | {
        f"{name}, gradients of the heads": _fraction_along(theirs, ours, list(parameters), directions, bound)
    }


def _fraction_along(
    theirs: DetectorCall, ours: DetectorCall, paths: list[str], directions: list[Tensor], bound: float
) -> float:
    """Compares the gradients of these parameters, projected on these directions together."""
    apart = sum(
        ((ours.gradients[path] - theirs.gradients[path]) * along).sum()
        for path, along in zip(paths, directions, strict=True)
    )
    return part_of_bound(torch.as_tensor(apart), torch.zeros(()), bound)


def map_gradients(side: DetectorCall, name: str) -> tuple[Tensor, dict[str, Tensor]]:
    """The gradient of a branch's pooled features, and the map gradients that its pooler computes from it."""
    branch = side.branches[name]
    gradients = torch.autograd.grad(
        sum(side.result.values()), [branch.pooled, *branch.maps.values()], retain_graph=True, materialize_grads=True
    )
    return gradients[0], dict(zip(branch.maps, gradients[1:], strict=True))


def map_fractions(theirs: DetectorCall, ours: DetectorCall, name: str) -> dict[str, float]:
    """Compares each element of our pooler's map gradients with theirs for the same upstream gradient."""
    branch, (upstream, gradients) = theirs.branches[name], map_gradients(ours, name)
    maps = list(branch.maps.values())
    same = torch.autograd.grad(branch.pooled, maps, upstream, retain_graph=True, materialize_grads=True)
    limits = bounds.of_maps(branch, pooler(theirs.model, name), upstream)
    fractions = (
        part_of_bound(gradients[level], each, limits[level]) for level, each in zip(branch.maps, same, strict=True)
    )
    return {f"{name}, gradients of the maps": max(fractions)}


def backbone_fractions(theirs: DetectorCall, ours: DetectorCall) -> dict[str, float]:
    """Compares the gradients of all parameters of backbone and pyramid along a random direction v: J' g v = g J v for
    the map gradients g.

    The bound on g has two parts: our pooler's difference for the same upstream gradient, and the difference of the
    upstream gradient itself. The roundings of J' are left out, which only tightens the bound.
    """
    paths = [path for path in theirs.gradients if path.startswith("backbone.")]
    directions = bounds.directions([theirs.gradients[path] for path in paths], 1)
    batch, _ = theirs.model.transform(theirs.photographs)
    tangent_directions = {path.removeprefix("backbone."): each for path, each in zip(paths, directions, strict=True)}
    tangents = bounds.along(theirs.model, batch.tensors, tangent_directions)
    bound = 0.0
    for name, branch in theirs.branches.items():
        if changed_signs(theirs, ours, name):
            return {}
        pool = pooler(theirs.model, name)
        (upstream,) = torch.autograd.grad(sum(theirs.result.values()), branch.pooled, create_graph=True)
        with torch.no_grad():
            pooled_tangents = pool({level: tangents[level] for level in branch.maps}, branch.boxes, branch.shapes)
        errors = bounds.of_pooled(branch, pool)
        bound += bounds.change((upstream * pooled_tangents).sum(), branch, errors)
        of_maps = bounds.of_maps(branch, pool, upstream.detach())
        bound += sum(float((error * tangents[level].abs()).sum()) for level, error in of_maps.items())
    return {"gradients of backbone and pyramid": _fraction_along(theirs, ours, paths, directions, bound)}


def training_fractions(theirs: DetectorCall, ours: DetectorCall) -> dict[str, float]:
    """Compares all results of a training step."""
    fractions = pooled_fractions(theirs, ours.branches) | backbone_fractions(theirs, ours)
    for name in theirs.branches:
        fractions |= loss_and_head_fractions(theirs, ours, name) | map_fractions(theirs, ours, name)
    return fractions
