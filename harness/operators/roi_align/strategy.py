"""RoiCases for Hypothesis: boxes in pixels, grids of every kind, and the places where the rule jumps.

Each side is drawn independently, and each axis of a box has a family of its own. Specific to this operator are the
bands between -1 and 0 and between L-1 and L, samples on their ends and one ulp beside them, sizes of a whole number of
pixels per bin, boxes shorter than a pixel, and scales that round as well as scales that do not.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from harness.operators.arrays import FLOATS, LAYOUTS, STRIDES, VALUES, Layout, Strides, Values
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
from harness.operators.roi_align.case import MODES, SAMPLED, Mode, RoiCase, Row
from harness.operators.sheet import EMPTY, Empty, Extent, Sheet

Pair = tuple[float, float]
BOX_FAMILIES = (
    "interior",
    "lower_band",
    "upper_band",
    "border",
    "on_pixel",
    "whole_bins",
    "tiny",
    "inverted",
    "zero_size",
    "covering",
    "outside",
    "huge",
    "not_finite",
)
FINITE_FAMILIES = tuple(family for family in BOX_FAMILIES if family not in ("huge", "not_finite"))
# float64 samples that lie on a pixel after the cast to float32. They matter only beside non-finite pixels, so the
# family is used only where it is named, and takes no cases from the others.
BELOW_PIXEL = "below_pixel"
# Without the families built to lie on a jump of the value or of the slope.
SMOOTH_FAMILIES = ("interior", "tiny", "inverted", "covering", "outside")
SCALES = (1.0, 0.5, 0.25, 0.0625, 0.3, 1.7)
HUGE = (1e40, 3.4e38, -3.4e38, 1e30, 1e10, -1e10)
# Created once, see drawing.py.
_SMALL = st.sampled_from([0.25, 0.5, 0.75, 1.0])
_BELOW_ONE = st.floats(0, 1, width=16)
_LARGE = st.sampled_from(HUGE)
_HUGE_PAIRS = st.one_of(st.tuples(_LARGE, _LARGE), st.tuples(st.just(0.0), _LARGE), st.tuples(_LARGE, st.just(1.0)))
_BAD = st.sampled_from([math.nan, math.inf, -math.inf])
_BAD_PAIRS = st.one_of(st.tuples(_BAD, st.just(1.0)), st.tuples(st.just(0.5), _BAD), st.tuples(_BAD, _BAD))


@st.composite
def roi_cases(
    draw: st.DrawFn,
    *,
    modes: Sequence[Mode] = SAMPLED,
    aligned: Sequence[bool] = (False, True),
    ratios: Sequence[int] = (-1, 0, 1, 2, 3),
    scales: Sequence[float] = SCALES,
    scale_dtype: str = "float64",
    image_dtypes: Sequence[str] = ("float32", *FLOATS),
    boxes_dtypes: Sequence[str] = ("float32", "float64"),
    same_dtype: bool = False,
    layouts: Sequence[Layout] = LAYOUTS,
    boxes_layouts: Sequence[Strides] = STRIDES,
    upstream_layouts: Sequence[Strides] = STRIDES,
    values: Sequence[Values] = VALUES,
    box_families: Sequence[str] = BOX_FAMILIES,
    extent: Extent = "any",
    empty: Sequence[Empty] = EMPTY,
    channels: Sequence[int] = (1, 2, 3),
    longest_side: int = 40,
    most_outputs: int = 120,
) -> RoiCase:
    """Cases within these choices; the simplest choice comes first everywhere.

    same_dtype    boxes have the map's dtype, as some implementations require.
    scale_dtype   the dtype that the scale is exact in.
    extent        which boxes may be empty or inverted; the others are flipped or given an extent.
    empty         which of K, C and N may be 0 (N only together with K).
    most_outputs  K*C*height*width is at most this: the oracle is plain Python.
    """
    height, width = draw(sides(10, longest_side))
    size = (draw(integers(1, 5)), draw(integers(1, 5)))
    depth = draw(depths(tuple(channels), "channels" in empty))
    box_count = min(draw(counts(4, "boxes" in empty)), max(1, most_outputs // max(1, depth * size[0] * size[1])))
    images = draw(integers(1, 3) if box_count or "images" not in empty else integers(0, 3))
    image_dtype = draw(one_from(*image_dtypes))
    boxes_dtype = image_dtype if same_dtype else draw(one_from(*boxes_dtypes))
    family = draw(one_from(*values))
    if image_dtype not in FLOATS and family not in ("ramp", "dyadic", "normal"):
        family = "ramp"
    offset, scale = draw(one_from(*aligned)), exact(draw(one_from(*scales)), scale_dtype)
    ratio = draw(one_from(*ratios))
    row = rows(max(images - 1, 0), (height, width), size, scale, offset, box_families, boxes_dtype)
    box_rows = draw(st.lists(row, min_size=box_count, max_size=box_count))
    if extent == "positive" or (extent == "positive where adaptive" and offset and ratio <= 0):
        box_rows = [(index, *upright(box, boxes_dtype, 1 / scale)) for index, *box in box_rows]
    return RoiCase(
        shape=(images, depth, height, width),
        boxes=tuple(box_rows),
        output_size=size,
        spatial_scale=scale,
        sampling_ratio=ratio,
        aligned=offset,
        mode=draw(one_from(*modes)),
        image_dtype=image_dtype,
        boxes_dtype=boxes_dtype,
        layout=draw(one_from(*layouts)),
        boxes_layout=draw(mostly_contiguous(*boxes_layouts)),
        upstream_layout=draw(mostly_contiguous(*upstream_layouts)),
        values=family,
        seed=draw(integers(0, 2**16)),
    )


def within(sheet: Sheet, *, finite_boxes: bool = False, **choices: Any) -> st.SearchStrategy[RoiCase]:
    """Cases that fit both the choices and the sheet; UndeclaredError if the sheet rules out every value of a choice."""
    arguments = common(sheet, choices, ("float32", *FLOATS))
    arguments["modes"] = restrict("modes", choices.get("modes", MODES), sheet.modes)
    arguments["aligned"] = restrict("aligned", choices.get("aligned", (False, True)), sheet.aligned)
    grids = [("fixed" if ratio > 0 else "adaptive", ratio) for ratio in choices.get("ratios", (-1, 0, 1, 2, 3))]
    restrict("grids", [grid for grid, _ in grids], sheet.grids)
    arguments["ratios"] = [ratio for grid, ratio in grids if grid in sheet.grids]
    arguments["scale_dtype"], arguments["extent"] = sheet.scale_dtype, extent(sheet, choices)
    families = choices.get("box_families", BOX_FAMILIES)
    if finite_boxes or "boxes" not in sheet.bad_input:
        families = restrict("boxes", families, FINITE_FAMILIES)
    inside = ("interior", "tiny") if sheet.border == "inside" else families
    arguments["box_families"] = restrict("boxes beside the map", families, inside)
    return roi_cases(**{**choices, **arguments})


@st.composite
def rows(
    draw: st.DrawFn,
    last_image: int,
    sides: tuple[int, int],
    size: tuple[int, int],
    scale: float,
    aligned: bool,
    families: Sequence[str],
    dtype: str,
) -> Row:
    """A row (index, x1, y1, x2, y2), every coordinate exact in `dtype` (except 1e40, which overflows it)."""
    family = draw(one_from(*families))
    other = draw(one_from(family, family, *families))
    edges = []
    for length, bins, kind in ((sides[1], size[1], other), (sides[0], size[0], family)):
        first, last = draw(pairs(kind, length, bins))
        # From positions on the map to the box's own units.
        offset = 0.5 if aligned else 0.0
        edges.append(tuple(_rounded((end + offset) / scale, dtype) for end in (first, last)))
        if kind in ("border", "whole_bins") and draw(st.booleans()):
            edges[-1] = (edges[-1][0], next_after(edges[-1][1], draw(one_from(-1, 1)), dtype))
        if kind == BELOW_PIXEL:
            edges[-1] = (edges[-1][0], next_after(edges[-1][1], -1, dtype))
    (x1, x2), (y1, y2) = edges
    return draw(integers(0, last_image)), x1, y1, x2, y2


@st.composite
def pyramid_scales(draw: st.DrawFn) -> tuple[float, ...]:
    """Scales of two to five maps: most halve from map to map; others repeat a scale, leave one out, or grow between."""
    levels = [draw(integers(0, 3))]
    for _ in range(draw(integers(1, 4))):
        levels.append(levels[-1] + draw(one_from(1, 1, 1, 0, 2, 3, -1)))
    levels[-1] = max(levels[0], levels[-1])
    return tuple(2.0**-level for level in levels)


@st.composite
def pyramid_rows(
    draw: st.DrawFn, scales: Sequence[float], canonical_scale: float, canonical_level: int, dtype: str
) -> tuple[Row, ...]:
    """Draws boxes of two images for maps of these scales. Their levels lie before the first map, at each map and past
    the last. Some are squares at the size where two levels meet, or one ulp beside it; some have an inverted side."""
    first, last = (round(-math.log2(scale)) for scale in (scales[0], scales[-1]))
    rows = []
    for _ in range(draw(integers(1, 6))):
        side = canonical_scale * 2.0 ** (draw(integers(first - 1, last + 2)) - canonical_level)
        other = side
        if draw(st.booleans()):
            x = y = 0.0
            side = other = next_after(side, draw(one_from(1, -1)), dtype) if draw(st.booleans()) else side
        else:
            x, y = draw(st.floats(-10, 60, width=16)), draw(st.floats(-10, 60, width=16))
            side, other = side * draw(one_from(1.3, 1.9)), side * draw(one_from(1.1, 0.7, 0.0, -1.2))
        x1, y1, x2, y2 = (exact(edge, dtype) for edge in (x, y, x + side, y + other))
        rows.append((draw(integers(0, 1)), x1, y1, x2, y2))
    return tuple(rows)


@st.composite
def pyramid_sizes(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[tuple[int, int], ...]]:
    """(height, width) of an image, and of the maps that a backbone makes of it: halved, rounded up, and halved again,
    of the image as it is or padded to multiples of 32; now and then the last map twice, or one of them left out."""
    side = st.one_of(one_from(65, 64, 32, 33), integers(20, 200))
    image = draw(side), draw(side)
    high, wide = (-(-each // 32) * 32 for each in image) if draw(st.booleans()) else image
    maps = [(-(-high // 2**level), -(-wide // 2**level)) for level in range(2, 2 + draw(integers(2, 4)))]
    change = draw(one_from("none", "none", "twice", "left out"))
    if change == "twice":
        maps.append(maps[-1])
    elif change == "left out" and len(maps) > 2:
        del maps[-2]
    return image, tuple(maps)


@functools.cache
def _within(length: int) -> st.SearchStrategy[float]:
    return st.one_of(st.floats(0, length, width=16), st.integers(1, 2**12).map(lambda k: k * 0.61803 % 1 * length))


@functools.cache
def _ordered(length: int, inverted: bool) -> st.SearchStrategy[Pair]:
    both = st.tuples(_within(length), _within(length))
    return both.map(lambda pair: (max(pair), min(pair)) if inverted else (min(pair), max(pair)))


@functools.cache
def _zero_sizes(length: int) -> st.SearchStrategy[float]:
    return st.one_of(_within(length), integers(0, length - 1).map(float))


@functools.cache
@st.composite
def pairs(draw: st.DrawFn, family: str, length: int, bins: int) -> Pair:
    """The start and end of a box on one axis, in pixels of the map."""
    if family == "interior":
        return draw(_ordered(length, False))
    if family == "lower_band":
        return -draw(_SMALL), draw(one_from(0.0, 0.25, 1.5))
    if family == "upper_band":
        return length - 1 - draw(one_from(0.0, 0.25, 1.5)), length - 1 + draw(_SMALL)
    if family == "border":  # with one sample a bin of one pixel, samples fall on -1, 0, L-1 and L themselves
        start = draw(one_from(-1.5, -1.0, -0.5, 0.0))
        return start, draw(one_from(start + bins, length - 0.5, length + 0.5, float(length)))
    if family in ("on_pixel", BELOW_PIXEL):
        start = draw(integers(0, length - 1)) - 0.5
        return start, start + bins
    if family == "whole_bins":
        start = draw(one_from(0.0, 0.5, 0.25))
        return start, start + bins * draw(integers(1, 3))
    if family == "tiny":
        start = draw(_within(length))
        return start, start + draw(_BELOW_ONE)
    if family == "inverted":
        return draw(_ordered(length, True))
    if family == "zero_size":
        return (draw(_zero_sizes(length)),) * 2
    if family == "covering":
        return draw(one_from((-2.5, length + 2.5), (-0.7, length - 0.3), (-3.0, length / 2), (0.3, length + 4.0)))
    if family == "outside":
        return draw(one_from((-9.0, -4.0), (length + 3.0, length + 7.0)))
    if family == "huge":
        return draw(_HUGE_PAIRS)
    if family == "not_finite":
        return draw(_BAD_PAIRS)
    raise ValueError(f"There is no box family {family!r}; there are {', '.join((*BOX_FAMILIES, BELOW_PIXEL))}.")


def _rounded(value: float, dtype: str) -> float:
    return exact(value, dtype) if math.isfinite(value) else value
