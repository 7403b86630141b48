"""Bounds on the difference of two detectors that differ only in honest poolers.

The oracle bounds the change of each pooled feature, D, and of each map gradient. Anything computed from pooled features
x, a logit, a loss or a gradient, then changes by at most the sum of |derivative in x| D; no tolerance is chosen by
hand. This needs a model that computes in float64 around float32 poolers (`around_single`), because its own roundings
would hide a pooler's; and heads that are linear between the two features, as a ReLU net is unless a unit changes its
sign.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.detectors.models import BRANCHES, Branch
from harness.operators.expected import SECOND_ORDER
from harness.operators.rounding import UNIT


class InSingle(nn.Module):
    """A pooler with float64 inputs and outputs that pools in float32."""

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self.pool = pool
        self.sampling_ratio: int = pool.sampling_ratio

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        maps = {name: each.float() for name, each in x.items()}
        pooled: Tensor = self.pool(maps, [each.float() for each in boxes], image_shapes)
        return pooled.double()


def around_single(model: Any) -> Any:
    """A copy of a float64 model with its poolers in float32."""
    model = copy.deepcopy(model)
    for pool, _, _ in BRANCHES.values():
        if getattr(model.roi_heads, pool, None) is not None:
            setattr(model.roi_heads, pool, InSingle(getattr(model.roi_heads, pool)))
    return model


def gamma(roundings: Tensor | int, dtype: torch.dtype = torch.float32) -> Any:
    """The error bound of a sum of products with so many roundings, relative to the sum of their sizes."""
    unit = roundings * UNIT[str(dtype).removeprefix("torch.")]
    return unit / (1 - unit) * SECOND_ORDER


def of_pooled(branch: Branch, pool: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    """The bound on the difference of two right pooled results, (K, C, h, w): each is within the oracle's bound.

    Uses the oracle's formulation with more roundings, for s samples per axis. pool: the unmodified pooler, which gives
    sum(weight * |pixel|) for the input |pixel|. dtype: the dtype of pooling.
    """
    samples = pool.sampling_ratio
    one = gamma(max(8 + samples**2, 6 * samples + 4), dtype)
    with torch.no_grad():
        magnitude: Tensor = pool({name: each.abs() for name, each in branch.maps.items()}, branch.boxes, branch.shapes)
    errors: Tensor = 2 * one * magnitude.double() * (1 + one)  # the magnitude itself was summed with roundings
    return errors


def of_maps(branch: Branch, pool: Any, upstream: Tensor) -> dict[str, Tensor]:
    """The bound for the gradient of each map, for one gradient of the pooled features. `pool` is a pooler of
    single maps (InSingle).

    A pixel sums over the samples of the boxes that reach it: at most s * s for each of h * w bins.
    """
    maps = {name: each.detach().requires_grad_() for name, each in branch.maps.items()}
    with torch.enable_grad():
        pooled = pool(maps, branch.boxes, branch.shapes)
        magnitudes = torch.autograd.grad(pooled, list(maps.values()), upstream.abs(), materialize_grads=True)
    samples = pool.sampling_ratio**2 * branch.pooled.shape[2] * branch.pooled.shape[3]
    errors = {}
    for (name, each), sums in zip(maps.items(), magnitudes, strict=True):
        # Six roundings for a weight and its products, one for the cast of a gradient to float32.
        one = gamma(_near(branch, each) * samples + 2 * pool.sampling_ratio + 7)
        errors[name] = 2 * one * sums * (1 + one)
    return errors


def _near(branch: Branch, level: Tensor) -> Tensor:
    """The number of boxes, of any level, that come within two pixels of each pixel of a level: (N, 1, H, W)."""
    count = torch.zeros(level.shape[0], 1, *level.shape[2:])
    scale = level.shape[2] / max(height for height, _ in branch.shapes)
    scale = 2.0 ** round(torch.tensor(scale).log2().item())
    for image, boxes in enumerate(branch.boxes):
        for x1, y1, x2, y2 in (boxes.detach() * scale).tolist():
            rows, columns = slice(max(0, int(y1) - 2), int(y2) + 4), slice(max(0, int(x1) - 2), int(x2) + 4)
            count[image, 0, rows, columns] += 1
    return count


def change(functional: Tensor, branch: Branch, errors: Tensor) -> float:
    """The largest change of a number computed from a branch's pooled features, for these errors of the features."""
    return float((torch.autograd.grad(functional, branch.pooled, retain_graph=True)[0].abs() * errors).sum())


def signs(model: Any, name: str, pooled: Tensor) -> Tensor:
    """The on/off state of all ReLU units of a branch; equal for two features if the heads are linear between them."""
    _, head, predictor = (getattr(model.roi_heads, part) for part in BRANCHES[name])
    units: list[Tensor] = []
    layers = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    hidden = [each for each in head.modules() if isinstance(each, layers)]
    hidden += [predictor.conv5_mask] if name == "mask" else []
    hooks = [each.register_forward_hook(lambda _, __, output: units.append((output > 0).flatten())) for each in hidden]
    with torch.no_grad():
        predictor(head(pooled))
    for hook in hooks:
        hook.remove()
    return torch.cat(units)


def directions(shapes: Sequence[Tensor], seed: int) -> list[Tensor]:
    """Random directions of these shapes; the projection on one reveals a difference in any element."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(each.shape, generator=generator, dtype=each.dtype) for each in shapes]


def along(model: Any, batch: Tensor, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """The derivative of a batch's maps when the backbone's parameters move along these directions."""
    values = {name: each.detach() for name, each in model.backbone.named_parameters()}

    def maps(values: dict[str, Tensor]) -> dict[str, Tensor]:
        return dict(torch.func.functional_call(model.backbone, values, (batch,)))

    tangents: dict[str, Tensor] = torch.func.jvp(maps, (values,), (parameters,))[1]
    return tangents
