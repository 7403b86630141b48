"""RoiCases for Hypothesis: boxes in pixels, grids of every kind, and the places where the rule jumps.

As in strategies.py each side is drawn by itself and each axis of a box comes from a family of its own. What is this
operator's alone: the bands between -1 and 0 and between L-1 and L, samples on their ends and one ulp beside them, sizes
that are a whole number of pixels a bin, boxes shorter than a pixel, and scales that round and scales that do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import strategies as st

from harness.case import FLOATS, LAYOUTS, VALUES, Layout, Values
from harness.roi_case import MODES, Mode, RoiCase, Row
from harness.strategies import exact, next_after

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
# Without those that are made to lie on a jump of the value or of the slope.
SMOOTH_FAMILIES = ("interior", "tiny", "inverted", "covering", "outside")
SCALES = (1.0, 0.5, 0.25, 0.0625, 0.3, 1.7)
HUGE = (1e40, 3.4e38, -3.4e38, 1e30, 1e10, -1e10)


@st.composite
def roi_cases(
    draw: st.DrawFn,
    *,
    modes: Sequence[Mode] = MODES,
    aligned: Sequence[bool] = (False, True),
    ratios: Sequence[int] = (-1, 0, 1, 2, 3),
    scales: Sequence[float] = SCALES,
    image_dtypes: Sequence[str] = ("float32", *FLOATS),
    boxes_dtypes: Sequence[str] = ("float32", "float64"),
    same_dtype: bool = False,
    layouts: Sequence[Layout] = LAYOUTS,
    values: Sequence[Values] = VALUES,
    box_families: Sequence[str] = BOX_FAMILIES,
    empty: bool = True,
    channels: Sequence[int] = (1, 2, 3),
    longest_side: int = 40,
    most_outputs: int = 120,
) -> RoiCase:
    """Cases within the given choices; the simplest choice stands first everywhere.

    same_dtype    boxes of the map's own type, as some implementations want them.
    empty         whether K, C or N may be 0 (N only together with K).
    most_outputs  K*C*height*width is at most this: the oracle is plain Python.
    """
    side, long = st.integers(1, 10), st.integers(1, longest_side)
    height, width = draw(st.one_of(st.tuples(side, side), st.tuples(side, long), st.tuples(long, side)))
    size = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    count = st.one_of(st.integers(1, 4), st.integers(0, 4)) if empty else st.integers(1, 4)
    depth = draw(
        st.one_of(st.sampled_from(channels), st.sampled_from([0, *channels])) if empty else st.sampled_from(channels)
    )
    box_count = min(draw(count), max(1, most_outputs // max(1, depth * size[0] * size[1])))
    images = draw(st.integers(1, 3) if box_count or not empty else st.integers(0, 3))
    image_dtype = draw(st.sampled_from(image_dtypes))
    boxes_dtype = image_dtype if same_dtype else draw(st.sampled_from(boxes_dtypes))
    family = draw(st.sampled_from(values))
    if image_dtype not in FLOATS and family not in ("ramp", "dyadic", "normal"):
        family = "ramp"
    offset, scale = draw(st.sampled_from(aligned)), draw(st.sampled_from(scales))
    row = rows(max(images - 1, 0), (height, width), size, scale, offset, box_families, boxes_dtype)
    return RoiCase(
        shape=(images, depth, height, width),
        boxes=tuple(draw(st.lists(row, min_size=box_count, max_size=box_count))),
        output_size=size,
        spatial_scale=scale,
        sampling_ratio=draw(st.sampled_from(ratios)),
        aligned=offset,
        mode=draw(st.sampled_from(modes)),
        image_dtype=image_dtype,
        boxes_dtype=boxes_dtype,
        layout=draw(st.sampled_from(layouts)),
        values=family,
        seed=draw(st.integers(0, 2**16)),
    )


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
    """A row (index, x1, y1, x2, y2), every coordinate exact in `dtype` (1e40 apart, which overflows it)."""
    family = draw(st.sampled_from(families))
    other = draw(st.sampled_from([family, family, *families]))
    edges = []
    for length, bins, kind in ((sides[1], size[1], other), (sides[0], size[0], family)):
        first, last = draw(pairs(kind, length, bins))
        # From the positions that are sampled to the units of the box.
        offset = 0.5 if aligned else 0.0
        edges.append(tuple(_rounded((end + offset) / scale, dtype) for end in (first, last)))
        if kind in ("border", "whole_bins") and draw(st.booleans()):
            edges[-1] = (edges[-1][0], next_after(edges[-1][1], draw(st.sampled_from([-1, 1])), dtype))
    (x1, x2), (y1, y2) = edges
    return draw(st.integers(0, last_image)), x1, y1, x2, y2


@st.composite
def pairs(draw: st.DrawFn, family: str, length: int, bins: int) -> Pair:
    """Where a box starts and ends on one axis, in pixels of the map."""
    within = st.one_of(st.floats(0, length, width=16), st.integers(1, 2**12).map(lambda k: k * 0.61803 % 1 * length))
    pixel = st.integers(0, length - 1)
    small = st.sampled_from([0.25, 0.5, 0.75, 1.0])
    if family == "interior":
        return draw(st.tuples(within, within).map(lambda pair: (min(pair), max(pair))))
    if family == "lower_band":
        return -draw(small), draw(st.sampled_from([0.0, 0.25, 1.5]))
    if family == "upper_band":
        return length - 1 - draw(st.sampled_from([0.0, 0.25, 1.5])), length - 1 + draw(small)
    if family == "border":  # with one sample a bin of one pixel, samples fall on -1, 0, L-1 and L themselves
        start = draw(st.sampled_from([-1.5, -1.0, -0.5, 0.0]))
        return start, draw(st.sampled_from([start + bins, length - 0.5, length + 0.5, float(length)]))
    if family == "on_pixel":
        start = draw(pixel) - 0.5
        return start, start + bins
    if family == "whole_bins":
        start = draw(st.sampled_from([0.0, 0.5, 0.25]))
        return start, start + bins * draw(st.integers(1, 3))
    if family == "tiny":
        start = draw(within)
        return start, start + draw(st.floats(0, 1, width=16))
    if family == "inverted":
        return draw(st.tuples(within, within).map(lambda pair: (max(pair), min(pair))))
    if family == "zero_size":
        return (draw(st.one_of(within, pixel.map(float))),) * 2
    if family == "covering":
        return draw(
            st.sampled_from([(-2.5, length + 2.5), (-0.7, length - 0.3), (-3.0, length / 2), (0.3, length + 4.0)])
        )
    if family == "outside":
        return draw(st.sampled_from([(-9.0, -4.0), (length + 3.0, length + 7.0)]))
    if family == "huge":
        large = st.sampled_from(HUGE)
        return draw(st.one_of(st.tuples(large, large), st.tuples(st.just(0.0), large), st.tuples(large, st.just(1.0))))
    if family == "not_finite":
        bad = st.sampled_from([math.nan, math.inf, -math.inf])
        return draw(st.one_of(st.tuples(bad, st.just(1.0)), st.tuples(st.just(0.5), bad), st.tuples(bad, bad)))
    raise ValueError(f"There is no box family {family!r}; there are {', '.join(BOX_FAMILIES)}.")


def _rounded(value: float, dtype: str) -> float:
    return exact(value, dtype) if math.isfinite(value) else value
