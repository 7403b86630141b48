"""A RoiCase is all that one call of roi_align is given, as a Case is for crop_and_resize: one line that makes it.

One map, boxes in pixels with the index of their image, and the rule's own choices: scale, grid, half-pixel offset, mean
or maximum. A pyramid is no case of its own: test_levels.py ties it to this operator by levels.py and identities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from harness.operators.arrays import (
    Array,
    Layout,
    Strides,
    Values,
    boxes_of,
    image_of,
    in_one_line,
    read_line,
    strided,
    upstream_of,
)

# "max" is the maximum of the samples, "weighted_max" that of the pixels times their weights, ONNX's (operators.md).
Mode = Literal["avg", "max", "weighted_max"]
MODES: tuple[Mode, ...] = get_args(Mode)
# Those of torchvision's rule and its siblings, which this project has.
SAMPLED: tuple[Mode, ...] = ("avg", "max")
# (index, x1, y1, x2, y2)
Row = tuple[int, float, float, float, float]


@dataclass(frozen=True)
class RoiInputs:
    """The arrays of one call, in NCHW index order whatever their strides are.

    image (N,C,H,W); boxes (K,5), rows (index, x1, y1, x2, y2); upstream (K,C,height,width), the gradient from above.
    """

    image: Array
    boxes: Array
    upstream: Array
    output_size: tuple[int, int]
    spatial_scale: float = 1.0
    sampling_ratio: int = -1
    aligned: bool = False
    mode: Mode = "avg"


@dataclass(frozen=True)
class RoiCase:
    """One call: geometry, dtypes, layouts, and the values as a family and a seed (../crop_and_resize/case.py)."""

    shape: tuple[int, int, int, int]
    boxes: tuple[Row, ...]
    output_size: tuple[int, int]
    spatial_scale: float = 1.0
    sampling_ratio: int = -1
    aligned: bool = False
    mode: Mode = "avg"
    image_dtype: str = "float32"
    boxes_dtype: str = "float32"
    layout: Layout = "contiguous"
    boxes_layout: Strides = "contiguous"
    upstream_layout: Strides = "contiguous"
    values: Values = "normal"
    seed: int = 0

    def __repr__(self) -> str:
        """One line that `RoiCase.parse` reads back; fields at their default are left out."""
        return in_one_line(self)

    @staticmethod
    def parse(line: str) -> RoiCase:
        """The RoiCase whose repr `line` is; ValueError if the line is anything else."""
        return read_line(line, RoiCase)

    def inputs(self) -> RoiInputs:
        """The arrays of this case, the same on every machine and every day."""
        random = np.random.Generator(np.random.PCG64(self.seed))
        image = image_of(self.values, self.shape, self.image_dtype, self.layout, random)
        crops = (len(self.boxes), self.shape[1], *self.output_size)
        upstream = upstream_of(self.values, crops, self.image_dtype, self.layout, random)
        return RoiInputs(
            image=image,
            boxes=strided(boxes_of(self.boxes, 5, self.boxes_dtype), self.boxes_layout),
            upstream=strided(upstream, self.upstream_layout),
            output_size=self.output_size,
            spatial_scale=self.spatial_scale,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
            mode=self.mode,
        )
