"""The pixels that a call of crop_and_resize reads, marked from the samples' own taps and not estimated."""

from __future__ import annotations

import numpy as np

from harness.operators.arrays import Array
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.reach import Reach

_CHUNK = 4_000_000  # taps marked at a time, so that 100,000 boxes do not need gigabytes


def reach(inputs: Inputs) -> Reach:
    """The reach of a bilinear call on normalised boxes."""
    _, _, height, width = inputs.image.shape
    _, rows_inside = _taps(inputs, 0, height)
    _, columns_inside = _taps(inputs, 1, width)
    samples = int((rows_inside.sum(axis=1) * columns_inside.sum(axis=1)).sum())
    boxes = int(inputs.boxes.nbytes)
    box_bytes = boxes + int(inputs.box_indices.nbytes)
    pixels = _touched_pixels(inputs)
    return Reach(inputs.image, pixels, samples, samples, box_bytes, int(inputs.upstream.nbytes), boxes)


def _touched_pixels(inputs: Inputs) -> Array:
    """Ascending indices into (N,H,W) of the pixels that samples inside the image read."""
    count, _, height, width = inputs.image.shape
    rows, rows_inside = _taps(inputs, 0, height)
    columns, columns_inside = _taps(inputs, 1, width)
    mask = np.zeros(count * height * width, dtype=bool)
    step = max(1, _CHUNK // max(1, rows.shape[1] * columns.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        plane = inputs.box_indices[part].astype(np.int64) * height
        pixels = (plane[:, None] + rows[part])[:, :, None] * width + columns[part][:, None, :]
        inside = rows_inside[part].repeat(2, axis=1)[:, :, None] & columns_inside[part].repeat(2, axis=1)[:, None, :]
        mask[pixels[inside]] = True
    return np.flatnonzero(mask)


def _taps(inputs: Inputs, axis: int, length: int) -> tuple[Array, Array]:
    """The lower and upper tap of every sample of an axis, (M, 2 n), and whether the sample is inside, (M, n)."""
    count = inputs.crop_size[axis]
    first, last = inputs.boxes[:, axis, None], inputs.boxes[:, axis + 2, None]
    extent = np.float32(length - 1)
    with np.errstate(over="ignore", invalid="ignore"):  # a position that is not finite is outside
        if count > 1:
            step = (last - first) * extent / np.float32(count - 1)
            positions = first * extent + np.arange(count, dtype=np.float32) * step
        else:
            positions = np.float32(0.5) * (first + last) * extent
    inside = (positions >= 0) & (positions <= extent)
    positions = np.where(inside, positions, 0)
    taps = np.stack([np.floor(positions), np.ceil(positions)], axis=2).astype(np.int64)
    return taps.reshape(len(positions), 2 * count), inside
