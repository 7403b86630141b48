"""Planted faults in roi_align, each the reference with one step replaced; see crop_and_resize.py for their purpose."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from harness.faults.fault import BOXES, FORWARD, IMAGE, ROI_ALIGN, Fault
from harness.faults.reference import memory
from harness.faults.reference.halves import finish_with, ten_bits, towards_zero
from harness.operators.arrays import DIRECTIONS
from harness.operators.roi_align import reference as rule
from harness.operators.roi_align.case import Mode
from harness.operators.roi_align.reference import RoiAxis, Scalar, Tap

step, around = ROI_ALIGN.step, ROI_ALIGN.around


def _swapped_scale(first: Scalar, last: Scalar, scale: Scalar, aligned: bool, count: int, ratio: int) -> RoiAxis:
    """Scales the difference instead of the ends: rounds differently, so the grid may differ."""
    axis = rule.axis(first, last, scale, aligned, count, ratio)
    size, stretched = rule.extent((last - first) * scale, aligned)
    size = size / type(first)(count)
    return RoiAxis(axis.start, size, ratio if ratio > 0 else rule.adaptive(size), stretched)


def _stretch_always(first: Scalar, last: Scalar, scale: Scalar, aligned: bool, count: int, ratio: int) -> RoiAxis:
    axis = rule.axis(first, last, scale, aligned, count, ratio)
    if not aligned:
        return axis
    size, _ = rule.extent(axis.size * type(first)(count), False)
    size = size / type(first)(count)
    return RoiAxis(axis.start, size, ratio if ratio > 0 else rule.adaptive(size), False)


def _stretch_never(first: Scalar, last: Scalar, scale: Scalar, aligned: bool, count: int, ratio: int) -> RoiAxis:
    axis = rule.axis(first, last, scale, True, count, ratio)
    start = axis.start if aligned else axis.start + type(first)(0.5)
    return RoiAxis(start, axis.size, axis.grid, False)


def _grid(change: Callable[[RoiAxis, int], int]) -> Callable[..., RoiAxis]:
    def axis(first: Scalar, last: Scalar, scale: Scalar, aligned: bool, count: int, ratio: int) -> RoiAxis:
        axis = rule.axis(first, last, scale, aligned, count, ratio)
        return dataclasses.replace(axis, grid=change(axis, ratio))

    return axis


def _rounded_grid(axis: RoiAxis, ratio: int) -> int:
    return axis.grid if ratio > 0 or axis.grid < 1 else max(1, int(np.rint(axis.size)))


def _at_sample_starts(axis: RoiAxis, index: int, i: int) -> Scalar:
    to = type(axis.start)
    return axis.start + to(index) * axis.size + to(i) * axis.size / to(axis.grid)


def _step_first(axis: RoiAxis, index: int, i: int) -> Scalar:
    """Adds the sample's share of the bin before multiplying by the bin: another order of rounding."""
    to = type(axis.start)
    return axis.start + (to(index) + (to(i) + to(0.5)) / to(axis.grid)) * axis.size


def _next_pixel(p: Scalar, length: int) -> Tap:
    low, _, weight = rule.tap(p, length)
    return low, min(low + 1, length - 1), weight


def _weighing_all(tl: Scalar, tr: Scalar, bl: Scalar, br: Scalar, lx: Scalar, ly: Scalar) -> Scalar:
    one = type(ly)(1)
    return (one - lx) * ((one - ly) * tl + ly * bl) + lx * ((one - ly) * tr + ly * br)


def _weighing_whole(tl: Scalar, tr: Scalar, bl: Scalar, br: Scalar, lx: Scalar, ly: Scalar) -> Scalar:
    def blend(low: Scalar, high: Scalar, weight: Scalar) -> Scalar:
        return (type(weight)(1) - weight) * low + weight * high if weight else low

    return blend(blend(tl, bl, ly), blend(tr, br, ly), lx)


def _cut_position(p: Scalar, length: int) -> Tap:
    low, _, _ = rule.tap(p, length)
    return low, low, type(p)(0)


def _in_half(step: Callable[..., Scalar]) -> Callable[..., Scalar]:
    return lambda *arguments: type(arguments[0])(np.float16(step(*arguments)))


def _change_moves(change: Callable[[float, float], tuple[float, float]]) -> Callable[..., tuple[float, float]]:
    return lambda *arguments: change(*rule.moves(*arguments))


_AVG: tuple[Mode, ...] = ("avg",)
_MAX: tuple[Mode, ...] = ("max",)

