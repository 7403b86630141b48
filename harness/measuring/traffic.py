"""The bytes of a call: compulsory ones, which any implementation must move, and requested ones.

Each touched line of the image once (64 bytes on a CPU, a sector of 32 on a GPU), each byte of the boxes, of the
upstream gradient that arrives at a sample inside the image, and of the output once. The lines are counted from the
samples' own taps, not estimated: a few boxes on a large map touch little of it, and NCHW and channels_last touch
different lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.operators.arrays import Array, Direction, Layout
from harness.operators.reach import Reach


@dataclass(frozen=True)
class Traffic:
    """Bytes of one call.

    compulsory  the bytes that any implementation must move.
    requested   the bytes accessed if nothing is cached between two samples: four pixels per sample, read, and for the
                image gradient read and written. Divided by the compulsory bytes: how often a byte is used.
    """

    compulsory: int
    requested: int


def traffic(reach: Reach, direction: Direction, layout: Layout, line_bytes: int) -> Traffic:
    """The compulsory and requested bytes of a direction, on an image of this layout."""
    channel = int(reach.image.shape[1] * reach.image.itemsize)
    taps = 4 * reach.samples * channel
    needed_bytes = reach.box_bytes + reach.outputs * channel  # with the needed part of the upstream gradient
    if direction == "grad_image":
        return Traffic(needed_bytes + int(reach.image.nbytes), needed_bytes + 2 * taps)
    other_bytes = (
        reach.box_bytes + reach.upstream if direction == "forward" else needed_bytes + reach.box_gradient_bytes
    )
    return Traffic(touched_lines(reach, layout, line_bytes) * line_bytes + other_bytes, taps + other_bytes)


def touched_lines(reach: Reach, layout: Layout, line_bytes: int) -> int:
    """The number of lines of the image with at least one tap; a line shared by two planes or images counts twice."""
    count, channels, height, width = reach.image.shape
    size, pixels = reach.image.itemsize, reach.pixels
    if layout == "channels_last":
        return _lines(pixels * channels * size, channels * size, line_bytes)
    # In NCHW the planes of an image repeat one pattern; only the offset of a plane within a line differs.
    lines = 0
    for image in range(count):
        own = pixels[pixels // (height * width) == image] % (height * width)
        starts = (image * channels + np.arange(channels)) * height * width * size % line_bytes
        for start, planes in zip(*np.unique(starts, return_counts=True), strict=True):
            lines += int(planes) * _lines(int(start) + own * size, size, line_bytes)
    return lines


def _lines(offsets: Array, length: int, line_bytes: int) -> int:
    """The number of lines that the byte ranges [offset, offset + length) cover, for ascending offsets."""
    if offsets.size == 0:
        return 0
    first, last = offsets // line_bytes, (offsets + length - 1) // line_bytes
    previous = np.concatenate([[-1], last[:-1]])
    return int((last - np.maximum(first, previous + 1) + 1).clip(min=0).sum())
