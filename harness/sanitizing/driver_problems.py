"""The problems for the sanitizers' drivers: the cases of the properties, and larger ones.

A silent sanitizer is not enough: a driver's results must equal the operator's bit for bit, so a driver that calls the
kernels wrongly, or not at all, is detected. The kernels compute in float32 or float64: half types and integers are
widened here and results rounded, as the operator does around its kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from harness import backends
from harness.judging.sample import with_boxes
from harness.operators.arrays import (
    DIRECTIONS,
    FLOATS,
    LAYOUTS,
    SINGLE_AND_DOUBLE,
    Array,
    channels_innermost,
    differing,
    laid_out,
)
from harness.operators.crop_and_resize.case import BOX_RULES, METHODS, Case
from harness.operators.crop_and_resize.strategy import cases
from harness.operators.drawing import draw_cases
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import SAMPLED, RoiCase, RoiInputs
from harness.operators.roi_align.levels import map_of
from harness.operators.roi_align.strategy import roi_cases
from harness.sanitizing.packing import pack

# Pixel types in proportion to the kernels' work: widened types reach a kernel as float32.
IMAGE_DTYPES = ("float32", *FLOATS, "uint8", "int64")
# Larger cases use all of these in turn, each in every layout, because few random draws would miss some. The channels of
# whole vectors and blocks, and a few more or fewer.
CHANNELS = (3, 35, 4, 8, 16, 80, 1, 19, 2)
# The factors for the number of boxes and for the sides of images and crops.
COPIES, LONGER_IMAGE, LONGER_CROP = 12, 3, 2
# The side of a box that belongs to the second level of a pyramid.
CANONICAL_SCALE = 12.0
# The choices for the strategies of larger cases.
_LARGER: dict[str, Any] = {"image_dtypes": SINGLE_AND_DOUBLE, "longest_side": 14, "most_outputs": 2000}


@dataclass(frozen=True)
class Pyramid:
    """A case of roi_align on several maps: the case's own, then maps with its sides halved `halved` times."""

    case: RoiCase
    halved: tuple[int, ...]

    def inputs(self) -> list[RoiInputs]:
        """The inputs of each map, all with the upstream gradient of the first."""
        n, c, h, w = self.case.shape
        shapes = [(n, c, max(1, h >> k), max(1, w >> k)) for k in self.halved]
        scales = [self.case.spatial_scale / 2**k for k in self.halved]
        levels = [
            replace(self.case, shape=shape, spatial_scale=scale).inputs()
            for shape, scale in zip(shapes, scales, strict=True)
        ]
        return [replace(level, upstream=levels[0].upstream) for level in levels]


@dataclass(frozen=True)
class Problem:
    """A driver's input for a case, and a function that describes errors in its results, or returns None."""

    case: Case | Pyramid
    data: bytes
    wrong: Callable[[list[Array]], str | None]


