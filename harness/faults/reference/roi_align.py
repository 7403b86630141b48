"""Planted faults in roi_align, each the reference with one step replaced: mutants.py says what they are for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from harness.faults.fault import Fault
from harness.faults.reference import memory as memory_mutants
from harness.faults.reference.halves import ten_bits
from harness.operators.arrays import DIRECTIONS, FLOATS, HALVES, Array, Direction
from harness.operators.roi_align import reference as rule
from harness.operators.roi_align.case import MODES, Mode, RoiInputs
from harness.operators.roi_align.reference import STEPS, RoiAxis, Scalar, Steps, Tap

# All that the rule is asked for.
ROI_DTYPES = (*FLOATS, "uint8", "int16")


def step(
    name: str,
    why: str,
    directions: tuple[Direction, ...] = DIRECTIONS,
    modes: tuple[Mode, ...] = MODES,
    dtypes: tuple[str, ...] = ROI_DTYPES,
    **replaced: Callable[..., Any],
) -> Fault:
    """The reference with these steps replaced."""
    steps: Steps = dataclasses.replace(STEPS, **replaced)
    return Fault(
        f"roi_{name}", why, directions, rule.build(steps, f"fault:roi_{name}", f"fault: {name}"), dtypes, modes
    )


def around(
    name: str, why: str, directions: tuple[Direction, ...], change: Callable[[Array, RoiInputs], Array]
) -> Fault:
    """The reference, its result changed."""
    honest = rule.build(STEPS, f"fault:roi_{name}", f"fault: {name}")

    def prepare(inputs: RoiInputs, direction: Direction) -> Callable[[], Any]:
        call = honest.prepare(inputs, direction)
        return lambda: change(call(), inputs)

    return Fault(f"roi_{name}", why, directions, dataclasses.replace(honest, prepare=prepare), ROI_DTYPES, MODES)


def _swapped_scale(first: Scalar, last: Scalar, scale: Scalar, aligned: bool, count: int, ratio: int) -> RoiAxis:
    """The size from the unscaled difference: another rounding, and so another grid."""
    made = rule.axis(first, last, scale, aligned, count, ratio)
    size, stretched = rule.extent((last - first) * scale, aligned)
    size = size / type(first)(count)
    return RoiAxis(made.start, size, ratio if ratio > 0 else rule.adaptive(size), stretched)


def _always_stretched(first: Scalar, last: Scalar, scale: Scalar, aligned: bool, count: int, ratio: int) -> RoiAxis:
    made = rule.axis(first, last, scale, aligned, count, ratio)
    if not aligned:
        return made
    size, _ = rule.extent(made.size * type(first)(count), False)
    size = size / type(first)(count)
    return RoiAxis(made.start, size, ratio if ratio > 0 else rule.adaptive(size), False)


def _never_stretched(first: Scalar, last: Scalar, scale: Scalar, aligned: bool, count: int, ratio: int) -> RoiAxis:
    made = rule.axis(first, last, scale, True, count, ratio)
    start = made.start if aligned else made.start + type(first)(0.5)
    return RoiAxis(start, made.size, made.grid, False)


def _grid(change: Callable[[RoiAxis, int], int]) -> Callable[..., RoiAxis]:
    def axis(first: Scalar, last: Scalar, scale: Scalar, aligned: bool, count: int, ratio: int) -> RoiAxis:
        made = rule.axis(first, last, scale, aligned, count, ratio)
        return dataclasses.replace(made, grid=change(made, ratio))

    return axis


def _rounded_grid(made: RoiAxis, ratio: int) -> int:
    return made.grid if ratio > 0 or made.grid < 1 else max(1, int(np.rint(made.size)))


def _at_sample_starts(axis: RoiAxis, index: int, i: int) -> Scalar:
    to = type(axis.start)
    return axis.start + to(index) * axis.size + to(i) * axis.size / to(axis.grid)


def _step_first(axis: RoiAxis, index: int, i: int) -> Scalar:
    """The sample's share of the bin before the bin: another rounding order."""
    to = type(axis.start)
    return axis.start + (to(index) + (to(i) + to(0.5)) / to(axis.grid)) * axis.size


def _no_bands(p: Scalar, length: int) -> bool:
    return bool(0 <= p <= length - 1)


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


def _all_of_them(first: Scalar, last: Scalar, scale: Scalar, aligned: bool, count: int, ratio: int) -> RoiAxis:
    return rule.axis(first, last, scale, aligned, count, -1)


def _cut_position(p: Scalar, length: int) -> Tap:
    low, _, _ = rule.tap(p, length)
    return low, low, type(p)(0)


def _transposed(tl: Scalar, tr: Scalar, bl: Scalar, br: Scalar, lx: Scalar, ly: Scalar) -> Scalar:
    return rule.interpolate(tl, bl, tr, br, lx, ly)


def _half(tl: Scalar, tr: Scalar, bl: Scalar, br: Scalar, lx: Scalar, ly: Scalar) -> Scalar:
    return type(lx)(np.float16(rule.interpolate(tl, tr, bl, br, lx, ly)))


def _half_mean(total: Scalar, samples: int) -> Scalar:
    return type(total)(np.float16(rule.mean(total, samples)))


def _moved(change: Callable[[float, float], tuple[float, float]]) -> Callable[..., tuple[float, float]]:
    return lambda *arguments: change(*rule.moves(*arguments))


