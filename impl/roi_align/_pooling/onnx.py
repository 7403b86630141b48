"""How torch.onnx.export writes `roi_align` and `multiscale_roi_align`: as ONNX's RoiAlign, one node for each level.

Both exporters record what Python calls, so that what is called here is what the file holds: torch's own operators,
which they know, around the one node. docs/deploying.md says where a file cannot be what the package is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from roi_align._checks import is_tracing
from roi_align._pooling import operator
from roi_align._pooling.operator import MODES, Rule
from roi_align._pooling.samples import levels_of

# The oldest opset whose RoiAlign says what pixel k's centre is.
OPSET = 16


def pool(
    maps: Sequence[Tensor],
    boxes: Tensor,
    scales: Sequence[float],
    height: int,
    width: int,
    rule: Rule,
    validate: bool,
) -> Tensor:
    """What `operator.forward` gives of the same arguments, in operators that ONNX has; ValueError where it has none."""
    if rule.mode != MODES["avg"]:
        raise ValueError(
            "mode must be 'avg' in a model for ONNX, not 'max': ONNX's maximum is of weighted pixels, not of samples."
        )
    if validate:
        raise ValueError("validate must be False in a model for ONNX: ONNX has no errors for boxes.")
    first, levels = maps[0], levels_of(boxes, scales, rule)
    # ONNX wants one dtype of maps and boxes: the wider one, and no half, so that sums are as here.
    wide = torch.promote_types(torch.promote_types(first.dtype, boxes.dtype), torch.float32)
    corners, indices = boxes[:, 1:].to(wide), boxes[:, 0].to(torch.int64)

    def pooled(level: int, rows: Tensor | None = None) -> Tensor:
        chosen = (corners, indices) if rows is None else (corners[rows], indices[rows])
        return _node(maps[level].to(wide), *chosen, scales[level], height, width, rule)

    if len(maps) == 1:
        result = pooled(0)
    else:
        result = first.new_zeros((boxes.shape[0], first.shape[1], height, width), dtype=wide)
        for level in range(len(maps)):
            rows = torch.nonzero(levels == level)[:, 0]
            result = result.index_put((rows,), pooled(level, rows))
    return result.to(first.dtype if first.is_floating_point() else torch.float32)


def _node(image: Tensor, corners: Tensor, indices: Tensor, scale: float, height: int, width: int, rule: Rule) -> Tensor:
    """One RoiAlign node. Its scale is a float32: another scale of double boxes is multiplied by before."""
    if image.dtype == torch.float64 and float(np.float32(scale)) != scale:
        corners, scale = corners * scale, 1.0
    attributes: dict[str, Any] = {
        "coordinate_transformation_mode": "half_pixel" if rule.aligned else "output_half_pixel",
        "mode": "avg",
        "output_height": height,
        "output_width": width,
        "sampling_ratio": max(0, rule.sampling_ratio),
        "spatial_scale": scale,
    }
    if is_tracing():
        return _Node.apply(image, corners, indices, attributes)  # type: ignore[no-any-return, no-untyped-call]
    return torch.onnx.ops.symbolic(
        "RoiAlign", (image, corners, indices), attributes, dtype=image.dtype,
        shape=(corners.shape[0], image.shape[1], height, width), version=OPSET,
    )  # fmt: skip


class _Node(torch.autograd.Function):
    """A RoiAlign node of the exporter that traces, and what it computes."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, corners: Tensor, indices: Tensor, attributes: dict[str, Any]) -> Tensor:
        rule = Rule(attributes["sampling_ratio"], attributes["coordinate_transformation_mode"] == "half_pixel", 0)
        boxes = torch.cat([indices[:, None].to(corners.dtype), corners], dim=1)
        size = attributes["output_height"], attributes["output_width"]
        return operator.forward(  # type: ignore[no-any-return]
            [image], boxes, [attributes["spatial_scale"]], *size, *rule, False
        )

    @staticmethod
    def symbolic(g: Any, image: Any, corners: Any, indices: Any, attributes: dict[str, Any]) -> Any:
        if g.opset < OPSET:
            raise ValueError(f"opset_version must be {OPSET} or newer for RoiAlign, not {g.opset}.")
        kinds = {str: "s", int: "i", float: "f"}
        return g.op("RoiAlign", image, corners, indices, **{f"{k}_{kinds[type(v)]}": v for k, v in attributes.items()})
