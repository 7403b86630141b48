"""Cases for Hypothesis: every kind of geometry that has ever gone wrong, small enough to judge and to read.

Other suites use square maps, square crops and boxes inside the image, and so miss swapped axes and wrong borders. Here
N, C, H, W and the sides of the crop are drawn independently, and each axis of a box has a family of its own. The
simplest choice comes first everywhere, so a failure shrinks to one box with one sample on a small image.

Creating and validating a strategy costs Hypothesis more than drawing from it, so each is created once and cached.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from harness.operators.arrays import FLOATS, LAYOUTS, STRIDES, VALUES, Box, Layout, Strides, Values
from harness.operators.crop_and_resize.case import METHODS, BoxRule, Case, Method
from harness.operators.drawing import (
    common,
    counts,
    depths,
    exact,
    extent,
    integers,
    mostly_contiguous,
    next_after,
    one_from,
    restrict,
    sides,
    upright,
)
from harness.operators.sheet import EMPTY, Empty, Extent, Sheet

# A pair (first, last) of a box on one axis, by family.
Pair = tuple[float, float]
BOX_FAMILIES = (
    "interior",
    "border",
    "on_pixel",
    "pixel_grid",
    "half_pixel",
    "inverted",
    "zero_area",
    "partly_outside",
    "outside",
    "huge",
    "not_finite",
)
FINITE_FAMILIES = tuple(family for family in BOX_FAMILIES if family not in ("huge", "not_finite"))
# Midpoints between two numbers of a half type: rounding to even decides exactly, without a sum's uncertainty.
TIES = {"float16": (2049.0, 2051.0), "bfloat16": (257.0, 259.0)}
# float32 twice: it is the most common dtype, and the one most kernel code is written for.
IMAGE_DTYPES = ("float32", *FLOATS)
HUGE = (1e40, 3.4e38, -3.4e38, 1e30, -1e30, 1e10)


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    box_rules: Sequence[BoxRule] = ("normalized",),
    methods: Sequence[Method] = METHODS,
    image_dtypes: Sequence[str] = IMAGE_DTYPES,
    boxes_dtypes: Sequence[str] = ("float32", "float64"),
    index_dtypes: Sequence[str] = ("int32", "int64"),
    layouts: Sequence[Layout] = LAYOUTS,
    boxes_layouts: Sequence[Strides] = STRIDES,
    upstream_layouts: Sequence[Strides] = STRIDES,
    values: Sequence[Values] = VALUES,
    box_families: Sequence[str] = BOX_FAMILIES,
    extrapolation_values: Sequence[float] | None = None,
    same_dtype: bool = False,
    finite_boxes: bool = False,
    extent: Extent = "any",
    empty: Sequence[Empty] = EMPTY,
    channels: Sequence[int] = (1, 2, 3),
    longest_side: int = 100,
    crop_sides: tuple[int, int] = (1, 7),
    most_outputs: int = 400,
) -> Case:
    """Cases within the given choices.

    extrapolation_values  by default a few values, and midpoints between two numbers of a half image's dtype.
    same_dtype     boxes have the image's dtype, as some implementations require.
    finite_boxes   leaves out boxes that are NaN, infinite or huge, which crash some implementations.
    extent         "positive" flips inverted boxes and gives empty ones an extent.
    empty          which of M, C and N may be 0 (N only together with M).
    channels       the values for C: errors in vectors and blocks of channels need enough channels to fill them.
    crop_sides     the smallest and largest side of a crop: one sample per axis has a rule of its own.
    most_outputs   M*C*h*w is at most this: the oracle is plain Python.
    """
    height, width = draw(sides(12, longest_side))
    crop = (draw(integers(*crop_sides)), draw(integers(*crop_sides)))
    depth = draw(depths(tuple(channels), "channels" in empty))
    most = most_outputs // max(1, depth * crop[0] * crop[1])
    box_count = min(draw(counts(5, "boxes" in empty)), max(1, most))
    images = draw(integers(1, 3) if box_count or "images" not in empty else integers(0, 3))

    image_dtype = draw(one_from(*image_dtypes))
    if image_dtype == "float16" and "wide" in values:
        values = [*values, "wide", "wide"]  # only this family has values too small or too large for float16
    family = draw(one_from(*values))
    rule = draw(one_from(*box_rules))
    boxes_dtype = image_dtype if same_dtype else draw(one_from(*boxes_dtypes))
    families = [family for family in box_families if not finite_boxes or family in FINITE_FAMILIES]
    if family in ("nan_pixel", "inf_pixel") and "pixel_grid" in families:
        families += ["pixel_grid"] * len(families)  # otherwise such a pixel is rarely a neighbour that must not be read
    box = boxes(rule, (height, width), crop, families, boxes_dtype)
    box_rows = draw(st.lists(box, min_size=box_count, max_size=box_count))
    if box_count > 1 and draw(integers(0, 3)) == 3:
        box_rows[-1] = box_rows[0]
    if extent == "positive":
        box_rows = [upright(each, boxes_dtype, 0.25 if rule == "normalized" else 1.0) for each in box_rows]
    indices = draw(st.lists(integers(0, max(images - 1, 0)), min_size=box_count, max_size=box_count))

    method = draw(one_from(*methods))
    if image_dtype not in FLOATS and family not in ("ramp", "dyadic", "normal"):
        family = "ramp"  # integers have no NaN, no -0.0 and no 24 decades
    blanks = extrapolation_values or [0.0, -3.5, 0.1, 1e6, *TIES.get(image_dtype, ())]
    return Case(
        shape=(images, depth, height, width),
        boxes=tuple(box_rows),
        box_indices=tuple(indices),
        crop_size=crop,
        method=method,
        extrapolation_value=draw(one_from(*blanks)),
        box_rule=rule,
        image_dtype=image_dtype,
        boxes_dtype=boxes_dtype,
        index_dtype=draw(one_from(*index_dtypes)),
        layout=draw(one_from(*layouts)),
        boxes_layout=draw(mostly_contiguous(*boxes_layouts)),
        upstream_layout=draw(mostly_contiguous(*upstream_layouts)),
        values=family,
        seed=draw(integers(0, 2**16)),
    )


def within(sheet: Sheet, **choices: Any) -> st.SearchStrategy[Case]:
    """Cases that fit both the choices and the sheet; UndeclaredError if the sheet rules out every value of a choice."""
    arguments = common(sheet, choices, IMAGE_DTYPES)
    arguments["box_rules"] = restrict("box rules", choices.get("box_rules", ("normalized",)), sheet.box_rules)
    arguments["methods"] = restrict("methods", choices.get("methods", METHODS), sheet.methods)
    arguments["index_dtypes"] = restrict("index dtypes", ("int32", "int64"), sheet.index_dtypes)
    arguments["finite_boxes"] = choices.get("finite_boxes", False) or "boxes" not in sheet.bad_input
    arguments["extent"] = extent(sheet, choices)
    if sheet.border == "zero":
        arguments["extrapolation_values"] = (0.0,)
    families = choices.get("box_families", BOX_FAMILIES)
    inside = ("interior",) if sheet.border == "inside" else families
    arguments["box_families"] = restrict("boxes beside the image", families, inside)
    return cases(**{**choices, **arguments})


@st.composite
def boxes(
    draw: st.DrawFn,
    rule: BoxRule,
    size: tuple[int, int],
    crop: tuple[int, int],
    families: Sequence[str],
    dtype: str,
) -> Box:
    """A box in its rule's order and units, every coordinate exact in `dtype` (except 1e40, which overflows it)."""
    family = draw(one_from(*families))
    other = draw(one_from(family, family, family, *families))
    y, x = draw(pairs(family, size[0], crop[0], dtype)), draw(pairs(other, size[1], crop[1], dtype))
    if rule == "normalized":
        return (y[0], x[0], y[1], x[1])
    # Bin centres lie half a pixel inside the box; to put them on pixels the box is one pixel longer.
    longer = [float(rule == "bin_centres" and each == "pixel_grid") for each in (family, other)]
    y, x = _in_pixels(y, size[0], longer[0], dtype), _in_pixels(x, size[1], longer[1], dtype)
    return (x[0], y[0], x[1], y[1])


