"""crop_and_resize as an Operator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from harness.operators.arrays import Array, Box, Direction
from harness.operators.crop_and_resize.case import Case, Inputs
from harness.operators.crop_and_resize.golden_cases import TENSORFLOW
from harness.operators.crop_and_resize.oracle import expected
from harness.operators.crop_and_resize.reach import reach
from harness.operators.crop_and_resize.strategy import within
from harness.operators.expected import Place
from harness.operators.operator import Operator
from harness.operators.reach import places_in_image
from harness.operators.sheet import Sheet

# How many outputs of a large result the oracle judges. A box gradient sums over a whole crop, in plain Python: so many
# boxes that their terms stay below this limit, with all four coordinates; if one crop alone exceeds it, one box with
# one coordinate per axis.
_OUTPUTS, _PIXELS = 48, 12
_TERMS, _BOXES = 30_000, 4


def _choices(inputs: Inputs) -> list[tuple[str, Any, str]]:
    return [
        ("indices", inputs.box_indices.dtype.name, "index_dtypes"),
        ("the box rule", inputs.box_rule, "box_rules"),
        ("the method", inputs.method, "methods"),
    ]


def _bad_row(sheet: Sheet, box: Box, seed: int) -> Case:
    return Case(
        (1, 2, 5, 7), (box, (0.1, 0.2, 0.8, 0.7)), (0, 0), (4, 3), method=sheet.methods[0],
        extrapolation_value=-9.0 if sheet.border == "rule" else 0.0,
        image_dtype=sheet.usual_image, boxes_dtype=sheet.usual_boxes, index_dtype=sheet.index_dtypes[0], seed=seed,
    )  # fmt: skip


def _with_index(inputs: Inputs, index: int) -> Inputs:
    indices = inputs.box_indices.copy()
    indices[0] = index
    return replace(inputs, box_indices=indices)


def _twice_on_one_image(case: Case) -> Case:
    return replace(case, shape=(1, *case.shape[1:]), boxes=case.boxes[:1] * 2, box_indices=(0, 0))


def _elsewhere(inputs: Inputs) -> Inputs:
    images = max(1, inputs.image.shape[0])
    return replace(inputs, boxes=inputs.boxes / 2, box_indices=(inputs.box_indices + 1) % images)


def _sample(inputs: Inputs, direction: Direction, result: Array) -> list[Place]:
    random = np.random.default_rng(0)
    if direction == "grad_boxes":
        terms = inputs.upstream[0].size
        columns = range(4) if terms <= _TERMS else random.integers(0, 2, 2) * 2 + (0, 1)
        rows = random.integers(0, len(result), min(_BOXES, max(1, _TERMS // max(1, terms))))
        return [(int(row), int(column)) for row in rows for column in columns]
    if direction == "grad_image":
        return places_in_image(reach(inputs), _PIXELS, random)
    flat = random.integers(0, result.size, _OUTPUTS)
    return [tuple(int(axis) for axis in np.unravel_index(place, result.shape)) for place in flat]


def _near(inputs: Inputs, places: Iterable[Place]) -> Array:
    """A mask (M,) of the boxes that come within two pixels of a place: a superset of those that touch it."""
    _, _, height, width = inputs.image.shape
    pixels = inputs.boxes.astype(np.float64) * [height - 1, width - 1, height - 1, width - 1]
    low, high = np.minimum(pixels[:, :2], pixels[:, 2:]) - 2, np.maximum(pixels[:, :2], pixels[:, 2:]) + 2
    near = np.zeros(len(pixels), dtype=bool)
    for n, _, y, x in places:
        near |= (low <= (y, x)).all(axis=1) & (high >= (y, x)).all(axis=1) & (inputs.box_indices == n)
    return near


CROP_AND_RESIZE = Operator(
    name="crop_and_resize",
    case=Case,
    inputs=Inputs,
    arrays=("image", "boxes", "box_indices", "upstream"),
    size="crop_size",
    peer=TENSORFLOW,
    settings=("",),
    expected=expected,
    least_roundings=lambda inputs, direction: 0,
    most_places=None,
    choices=_choices,
    undefined=lambda inputs, direction: None,
    extrapolation_value=lambda inputs: float(inputs.extrapolation_value),
    nothing_outside=lambda inputs: replace(inputs, extrapolation_value=0.0),
    within=within,
    bad_row=_bad_row,
    with_index=_with_index,
    twice_on_one_image=_twice_on_one_image,
    elsewhere=_elsewhere,
    sample=_sample,
    near=_near,
    from_workload=lambda inputs, setting: inputs,
    reach=reach,
)