def _uncut(axis: RoiAxis, scale: float, index: int, i: int, count: int) -> tuple[float, float]:
    return rule.moves(dataclasses.replace(axis, stretched=False), scale, index, i, count)


def _floored(total: Array, dtype: np.dtype[Any]) -> Array:
    """A half cut off instead of rounded."""
    rounded = total.astype(dtype)
    if dtype.name in HALVES:
        rounded.view(np.uint16)[...] -= np.abs(rounded.astype(total.dtype)) > np.abs(total)
    return rounded


_AVG: tuple[Mode, ...] = ("avg",)
_MAX: tuple[Mode, ...] = ("max",)
_FORWARD: tuple[Direction, ...] = ("forward",)
_BOXES: tuple[Direction, ...] = ("grad_boxes",)

FAULTS: tuple[Fault, ...] = (
    step(
        "aligned_ignored",
        "no half-pixel offset",
        axis=lambda first, last, scale, aligned, count, ratio: rule.axis(first, last, scale, False, count, ratio),
    ),
    step(
        "offset_before_scale",
        "half a pixel of the image, not of the map",
        axis=lambda first, last, scale, aligned, count, ratio: dataclasses.replace(
            made := rule.axis(first, last, scale, aligned, count, ratio),
            start=(first - type(first)(0.5)) * scale if aligned else made.start,
        ),
    ),
    step(
        "scale_ignored",
        "boxes in pixels of the map",
        axis=lambda first, last, scale, aligned, count, ratio: rule.axis(
            first, last, type(first)(1), aligned, count, ratio
        ),
    ),
    step("size_scaled_late", "(a2 - a1) * scale, rounded elsewhere", axis=_swapped_scale),
    step("stretched_when_aligned", "a short aligned box is taken as one pixel", axis=_always_stretched),
    step("never_stretched", "a short box stays short", axis=_never_stretched),
    step("ratio_ignored", "always an adaptive grid", axis=_all_of_them),
    step("one_sample", "always one sample", axis=_grid(lambda made, ratio: min(made.grid, 1))),
    step("rounded_grid", "round for ceil in an adaptive grid", axis=_grid(_rounded_grid)),
    step(
        "one_sample_more",
        "floor + 1 for ceil",
        axis=_grid(lambda made, ratio: made.grid if ratio > 0 or made.grid < 1 else int(made.size) + 1),
    ),
    step("at_sample_starts", "samples at their cells' starts", position=_at_sample_starts),
    step("share_first", "another order of rounding", position=_step_first),
    step("no_bands", "0 from the last pixel on, as crop_and_resize", inside=_no_bands),
    step(
        "open_lower_end", "> -1 for >= -1", ("forward", "grad_image"), inside=lambda p, length: bool(-1 < p <= length)
    ),
    step("open_upper_end", "< L for <= L", inside=lambda p, length: bool(-1 <= p < length)),
    step("no_outside", "the edge pixel everywhere", inside=lambda p, length: bool(np.isfinite(p))),
    step("narrow_lower_band", "half a band", inside=lambda p, length: bool(-0.5 <= p <= length)),
    step("neighbour_read", "a pixel of weight 0 is read", _FORWARD, tap=_next_pixel, interpolate=_weighing_all),
    step(
        "cast_neighbour_read", "a pixel of a weight that is 0 once cast is read", _FORWARD, interpolate=_weighing_whole
    ),
    step("nearest_below", "floor for interpolation", tap=_cut_position),
    step("transposed_pixels", "TR for BL", _FORWARD, interpolate=_transposed),
    step("half_samples", "samples in half precision", _FORWARD, interpolate=_half),
    step(
        "ten_bit_weights",
        "weights as a tensor core takes them",
        dtypes=("float32",),
        tap=lambda p, length: (*(found := rule.tap(p, length))[:2], ten_bits(found[2])),
    ),
    step(
        "mean_in_half", "samples are added up in half precision", ("forward",), ("avg",), ("float32",), mean=_half_mean
    ),
    step(
        "double_in_single",
        "float64 maps are interpolated in float32",
        ("forward",),
        dtypes=("float64",),
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
    step("last_of_equals", "the last of equal samples wins", ("grad_boxes",), _MAX, better=lambda v, b: bool(v >= b)),
    step("nan_ignored", "a NaN loses", _FORWARD, _MAX, better=lambda value, best: bool(value > best)),
    step("wrong_image", "every box from image 0", image_of=lambda index: 0),
    step("edge_sign", "the second edge has the wrong sign", _BOXES, moves=_moved(lambda first, last: (first, -last))),
    step("edges_swapped", "d first for d last", _BOXES, moves=_moved(lambda first, last: (last, first))),
    step("still_second_edge", "the first edge takes it all", _BOXES, moves=_moved(lambda a, b: (a + b, 0.0))),
    step("stretched_slope", "a box taken as one pixel moves with both edges", _BOXES, moves=_uncut),
    step(
        "unscaled_slope",
        "the gradient in pixels of the map",
        _BOXES,
        moves=lambda axis, scale, *rest: rule.moves(axis, 1.0, *rest),
    ),
    step("cut_to_half", "a half is the upper bits", ("forward", "grad_image"), finish=_floored),
    around(
        "double_result", "the result is of another type", DIRECTIONS, lambda result, _: result.astype(np.longdouble)
    ),
    *(fault for fault in memory_mutants.FAULTS if fault.operator == "roi_align"),
)