# Numbers in (0, 1) with all digits in use: Hypothesis prefers short floats, which round nothing and so hide the order
# of rounding.
_LONG_FRACTIONS = st.integers(1, 2**16).map(lambda k: (k * 0.6180339887498949) % 1)
_INSIDE = st.one_of(st.floats(0.0625, 0.9375, width=32), _LONG_FRACTIONS)
_LOWER_HALF, _UPPER_HALF = st.floats(-0.25, 0.5, width=32), st.floats(0.5, 1.25, width=32)
_LARGE = st.sampled_from(HUGE)
_HUGE_PAIRS = st.one_of(st.tuples(_LARGE, _LARGE), st.tuples(st.just(0.0), _LARGE), st.tuples(_LARGE, st.just(0.5)))
_BAD = st.sampled_from([math.nan, math.inf, -math.inf])
_BAD_PAIRS = st.one_of(st.tuples(_BAD, st.just(0.5)), st.tuples(st.just(0.25), _BAD), st.tuples(_BAD, _BAD))


@functools.cache
@st.composite
def pairs(draw: st.DrawFn, family: str, length: int, count: int, dtype: str) -> Pair:
    """The normalised (first, last) of one axis of `length` pixels and `count` samples."""
    span = max(length - 1, 1)
    pixel = integers(0, length - 1)
    if family == "interior":
        pair = tuple(sorted((draw(_INSIDE), draw(_INSIDE))))
    elif family == "border":
        pair = draw(_border_pairs(dtype))
    elif family == "on_pixel":
        pair = tuple(sorted((draw(pixel) / span, draw(pixel) / span)))
        pair = (draw(_beside(pair[0], dtype)), draw(_beside(pair[1], dtype)))
    elif family == "pixel_grid":  # every sample on a pixel: only there a neighbour must not be read
        first = draw(integers(0, max(length - count, 0)))
        pair = (first / span, (first + count - 1) / span)
    elif family == "half_pixel":
        pair = (draw(_beside((draw(pixel) + 0.5) / span, dtype)), draw(_beside((draw(pixel) + 0.5) / span, dtype)))
    elif family == "inverted":
        pair = (draw(_UPPER_HALF), draw(_LOWER_HALF))
    elif family == "zero_area":
        pair = (draw(_zero_areas(length)),) * 2
    elif family == "partly_outside":
        pair = draw(one_from((-0.5, 0.5), (0.5, 1.5), (-0.3, 1.3), (1.3, -0.3)))
    elif family == "outside":
        pair = draw(one_from((-2.0, -1.0), (1.5, 2.5), (2.5, 1.5)))
    elif family == "huge":
        pair = draw(_HUGE_PAIRS)
    elif family == "not_finite":
        pair = draw(_BAD_PAIRS)
    else:
        raise ValueError(f"There is no box family {family!r}; there are {', '.join(BOX_FAMILIES)}.")
    return exact(pair[0], dtype), exact(pair[1], dtype)


@functools.cache
def _border_pairs(dtype: str) -> st.SearchStrategy[Pair]:
    beside = st.tuples(_beside(0.0, dtype), _beside(1.0, dtype))
    # A position of -0.0 is inside, and decides the sign of an interpolated zero.
    minus_zero = st.sampled_from([(-0.0, -1.0), (-0.0, -0.0)])
    return st.one_of(st.just((0.0, 1.0)), beside, minus_zero)


@functools.cache
def _zero_areas(length: int) -> st.SearchStrategy[float]:
    return st.one_of(_INSIDE, integers(0, length - 1).map(lambda k: k / max(length - 1, 1)))


@functools.cache
def _beside(value: float, dtype: str) -> st.SearchStrategy[float]:
    """The value in `dtype`, and its two neighbours there."""
    here = exact(value, dtype)
    return st.sampled_from([here, next_after(here, -1, dtype), next_after(here, 1, dtype)])


def _in_pixels(pair: Pair, length: int, longer: float, dtype: str) -> Pair:
    """The pair in pixels, from the first pixel's centre to the last one's."""
    scale = max(length - 1, 1)
    return exact(pair[0] * scale, dtype), exact(pair[1] * scale + longer, dtype)
