"""The bytes of a call: the compulsory ones, which any implementation must move, however clever, and the requested ones.

Each touched line of the image once (64 bytes on a CPU, a sector of 32 on a GPU), each byte of the boxes, of the
upstream gradient that arrives at a sample inside the image, and of the output once. The lines are counted from the
samples' own taps, not estimated: a few boxes on a large map touch little of it, and NCHW and channels_last touch
different lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.measuring.workloads import Layout
from harness.operators.crop_and_resize.case import Array, Direction, Inputs

_CHUNK = 4_000_000  # taps marked at a time, so that a hundred thousand boxes need no gigabytes


@dataclass(frozen=True)
class Reach:
    """What a call's samples inside its image ask for, whatever the operator.

    image     (N,C,H,W).
    pixels    ascending indices into (N,H,W) of the pixels that they read.
    samples   how many there are, in each channel; each reads four pixels.
    outputs   how many outputs, in each channel, have one at least: those whose upstream gradient is needed.
    given     bytes of the boxes and their indices.
    upstream  bytes of the upstream gradient, which the output has too.
    moved     bytes of the gradient of the boxes.
    """

    image: Array
    pixels: Array
    samples: int
    outputs: int
    given: int
    upstream: int
    moved: int


@dataclass(frozen=True)
class Traffic:
    """Bytes of one call.

    compulsory  what any implementation must move.
    requested   what the call asks for if nothing is kept between two samples: four pixels each, read, and for the
                gradient of the image read and written. Over the compulsory ones: how often a byte is used.
    """

    compulsory: int
    requested: int


def traffic(reach: Reach, direction: Direction, layout: Layout, line_bytes: int) -> Traffic:
    """Bytes that this direction must move and asks for, on an image of this layout."""
    channel = int(reach.image.shape[1] * reach.image.itemsize)
    taps = 4 * reach.samples * channel
    arrived = reach.given + reach.outputs * channel  # of the upstream gradient, what is needed
    if direction == "grad_image":
        return Traffic(arrived + int(reach.image.nbytes), arrived + 2 * taps)
    written = reach.given + reach.upstream if direction == "forward" else arrived + reach.moved
    return Traffic(touched_lines(reach, layout, line_bytes) * line_bytes + written, taps + written)


def crop_reach(inputs: Inputs) -> Reach:
    """Of a bilinear call of crop_and_resize on normalised boxes."""
    _, _, height, width = inputs.image.shape
    _, rows_inside = _taps(inputs, 0, height)
    _, columns_inside = _taps(inputs, 1, width)
    samples = int((rows_inside.sum(axis=1) * columns_inside.sum(axis=1)).sum())
    boxes = int(inputs.boxes.nbytes)
    given = boxes + int(inputs.box_indices.nbytes)
    pixels = _touched_pixels(inputs)
    return Reach(inputs.image, pixels, samples, samples, given, int(inputs.upstream.nbytes), boxes)


def touched_lines(reach: Reach, layout: Layout, line_bytes: int) -> int:
    """Lines of the image that hold at least one tap; a line that two planes or images share counts for each."""
    count, channels, height, width = reach.image.shape
    size, pixels = reach.image.itemsize, reach.pixels
    if layout == "channels_last":
        return _lines(pixels * channels * size, channels * size, line_bytes)
    # In NCHW the planes of an image repeat one pattern; only where a plane starts within a line differs.
    lines = 0
    for image in range(count):
        own = pixels[pixels // (height * width) == image] % (height * width)
        starts = (image * channels + np.arange(channels)) * height * width * size % line_bytes
        for start, planes in zip(*np.unique(starts, return_counts=True), strict=True):
            lines += int(planes) * _lines(int(start) + own * size, size, line_bytes)
    return lines


def _lines(offsets: Array, length: int, line_bytes: int) -> int:
    """Lines under the byte ranges [offset, offset + length), the offsets ascending."""
    if offsets.size == 0:
        return 0
    first, last = offsets // line_bytes, (offsets + length - 1) // line_bytes
    already = np.concatenate([[-1], last[:-1]])
    return int((last - np.maximum(first, already + 1) + 1).clip(min=0).sum())


def _touched_pixels(inputs: Inputs) -> Array:
    """Ascending indices into (N,H,W) of the pixels that a sample inside the image reads."""
    count, _, height, width = inputs.image.shape
    rows, rows_inside = _taps(inputs, 0, height)
    columns, columns_inside = _taps(inputs, 1, width)
    touched = np.zeros(count * height * width, dtype=bool)
    step = max(1, _CHUNK // max(1, rows.shape[1] * columns.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        plane = inputs.box_indices[part].astype(np.int64) * height
        pixels = (plane[:, None] + rows[part])[:, :, None] * width + columns[part][:, None, :]
        inside = rows_inside[part].repeat(2, axis=1)[:, :, None] & columns_inside[part].repeat(2, axis=1)[:, None, :]
        touched[pixels[inside]] = True
    return np.flatnonzero(touched)


def _taps(inputs: Inputs, axis: int, length: int) -> tuple[Array, Array]:
    """The lower and upper tap of every sample of an axis, (M, 2 n), and whether the sample is inside, (M, n)."""
    count = inputs.crop_size[axis]
    first, last = inputs.boxes[:, axis, None], inputs.boxes[:, axis + 2, None]
    extent = np.float32(length - 1)
    if count > 1:
        positions = first * extent + np.arange(count, dtype=np.float32) * (
            (last - first) * extent / np.float32(count - 1)
        )
    else:
        positions = np.float32(0.5) * (first + last) * extent
    inside = (positions >= 0) & (positions <= extent)
    positions = np.where(inside, positions, 0)
    taps = np.stack([np.floor(positions), np.ceil(positions)], axis=2).astype(np.int64)
    return taps.reshape(len(positions), -1), inside