FAULTS: tuple[Fault, ...] = (
    step("aligned_ignored", "no half-pixel offset", axis=lambda a, b, scale, _, *n: rule.axis(a, b, scale, False, *n)),
    step(
        "offset_before_scale",
        "half a pixel of the image, not of the map",
        axis=lambda first, last, scale, aligned, count, ratio: dataclasses.replace(
            axis := rule.axis(first, last, scale, aligned, count, ratio),
            start=(first - type(first)(0.5)) * scale if aligned else axis.start,
        ),
    ),
    step("scale_ignored", "boxes in pixels of the map", axis=lambda a, b, _, *rest: rule.axis(a, b, type(a)(1), *rest)),
    step("size_scaled_late", "(a2 - a1) * scale, rounded elsewhere", axis=_swapped_scale),
    step("stretched_when_aligned", "a short aligned box is taken as one pixel", axis=_stretch_always),
    step("never_stretched", "a short box stays short", axis=_stretch_never),
    step("ratio_ignored", "always an adaptive grid", axis=lambda a, b, s, of, n, _: rule.axis(a, b, s, of, n, -1)),
    step("one_sample", "always one sample", axis=_grid(lambda axis, ratio: min(axis.grid, 1))),
    step("rounded_grid", "round for ceil in an adaptive grid", axis=_grid(_rounded_grid)),
    step(
        "one_sample_more",
        "floor + 1 for ceil",
        axis=_grid(lambda axis, ratio: axis.grid if ratio > 0 or axis.grid < 1 else int(axis.size) + 1),
    ),
    step("at_sample_starts", "samples at their cells' starts", position=_at_sample_starts),
    step("share_first", "another order of rounding", position=_step_first),
    step(
        "no_bands", "0 from the last pixel on, as crop_and_resize", inside=lambda p, length: bool(0 <= p <= length - 1)
    ),
    step("open_lower_end", "> -1 for >= -1", IMAGE, inside=lambda p, length: bool(-1 < p <= length)),
    step("open_upper_end", "< L for <= L", inside=lambda p, length: bool(-1 <= p < length)),
    step("no_outside", "the edge pixel everywhere", inside=lambda p, length: bool(np.isfinite(p))),
    step("narrow_lower_band", "half a band", inside=lambda p, length: bool(-0.5 <= p <= length)),
    step("neighbour_read", "a pixel of weight 0 is read", FORWARD, tap=_next_pixel, interpolate=_weighing_all),
    step(
        "cast_neighbour_read", "a pixel of a weight that is 0 once cast is read", FORWARD, interpolate=_weighing_whole
    ),
    step("nearest_below", "floor for interpolation", tap=_cut_position),
    step(
        "transposed_pixels", "TR for BL", FORWARD, interpolate=lambda a, b, c, d, *w: rule.interpolate(a, c, b, d, *w)
    ),
    step("half_samples", "samples in half precision", FORWARD, interpolate=_in_half(rule.interpolate)),
    step(
        "ten_bit_weights",
        "weights as a tensor core takes them",
        image_dtypes=("float32",),
        tap=lambda p, length: (*(tap_of := rule.tap(p, length))[:2], ten_bits(tap_of[2])),
    ),
    step(
        "mean_in_half",
        "samples are added up in half precision",
        FORWARD,
        ("avg",),
        ("float32",),
        mean=_in_half(rule.mean),
    ),
    step(
        "double_in_single",
        "float64 maps are interpolated in float32",
        FORWARD,
        image_dtypes=("float64",),
        interpolate=lambda *arguments: np.float64(rule.interpolate(*map(np.float32, arguments))),
    ),
    step("sum_for_mean", "not divided", modes=_AVG, mean=lambda total, samples: total),
    step(
        "divided_by_ratio",
        "divided by the square root of the count",
        modes=_AVG,
        mean=lambda total, samples: total / type(total)(max(samples, 1) ** 0.5),
    ),
    step("minimum", "the smallest sample", modes=_MAX, better=lambda value, best: bool(value < best)),
    step("last_of_equals", "the last of equal samples wins", BOXES, _MAX, better=lambda v, b: bool(v >= b)),
    step("nan_ignored", "a NaN loses", FORWARD, _MAX, better=lambda value, best: bool(value > best)),
    step("wrong_image", "every box from image 0", image_of=lambda index: 0),
    step(
        "edge_sign",
        "the second edge has the wrong sign",
        BOXES,
        moves=_change_moves(lambda first, last: (first, -last)),
    ),
    step("edges_swapped", "d first for d last", BOXES, moves=_change_moves(lambda first, last: (last, first))),
    step("still_second_edge", "the first edge takes it all", BOXES, moves=_change_moves(lambda a, b: (a + b, 0.0))),
    step(
        "stretched_slope",
        "a box taken as one pixel moves with both edges",
        BOXES,
        moves=lambda axis, *rest: rule.moves(dataclasses.replace(axis, stretched=False), *rest),
    ),
    step(
        "unscaled_slope",
        "the gradient in pixels of the map",
        BOXES,
        moves=lambda axis, scale, *rest: rule.moves(axis, 1.0, *rest),
    ),
    step("cut_to_half", "a half is the upper bits", IMAGE, finish=finish_with(towards_zero)),
    around("double_result", "the result is of another type", DIRECTIONS, lambda call, _: call().astype(np.longdouble)),
    *memory.of_both(ROI_ALIGN),
)
