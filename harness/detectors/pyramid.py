"""Judges a pooler of several maps map by map: a map with the boxes that are pooled from it is a call of roi_align.

The oracle's own rule selects the map of a box, so a box that is pooled from another map fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.judging.sample import judge_sample
from harness.operators.arrays import Array, Direction
from harness.operators.roi_align.case import RoiInputs
from harness.operators.roi_align.levels import map_of
from harness.operators.verdict import Verdict


@dataclass(frozen=True)
class Level:
    """One map of a pyramid: the rows of the pooled result that come from it, and the call that computes them."""

    rows: Array
    inputs: RoiInputs


def levels(
    maps: Sequence[Array], scales: Sequence[float], boxes: Sequence[Array], upstream: Array, sampling_ratio: int
) -> list[Level]:
    """The calls that together pool the boxes (K_i, 4) of each image from maps of these scales, for the upstream
    gradient (K,C,h,w) of all boxes."""
    coordinates = np.concatenate(boxes)
    indices = np.repeat(np.arange(len(boxes)), [len(each) for each in boxes]).astype(coordinates.dtype)
    table = np.column_stack([indices, coordinates])
    places = np.array([map_of(box, scales, coordinates.dtype.name) for box in coordinates.tolist()])
    rows = [np.flatnonzero(places == place) for place in range(len(maps))]
    size = (upstream.shape[2], upstream.shape[3])
    return [
        Level(own, RoiInputs(image, table[own], upstream[own], size, scale, sampling_ratio))
        for own, image, scale in zip(rows, maps, scales, strict=True)
    ]


def judge_levels(of: Sequence[Level], direction: Direction, results: Sequence[Array], *, pinned: bool) -> Verdict:
    """The verdict on the level that fails, or else on the one that uses most of its bound.

    results: the pooled rows of each level, or the gradient of each map, in the order of the levels.
    """
    verdicts = [
        judge_sample(level.inputs, direction, result, pinned=pinned) for level, result in zip(of, results, strict=True)
    ]
    return max(verdicts, key=lambda verdict: (not verdict.passed, verdict.fraction))
