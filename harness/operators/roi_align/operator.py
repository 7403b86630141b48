"""roi_align as an Operator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from harness.operators.arrays import Array, Box, Direction
from harness.operators.expected import Place
from harness.operators.operator import Operator
from harness.operators.reach import places_in_image
from harness.operators.roi_align.case import Mode, RoiCase, RoiInputs
from harness.operators.roi_align.golden_cases import TORCHVISION
from harness.operators.roi_align.oracle import expected
from harness.operators.roi_align.reach import reach
from harness.operators.roi_align.strategy import within
from harness.operators.sheet import Sheet

# How many outputs of a large result the oracle judges: a pixel's gradient needs every box near it. Of box gradients it
# judges the four edges of one box, which need its whole crop.
_OUTPUTS, _PIXELS = 48, 6
# The settings for a workload, as (sampling_ratio, mode): two samples per bin and axis, as in Mask R-CNN, an adaptive
# grid, and the maximum of two samples per bin and axis.
SETTINGS: dict[str, tuple[int, Mode]] = {
    "sampling_ratio 2": (2, "avg"),
    "adaptive": (-1, "avg"),
    "maximum": (2, "max"),
}


def _choices(inputs: RoiInputs) -> list[tuple[str, Any, str]]:
    return [
        ("the mode", inputs.mode, "modes"),
        ("aligned", inputs.aligned, "aligned"),
        ("a grid that is", "fixed" if inputs.sampling_ratio > 0 else "adaptive", "grids"),
        ("a scale that needs", _scale_dtype(inputs), "scale_dtypes"),
    ]


def _scale_dtype(inputs: RoiInputs) -> str:
    """The narrowest dtype that holds the scale of a call; positions are rounded in the boxes' dtype."""
    wide = inputs.boxes.dtype.name == "float64" and float(np.float32(inputs.spatial_scale)) != inputs.spatial_scale
    return "float64" if wide else "float32"


def _undefined(inputs: RoiInputs, direction: Direction) -> str | None:
    if inputs.mode == "weighted_max" and direction != "forward":
        return "gradients of weighted maxima are not judged: ONNX, whose rule they are, defines none"
    return None


def _bad_row(sheet: Sheet, box: Box, seed: int) -> RoiCase:
    good = (0, 0.5, 0.25, 3.5, 2.75)
    return RoiCase(
        (1, 2, 5, 7), ((0, *box), good), (2, 3), 1.0, 2 if "fixed" in sheet.grids else -1, sheet.aligned[0],
        sheet.modes[0], sheet.usual_image, sheet.usual_boxes, seed=seed,
    )  # fmt: skip


def _with_index(inputs: RoiInputs, index: int) -> RoiInputs:
    boxes = inputs.boxes.copy()
    boxes[0, 0] = index
    return replace(inputs, boxes=boxes)


def _twice_on_one_image(case: RoiCase) -> RoiCase:
    return replace(case, shape=(1, *case.shape[1:]), boxes=((0, *case.boxes[0][1:]),) * 2)


def _elsewhere(inputs: RoiInputs) -> RoiInputs:
    boxes = inputs.boxes / 2
    boxes[:, 0] = (inputs.boxes[:, 0] + 1) % max(1, inputs.image.shape[0])
    return replace(inputs, boxes=boxes)


def _least_roundings(inputs: RoiInputs, direction: Direction) -> int:
    """Means and map gradients have at least eight roundings."""
    return 8 if direction != "grad_boxes" and inputs.mode == "avg" else 0


def _sample(inputs: RoiInputs, direction: Direction, result: Array) -> list[Place]:
    random = np.random.default_rng(0)
    if direction == "grad_boxes":
        row = int(random.integers(0, len(result)))
        return [(row, column) for column in range(1, 5)]
    if direction == "grad_image":
        return places_in_image(reach(inputs), _PIXELS, random)
    flat = random.integers(0, result.size, _OUTPUTS)
    return [tuple(int(axis) for axis in np.unravel_index(place, result.shape)) for place in flat]


def _near(inputs: RoiInputs, places: Iterable[Place]) -> Array:
    """A mask (K,) of the boxes that come within two pixels of a place: a superset of those that touch it.

    The margin covers unaligned boxes stretched to a pixel and samples beside the map, which read its edge. A box with
    non-finite or inverted ends counts as near everything.
    """
    pixels = inputs.boxes[:, 1:].astype(np.float64) * inputs.spatial_scale
    low, high = pixels[:, 1::-1] - 2, pixels[:, :1:-1] + 2  # (K, 2): y, x
    near: Array = np.asarray(~np.isfinite(pixels).all(axis=1) | (low > high - 4).any(axis=1))
    for n, _, y, x in places:
        near |= (low <= (y, x)).all(axis=1) & (high >= (y, x)).all(axis=1) & (inputs.boxes[:, 0] == n)
    return near


def _from_workload(inputs: Any, setting: str) -> RoiInputs:
    """The same boxes in pixels: aligned, at scale 1."""
    height, width = inputs.image.shape[2:]
    boxes = np.empty((len(inputs.boxes), 5), np.float32)
    boxes[:, 0] = inputs.box_indices
    for column, (edge, length) in enumerate(((1, width), (0, height), (3, width), (2, height))):
        boxes[:, column + 1] = inputs.boxes[:, edge] * (length - 1)
    sampling_ratio, mode = SETTINGS[setting]
    return RoiInputs(inputs.image, boxes, inputs.upstream, inputs.crop_size, 1.0, sampling_ratio, True, mode)


ROI_ALIGN = Operator(
    name="roi_align",
    case=RoiCase,
    inputs=RoiInputs,
    arrays=("image", "boxes", "upstream"),
    size="output_size",
    peer=TORCHVISION,
    settings=tuple(SETTINGS),
    expected=expected,
    least_roundings=_least_roundings,
    most_places=8,
    choices=_choices,
    undefined=_undefined,
    extrapolation_value=lambda inputs: 0.0,
    nothing_outside=lambda inputs: inputs,
    within=within,
    bad_row=_bad_row,
    with_index=_with_index,
    twice_on_one_image=_twice_on_one_image,
    elsewhere=_elsewhere,
    sample=_sample,
    near=_near,
    from_workload=_from_workload,
    reach=reach,
)