def crop_cases(count: int, seed: int) -> list[Case]:
    """Cases of crop_and_resize: half of them as the properties draw them, half larger."""

    def of_each_rule(**choices: Any) -> SearchStrategy[Case]:
        return st.one_of(cases(**choices), cases(box_rules=BOX_RULES, methods=["bilinear"], **choices))

    return [
        *draw_cases(of_each_rule(image_dtypes=IMAGE_DTYPES), count - count // 2, seed),
        *(_larger_crops(case, turn) for turn, case in enumerate(draw_cases(of_each_rule(**_LARGER), count // 2, seed))),
    ]


def roi_align_cases(count: int, seed: int) -> list[Pyramid]:
    """Cases of roi_align, likewise."""
    halved = st.sampled_from([(0,), (0,), (0, 1), (0, 1, 2), (0, 0), (0, 1, 1), (0, 2)])
    larger = st.tuples(roi_cases(modes=("avg", "avg", "max"), **_LARGER), halved)
    return [
        *draw_cases(st.builds(Pyramid, roi_cases(image_dtypes=IMAGE_DTYPES), halved), count - count // 2, seed),
        *(_larger_pyramid(*each, turn) for turn, each in enumerate(draw_cases(larger, count // 2, seed))),
    ]


def _larger_crops(case: Case, turn: int) -> Case:
    """A larger case, with a box over the whole of each image, up to the end of its memory."""
    n, _, h, w = case.shape
    h, w = LONGER_IMAGE * h, LONGER_IMAGE * w
    whole = (0.0, 0.0, 1.0, 1.0) if case.box_rule == "normalized" else (0.0, 0.0, w - 1.0, h - 1.0)
    return replace(
        case,
        shape=(n, CHANNELS[turn % len(CHANNELS)], h, w),
        layout=LAYOUTS[turn % len(LAYOUTS)],
        crop_size=(LONGER_CROP * case.crop_size[0], LONGER_CROP * case.crop_size[1]),
        boxes=case.boxes * COPIES + (whole,) * n,
        box_indices=case.box_indices * COPIES + tuple(range(n)),
    )


def _larger_pyramid(case: RoiCase, halved: tuple[int, ...], turn: int) -> Pyramid:
    """A larger case, with two boxes for each image: all of it, and its last pixel."""
    n, _, h, w = case.shape
    h, w = LONGER_IMAGE * h, LONGER_IMAGE * w
    x, y = w / case.spatial_scale, h / case.spatial_scale
    pixel = 1 / case.spatial_scale
    ends = tuple(box for image in range(n) for box in ((image, 0.0, 0.0, x, y), (image, x - pixel, y - pixel, x, y)))
    larger = replace(
        case,
        shape=(n, CHANNELS[turn % len(CHANNELS)], h, w),
        layout=LAYOUTS[turn % len(LAYOUTS)],
        output_size=(LONGER_CROP * case.output_size[0], LONGER_CROP * case.output_size[1]),
        boxes=case.boxes * COPIES + ends,
    )
    return Pyramid(larger, halved)


def problem_of(case: Case | Pyramid) -> Problem:
    """The problem of a case: for crop_and_resize's driver from a Case, for roi_align's from a Pyramid."""
    return _crop_problem(case) if isinstance(case, Case) else _roi_problem(case)


def _crop_problem(case: Case) -> Problem:
    """Image, boxes, box_indices, upstream gradient; method, box rule, extrapolation value."""
    inputs = case.inputs()
    data = pack(_widen(inputs.image), inputs.boxes, inputs.box_indices, _widen(inputs.upstream))
    data += pack(METHODS.index(case.method), BOX_RULES.index(case.box_rule), float(case.extrapolation_value))

    return Problem(case, data, lambda results: _first_unlike(backends.load("roi_align"), inputs, results))


def _roi_problem(pyramid: Pyramid) -> Problem:
    """The number of levels; a map and a scale for each; boxes, upstream gradient; sampling ratio, aligned, mode, the
    canonical scale and its level."""
    case, levels = pyramid.case, pyramid.inputs()
    maps = [_widen(level.image) for level in levels]
    upstream = _lay_out(_widen(levels[0].upstream), channels_innermost(maps[0]))
    data = pack(len(levels))
    for level, values in zip(levels, maps, strict=True):
        data += pack(values, float(level.spatial_scale))
    data += pack(levels[0].boxes, upstream, case.sampling_ratio, int(case.aligned), SAMPLED.index(case.mode))
    data += pack(CANONICAL_SCALE, 1)

    def wrong(results: list[Array]) -> str | None:
        operator = backends.load("roi_align", "roi_align")
        crops, *gradients, sums = results
        edges = np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)  # an index has no gradient
        if len(levels) == 1:
            return _first_unlike(operator, levels[0], [crops, gradients[0], edges])
        boxes = levels[0].boxes
        scales = [2.0**-k for k in pyramid.halved]
        maps_of = [map_of(box[1:].tolist(), scales, boxes.dtype.name, CANONICAL_SCALE, 1) for box in boxes]
        for number, level in enumerate(levels):
            rows = [row for row, of in enumerate(maps_of) if of == number]
            unlike = _first_unlike(operator, with_boxes(level, rows), [crops[rows], gradients[number], edges[rows]])
            if unlike:
                return f"map {number}: {unlike}"
        none = [row for row, of in enumerate(maps_of) if of is None]
        if crops[none].any() or edges[none].any():
            return f"forward and grad_boxes: one of the boxes {none}, which are on no map, does not give 0."
        return None

    return Problem(pyramid, data, wrong)


def _widen(array: Array) -> Array:
    """The array in the dtype that the operator passes to its kernels."""
    if array.dtype.name in SINGLE_AND_DOUBLE:
        return array
    return _lay_out(array.astype("float32"), channels_innermost(array))


def _lay_out(array: Array, channels_last: bool) -> Array:
    return laid_out(array, "channels_last" if channels_last else "contiguous")


def _first_unlike(operator: Backend[Any], inputs: Any, results: list[Array]) -> str | None:
    """The first direction whose result differs from the operator's, and how, in words; or None."""
    for direction, result in zip(DIRECTIONS, results, strict=True):
        unlike = None if operator.refuses(inputs, direction) else _unlike(result, operator.run(inputs, direction))
        if unlike:
            return f"{direction}: {unlike}"
    return None


def _unlike(result: Array, expected: Array) -> str | None:
    """How a result differs from the operator's, in words, or None."""
    if result.shape != expected.shape:
        return f"the result has shape {result.shape}, the operator's {expected.shape}."
    with np.errstate(over="ignore"):  # a half may be infinite where its float32 is not
        rounded = result.astype(expected.dtype)
    different = differing(rounded, expected)
    if not different.any():
        return None
    at = tuple(int(axis[0]) for axis in np.nonzero(different))
    return f"{int(different.sum())} values are not the operator's; at {at} {rounded[at]!r}, not {expected[at]!r}."
