"""What a call's samples ask of memory, whatever the operator; measuring/traffic.py turns it into bytes."""

from __future__ import annotations

from dataclasses import dataclass

from harness.operators.arrays import Array


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
    box_bytes: int
    upstream: int
    box_gradient_bytes: int
