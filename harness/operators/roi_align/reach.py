"""The memory that the samples of a call of roi_align access, row by row and column by column.

A bin's samples form a grid, so those of a box are rows times columns: whether a row is in reach does not depend on the
column. Positions are rounded in the boxes' dtype; they serve for counting only, not for judging.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.operators.arrays import Array
from harness.operators.reach import Reach
from harness.operators.roi_align.case import RoiInputs


@dataclass(frozen=True)
class _Axis:
    """One axis of one box: the numbers of samples and bins in reach, and the pixels that they read, ascending."""

    samples: int
    bins: int
    pixels: Array


def reach(inputs: RoiInputs) -> Reach:
    """The reach of a call in mode avg."""
    count, _, height, width = inputs.image.shape
    mask = np.zeros((count, height, width), dtype=bool)
    samples = outputs = 0
    for box in inputs.boxes:
        rows = _axis(inputs, box[2], box[4], inputs.output_size[0], height)
        columns = _axis(inputs, box[1], box[3], inputs.output_size[1], width)
        mask[int(box[0])][np.ix_(rows.pixels, columns.pixels)] = True
        samples += rows.samples * columns.samples
        outputs += rows.bins * columns.bins
    boxes = int(inputs.boxes.nbytes)
    return Reach(
        inputs.image, np.flatnonzero(mask), samples, outputs, box_bytes=boxes, upstream=int(inputs.upstream.nbytes),
        box_gradient_bytes=boxes,
    )  # fmt: skip


def _axis(inputs: RoiInputs, first: np.generic, last: np.generic, bins: int, length: int) -> _Axis:
    to = inputs.boxes.dtype.type
    scale, offset = to(inputs.spatial_scale), to(0.5 if inputs.aligned else 0)
    with np.errstate(over="ignore", invalid="ignore"):
        start = first * scale - offset
        size = last * scale - offset - start
    if not (np.isfinite(start) and np.isfinite(size)):
        return _Axis(0, 0, np.empty(0, np.int64))
    if not inputs.aligned:
        size = max(size, to(1))
    size = size / to(bins)
    grid = inputs.sampling_ratio if inputs.sampling_ratio > 0 else int(np.ceil(max(size, 0)))
    places = start + np.arange(bins, dtype=to)[:, None] * size
    places = places + (np.arange(grid, dtype=to) + to(0.5)) * size / to(max(grid, 1))
    inside = (places >= -1) & (places <= length)
    clamped = np.clip(places[inside], 0, length - 1)
    pixels = np.unique(np.concatenate([np.floor(clamped), np.ceil(clamped)]).astype(np.int64))
    return _Axis(int(inside.sum()), int(inside.any(axis=1).sum()), pixels)
