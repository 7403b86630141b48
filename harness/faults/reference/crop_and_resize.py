"""Planted faults in crop_and_resize: wrong implementations that the checks must find, as a test of the checks.

Each is the reference with one step replaced, or with one defect added around it, and each has been a real bug or is one
keystroke away from one. Changes without an effect on results are not listed: they would not be faults.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.faults.fault import BOXES, CROP_AND_RESIZE, FORWARD, GRADIENTS, IMAGE, Fault
from harness.faults.reference import halves, memory
from harness.operators.arrays import DIRECTIONS, Array
from harness.operators.crop_and_resize import reference as rule
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.crop_and_resize.reference import Scalar

step, around = CROP_AND_RESIZE.step, CROP_AND_RESIZE.around


def _fused_position(first: Scalar, last: Scalar, i: int, count: int, length: int) -> Scalar:
    """a*b + c with one rounding: the product of two float32 is exact in double."""
    to = type(first)
    if count == 1 or to is not np.float32:
        return rule.position(first, last, i, count, length)
    scale = (last - first) * to(length - 1) / to(count - 1)
    return to(np.float64(to(i)) * np.float64(scale) + np.float64(first * to(length - 1)))


def _ratio_first(first: Scalar, last: Scalar, i: int, count: int, length: int) -> Scalar:
    to = type(first)
    if count == 1:
        return rule.position(first, last, i, count, length)
    return first * to(length - 1) + to(i) * ((last - first) * (to(length - 1) / to(count - 1)))


def _over_count(first: Scalar, last: Scalar, i: int, count: int, length: int) -> Scalar:
    to = type(first)
    return first * to(length - 1) + to(i) * ((last - first) * to(length - 1) / to(count))


def _from_the_start(first: Scalar, last: Scalar, i: int, count: int, length: int) -> Scalar:
    return first * type(first)(length - 1) if count == 1 else rule.position(first, last, i, count, length)


def _clamped_position(first: Scalar, last: Scalar, i: int, count: int, length: int) -> Scalar:
    to = type(first)
    return np.clip(rule.position(first, last, i, count, length), to(0), to(length - 1))


def _no_half(box_rule: str, first: Scalar, last: Scalar, count: int, length: int) -> rule.Pair:
    to = type(first)
    shift = to(0.5) if box_rule == "bin_centres" else to(0)
    return rule.normalize(box_rule, first + shift, last + shift, count, length)


def _truncated_inside(p: Scalar, length: int) -> bool:
    return bool(np.isfinite(p)) and int(p) >= 0 and bool(p <= type(p)(length - 1))


def _truncated_pair(p: Scalar, length: int) -> tuple[int, int]:
    return int(p), min(int(np.ceil(p)), length - 1)


def _next_pair(p: Scalar, length: int) -> tuple[int, int]:
    low = int(np.floor(p))
    return low, min(low + 1, length - 1)


def _assign(total: Array, place: tuple[int, ...], term: Scalar) -> None:
    total[place] = term


def _add_in_half(total: Array, place: tuple[int, ...], term: Scalar) -> None:
    total[place] = np.float16(total[place]) + np.float16(term)


def _writes_to_boxes(call: Callable[[], Array], inputs: Inputs) -> Array:
    result = call()
    np.clip(inputs.boxes, 0, 1, out=inputs.boxes)
    return result


def _writes_to_image(call: Callable[[], Array], inputs: Inputs) -> Array:
    result = call()
    if inputs.image.size:
        inputs.image[0] = 0
    return result


def _change_shares(change: Callable[[Scalar, Scalar], rule.Pair]) -> Callable[..., rule.Pair]:
    return lambda *arguments: change(*rule.shares(*arguments))


def _with_memory(change: Callable[[Array, Array], Array]) -> Callable[[Callable[[], Array], Inputs], Array]:
    """Returns `change(result, memory)`, where memory persists between results of the same shape and dtype."""
    memories: dict[tuple[tuple[int, ...], str], Array] = {}

    def wrap(call: Callable[[], Array], inputs: Inputs) -> Array:
        result = call()
        return change(result, memories.setdefault((result.shape, result.dtype.name), np.zeros_like(result)))

    return wrap


def _without_zeroing(result: Array, memory: Array) -> Array:
    """A gradient accumulated in memory that still holds the previous result."""
    result += memory
    memory[...] = np.nan_to_num(result)
    return result


def _one_output(result: Array, memory: Array) -> Array:
    """All results of one shape share the same memory."""
    memory[...] = result
    return memory


FAULTS: tuple[Fault, ...] = (
    step("swapped_axes", "x and y of the box", columns=lambda box_rule: rule.columns(box_rule)[::-1]),
    step("swapped_crop_sides", "(w, h) for (h, w)", FORWARD, crop_size=lambda size: size[::-1]),
    step("off_by_half", "pixel centres at one half", position=lambda *axis: rule.position(*axis) - type(axis[0])(0.5)),
    step("no_half_pixel", "bin centres without their half pixel", normalize=_no_half),
    step("fma_position", "a contracted multiply-add in the coordinates", position=_fused_position),
    step(
        "double_position",
        "coordinates in double, rounded once",
        position=lambda *axis: type(axis[0])(rule.position(*map(np.float64, axis[:2]), *axis[2:])),
    ),
    step("ratio_first", "the rounding order of TensorFlow's CUDA kernel", position=_ratio_first),
    step("scale_over_n", "n steps for n-1", position=_over_count),
    step("length_for_span", "L for L-1", position=lambda a, b, i, n, length: rule.position(a, b, i, n, length + 1)),
    step("single_sample_at_start", "a crop of one sample takes the box's start", position=_from_the_start),
    step(
        "upright_boxes",
        "inverted boxes are turned round",
        normalize=lambda of, a, b, *rest: rule.normalize(of, min(a, b), max(a, b), *rest),
    ),
    step("trunc_for_floor", "the cast comes before the border test", inside=_truncated_inside, pair=_truncated_pair),
    step("open_lower_border", "> 0 for >= 0", inside=lambda p, length: bool(p > 0 and p <= length - 1)),
    step("open_upper_border", "< L-1 for <= L-1", inside=lambda p, length: bool(p >= 0 and p < length - 1)),
    step("nan_inside", "outside is tested and NaN is not", inside=lambda p, length: not (p < 0 or p > length - 1)),
    step("clamp_for_extrapolate", "the edge is repeated", position=_clamped_position),
    step("halfway_to_even", "rint for roundf", IMAGE, nearest=lambda p: int(np.rint(p))),
    step("halfway_down", "halves go down", IMAGE, nearest=lambda p: int(np.ceil(p - type(p)(0.5)))),
    step("floor_for_nearest", "nearest is floor", IMAGE, nearest=lambda p: int(np.floor(p))),
    step("next_for_ceil", "the unread neighbour is read", ("forward", "grad_boxes"), pair=_next_pair),
    step("ignored_index", "every box is cut from image 0", image_of=lambda index, count: 0),
    step("wrong_image", "indices count from 1", image_of=lambda index, count: (int(index) + 1) % count),
    step("ignored_extrapolation", "outside is 0", FORWARD, blank=lambda value, to: to(0)),
    step(
        "swapped_weights",
        "lx for ly",
        FORWARD,
        interpolate=lambda tl, tr, bl, br, lx, ly: rule.interpolate(tl, tr, bl, br, ly, lx),
    ),
    step(
        "swapped_corners",
        "TR for BL",
        FORWARD,
        interpolate=lambda tl, tr, bl, br, lx, ly: rule.interpolate(tl, bl, tr, br, lx, ly),
    ),
    step("half_weights", "weights in half precision", fraction=lambda p, low: np.float16(rule.fraction(p, low))),
    step(
        "half_pixels", "pixels in half precision", FORWARD, read=lambda image, place, to: to(np.float16(image[place]))
    ),
    step("half_sum", "half precision in the sum", GRADIENTS, add=_add_in_half),
    step("no_accumulation", "= for +=", GRADIENTS, add=_assign),
    step(
        "swapped_spread",
        "lx for ly in the image gradient",
        ("grad_image",),
        spread=lambda g, lx, ly: rule.spread(g, ly, lx),
    ),
    step(
        "box_gradient_sign",
        "d last has the wrong sign",
        BOXES,
        shares=_change_shares(lambda first, last: (first, -last)),
    ),
    step("box_gradient_ends", "d first for d last", BOXES, shares=_change_shares(lambda first, last: (last, first))),
    step("box_gradient_axes", "gx for gy", BOXES, slopes=lambda *arguments: tuple(reversed(rule.slopes(*arguments)))),
    around("double_result", "the result is of another type", DIRECTIONS, lambda call, _: call().astype(np.longdouble)),
    around("boxes_written_to", "boxes are clipped in place", DIRECTIONS, _writes_to_boxes),
    around("image_written_to", "the image is used as scratch", DIRECTIONS, _writes_to_image),
    around("stale_memory", "the gradient starts from what was left", GRADIENTS, _with_memory(_without_zeroing)),
    around("shared_output", "two results share memory", DIRECTIONS, _with_memory(_one_output)),
    *halves.FAULTS,
    *memory.of_both(CROP_AND_RESIZE),
    *memory.FAULTS,
)
