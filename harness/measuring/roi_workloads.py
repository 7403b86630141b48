"""The workloads of workloads.py as calls of roi_align: the same maps, and the same boxes in pixels."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from harness.measuring.workloads import Layout, Workload, photographs, pyramid
from harness.operators.arrays import Array
from harness.operators.roi_align.case import RoiInputs

# What is asked of each: two samples a bin and axis, as Mask R-CNN has it, and an adaptive grid.
RATIOS = {"sampling_ratio 2": 2, "adaptive": -1}


@lru_cache(maxsize=2)  # the columns of a workload follow each other
def roi_inputs(workload: Workload, ratio: int, layout: Layout) -> RoiInputs:
    """One call: aligned, at scale 1."""
    inputs = workload.inputs(layout)
    height, width = inputs.image.shape[2:]
    boxes = np.empty((len(inputs.boxes), 5), np.float32)
    boxes[:, 0] = inputs.box_indices
    for column, (edge, length) in enumerate(((1, width), (0, height), (3, width), (2, height))):
        boxes[:, column + 1] = inputs.boxes[:, edge] * (length - 1)
    return RoiInputs(inputs.image, boxes, inputs.upstream, inputs.crop_size, 1.0, ratio, True)


@lru_cache(maxsize=1)
def pyramid_inputs() -> tuple[dict[str, Array], list[Array], list[tuple[int, int]]]:
    """The levels P2 to P5 of the photographs, the boxes (K_i, 4) of each one's segments in pixels, and their sizes."""
    batch, boxes, indices = photographs()
    height, width = batch.shape[2:]
    pixels = (boxes[:, [1, 0, 3, 2]] * [width - 1, height - 1, width - 1, height - 1]).astype(np.float32)
    of_image = [np.ascontiguousarray(pixels[indices == image]) for image in range(len(batch))]
    return pyramid(), of_image, [(height, width)] * len(batch)
