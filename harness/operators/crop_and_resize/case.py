"""A Case describes one call completely and prints as one line.

A failure is worth little unless it can be reproduced. A Case therefore holds the full geometry, but the pixel values
only as a family and a seed: its repr, pasted back, makes the same arrays on any machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from harness.operators.arrays import (
    Array,
    Box,
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

Method = Literal["bilinear", "nearest"]
BoxRule = Literal["normalized", "bin_centres", "corners"]
METHODS: tuple[Method, ...] = get_args(Method)
BOX_RULES: tuple[BoxRule, ...] = get_args(BoxRule)


@dataclass(frozen=True)
class Inputs:
    """The arrays of one call, in NCHW index order whatever their strides are.

    image (N,C,H,W); boxes (M,4), normalised (y1,x1,y2,x2) under the box rule "normalized" and pixels (x1,y1,x2,y2)
    under the other two; box_indices (M,); upstream (M,C,crop height,crop width), the upstream gradient.
    """

    image: Array
    boxes: Array
    box_indices: Array
    upstream: Array
    crop_size: tuple[int, int]
    method: Method = "bilinear"
    extrapolation_value: float = 0.0
    box_rule: BoxRule = "normalized"


@dataclass(frozen=True)
class Case:
    """One call: geometry, dtypes, layout, and the values as a family and a seed.

    box_rule maps a box to sample positions: "normalized" is crop_and_resize, "bin_centres" is the seed's RoIAlign,
    "corners" is that class with transform_fpcoor=False (docs/operators.md, sample positions and classes). boxes_layout
    also applies to box_indices; "expanded" repeats the first box.
    """

    shape: tuple[int, int, int, int]
    boxes: tuple[Box, ...]
    box_indices: tuple[int, ...]
    crop_size: tuple[int, int]
    method: Method = "bilinear"
    extrapolation_value: float = 0.0
    box_rule: BoxRule = "normalized"
    image_dtype: str = "float32"
    boxes_dtype: str = "float32"
    index_dtype: str = "int32"
    layout: Layout = "contiguous"
    boxes_layout: Strides = "contiguous"
    upstream_layout: Strides = "contiguous"
    values: Values = "normal"
    seed: int = 0

    def __repr__(self) -> str:
        """One line that `Case.parse` reads back; fields at their default are left out."""
        return in_one_line(self)

    @staticmethod
    def parse(line: str) -> Case:
        """Parses the repr of a Case; ValueError for any other line."""
        return read_line(line, Case)

    def inputs(self) -> Inputs:
        """The arrays of this case, the same on every machine."""
        random = np.random.Generator(np.random.PCG64(self.seed))
        image = image_of(self.values, self.shape, self.image_dtype, self.layout, random)
        crops = (len(self.boxes), self.shape[1], *self.crop_size)
        upstream = upstream_of(self.values, crops, self.image_dtype, self.layout, random)
        return Inputs(
            image=image,
            boxes=strided(boxes_of(self.boxes, 4, self.boxes_dtype), self.boxes_layout),
            box_indices=strided(np.array(self.box_indices, dtype=self.index_dtype), self.boxes_layout),
            upstream=strided(upstream, self.upstream_layout),
            crop_size=self.crop_size,
            method=self.method,
            extrapolation_value=self.extrapolation_value,
            box_rule=self.box_rule,
        )
