"""TensorFlow as the peer of crop_and_resize, and the cases of its golden vectors (harness/judging/golden.py)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from hypothesis.strategies import SearchStrategy

from harness.operators.arrays import DIRECTIONS
from harness.operators.crop_and_resize.case import Case
from harness.operators.crop_and_resize.strategy import cases
from harness.operators.peer import Peer

CROPS = ((1, 1), (1, 61), (61, 1), (40, 44))
COPIES = 12


def _groups() -> Iterator[tuple[int, SearchStrategy[Case]]]:
    """Cases under TensorFlow's box rule, without boxes that crash TensorFlow."""
    tensorflows = partial(cases, image_dtypes=["float32"], boxes_dtypes=["float32"], finite_boxes=True)
    yield 160, tensorflows()
    yield 80, tensorflows(box_families=["border", "on_pixel", "pixel_grid"], longest_side=70, empty=())
    yield 40, tensorflows(channels=(4, 8, 15, 16, 17, 40, 67), most_outputs=6000, longest_side=12, empty=())
    # Many samples per pixel, with values whose sum depends on the order of addition.
    overlapping = tensorflows(box_families=["interior"], values=["normal", "wide"], longest_side=4, empty=())
    yield (
        60,
        overlapping.map(lambda case: replace(case, boxes=case.boxes * COPIES, box_indices=case.box_indices * COPIES)),
    )
    for crop in CROPS:
        yield 15, tensorflows(empty=()).map(partial(replace, crop_size=crop))


# TensorFlow's box gradient rounds its positions in another order.
TENSORFLOW = Peer("tensorflow", "TensorFlow", DIRECTIONS, ("forward", "grad_image"), _groups)
