"""The memory that a call's samples access, for any operator; measuring/traffic.py converts it to bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.operators.arrays import Array, Random
from harness.operators.expected import Place


@dataclass(frozen=True)
class Reach:
    """The accesses of a call's samples inside its image.

    image     (N,C,H,W).
    pixels    ascending indices into (N,H,W) of the pixels that they read.
    samples   the number of samples per channel; each reads four pixels.
    outputs   the number of outputs per channel with at least one sample: those whose upstream gradient is needed.
    upstream  bytes of the upstream gradient, and equally of the output.

    box_bytes           bytes of the boxes and their indices.
    box_gradient_bytes  bytes of the gradient of the boxes.
    """

    image: Array
    pixels: Array
    samples: int
    outputs: int
    box_bytes: int
    upstream: int
    box_gradient_bytes: int


def places_in_image(reach: Reach, count: int, random: Random) -> list[Place]:
    """Places (n,c,y,x) of an image gradient, half of them at pixels that a sample reads, if there are any.

    Few boxes on a large map reach few of its pixels, and the gradient at others is 0 in most wrong results too.
    """
    images, channels, height, width = reach.image.shape
    pixels = random.integers(0, images * height * width, count)
    if reach.pixels.size:
        pixels[: count // 2] = random.choice(reach.pixels, count // 2)
    n, y, x = np.unravel_index(pixels, (images, height, width))
    places = zip(n, random.integers(0, channels, count), y, x, strict=True)
    return [(int(n), int(c), int(y), int(x)) for n, c, y, x in places]
