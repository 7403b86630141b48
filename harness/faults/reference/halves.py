"""Planted faults that show only in half images: the implementation is right in float32.

Half types interpolate and accumulate in float32 and are rounded once, to nearest even. Each fault violates one part of
that sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from harness.faults.fault import CROP_AND_RESIZE, FORWARD, GRADIENTS, IMAGE, Fault, Half, Steps
from harness.operators.arrays import DIRECTIONS, HALVES, Array
from harness.operators.crop_and_resize import reference as rule
from harness.operators.crop_and_resize.reference import Scalar

in_halves = CROP_AND_RESIZE.in_halves


def _sum_in_half(half: Half) -> Steps:
    def add(total: Array, place: tuple[int, ...], term: Scalar) -> None:
        total[place] = half(total[place] + term)

    return {"add": add}


def _interpolate_in_half(half: Half) -> Steps:
    return {"interpolate": lambda *arguments: rule.interpolate(*map(half, arguments))}


def _rows_in_half(half: Half) -> Steps:
    def interpolate(tl: Scalar, tr: Scalar, bl: Scalar, br: Scalar, lx: Scalar, ly: Scalar) -> Scalar:
        to = type(lx)
        top, bottom = to(half(tl + (tr - tl) * lx)), to(half(bl + (br - bl) * lx))
        return top + (bottom - top) * ly

    return {"interpolate": interpolate}


def ten_bits(value: Scalar) -> Scalar:
    """A float32 rounded as by a tensor core, to ten bits after the first."""
    bits = np.float32(value).view(np.uint32)
    return ((bits + np.uint32(0xFFF) + (bits >> 13 & 1)) & ~np.uint32(0x1FFF)).view(np.float32)


def finish_with(change: Callable[[Array, Array], None]) -> Callable[[Array, np.dtype[Any]], Array]:
    """The last step of the rule, followed by `change(rounded, total)`, which corrupts a half result."""

    def finish(total: Array, dtype: np.dtype[Any]) -> Array:
        rounded = total.astype(dtype)
        if dtype.name in HALVES:
            change(rounded, total)
        return rounded

    return finish


def _finish_step(change: Callable[[Array, Array], None]) -> Callable[[Half], Steps]:
    return lambda half: {"finish": finish_with(change)}


def towards_zero(rounded: Array, total: Array) -> None:
    """Truncates to the upper bits of a float32, like a bfloat16 conversion by one shift."""
    rounded.view(np.uint16)[...] -= np.abs(rounded.astype(total.dtype)) > np.abs(total)


def _ties_away(rounded: Array, total: Array) -> None:
    """Rounds ties away from zero: adds half a step and truncates, ignoring whether the number is even."""
    other = rounded.copy()
    other.view(np.uint16)[...] += 1
    tie = np.abs(total - rounded.astype(total.dtype)) == np.abs(other.astype(total.dtype) - total)
    rounded[tie] = other[tie]


def _flush_subnormals(rounded: Array, total: Array) -> None:
    rounded[np.abs(rounded) < np.finfo(np.float16).smallest_normal] = 0


def _saturate(rounded: Array, total: Array) -> None:
    rounded[np.isinf(rounded) & np.isfinite(total)] = np.finfo(np.float16).max


FAULTS: tuple[Fault, ...] = (
    in_halves("sum_in_half", "halves are added up in halves", GRADIENTS, _sum_in_half),
    in_halves(
        "terms_in_half",
        "each term is rounded to half, their sum is not",
        ("grad_image",),
        lambda half: {"spread": lambda g, lx, ly: tuple(type(g)(half(w)) for w in rule.spread(g, lx, ly))},
    ),
    in_halves("interpolated_in_half", "halves are interpolated in halves", FORWARD, _interpolate_in_half),
    in_halves("rows_in_half", "what is interpolated along x is rounded to half before y", FORWARD, _rows_in_half),
    in_halves(
        "weights_in_half",
        "weights have the dtype of the image",
        DIRECTIONS,
        lambda half: {"fraction": lambda p, low: half(rule.fraction(p, low))},
    ),
    in_halves(
        "weights_of_ten_bits",
        "weights as a tensor core takes them",
        DIRECTIONS,
        lambda half: {"fraction": lambda p, low: ten_bits(rule.fraction(p, low))},
    ),
    in_halves(
        "boxes_in_half",
        "boxes are cast to the dtype of the image",
        DIRECTIONS,
        lambda half: {
            "normalize": lambda box_rule, first, last, count, length: rule.normalize(
                box_rule, type(first)(half(first)), type(last)(half(last)), count, length
            )
        },
    ),
    in_halves(
        "positions_in_half",
        "positions are cast to the dtype of the image",
        DIRECTIONS,
        lambda half: {"position": lambda *axis: type(axis[0])(half(rule.position(*axis)))},
    ),
    in_halves("cut_to_half", "a half is the upper bits", IMAGE, _finish_step(towards_zero)),
    in_halves("half_ties_away", "ties between two halves go up", FORWARD, _finish_step(_ties_away)),
    in_halves("flushed_halves", "subnormal halves are 0", IMAGE, _finish_step(_flush_subnormals), ("float16",)),
    in_halves(
        "saturated_halves", "what is too large is the largest half", IMAGE, _finish_step(_saturate), ("float16",)
    ),
    in_halves(
        "single_for_half",
        "the result of a half image is float32",
        IMAGE,
        lambda half: {"finish": lambda total, dtype: total},
    ),
)
