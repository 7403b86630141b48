"""The memory that a call's samples access, for any operator; measuring/traffic.py converts it to bytes."""

from __future__ import annotations

from dataclasses import dataclass

from harness.operators.arrays import Array


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
