"""Relations that follow from one operator's geometry, compared by bits: flips, shifts, constants, ramps, matrices.

Cases that must not round use powers of two: sides of 2**k + 1, edges in sixteenths of a pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from harness.operators import within
from harness.operators.arrays import DIRECTIONS, Array, Direction
from harness.operators.crop_and_resize.case import Case, Inputs
from harness.operators.drawing import UndeclaredError
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import SAMPLED, RoiCase
from harness.operators.sheet import Sheet
from harness.properties import Property, ask, relation
from harness.properties.calls import same

_SIDES = st.sampled_from([2, 3, 5, 9, 17])
_EXACT_EDGE = 16


@st.composite
def _exact_cases(draw: st.DrawFn, blank: float, beside: int) -> Case:
    n, c, height, width = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(_SIDES), draw(_SIDES)

    def edge(side: int) -> float:
        last = _EXACT_EDGE * (side - 1)
        return draw(st.integers(-beside, last + beside)) / _EXACT_EDGE / (side - 1)

    boxes = [(edge(height), edge(width), edge(height), edge(width)) for _ in range(draw(st.integers(1, 4)))]
    return Case(
        shape=(n, c, height, width),
        boxes=tuple(boxes),
        box_indices=tuple(draw(st.integers(0, n - 1)) for _ in boxes),
        crop_size=(draw(_SIDES), draw(_SIDES)),
        extrapolation_value=blank,
        values="dyadic",
        seed=draw(st.integers(0, 999)),
    )


def exact_cases(sheet: Sheet) -> SearchStrategy[Case]:
    """Cases in which no position is rounded; boxes reach beside the image if the sheet's border allows it."""
    for dtype, declared in (("float32", sheet.image_dtypes), ("float32", sheet.boxes_dtypes)):
        if dtype not in declared:
            raise UndeclaredError(f"{dtype} is not declared")
    blank = -3.5 if sheet.border == "rule" else 0.0
    index_dtype = sheet.index_dtypes[0]
    cases = _exact_cases(blank, 0 if sheet.border == "inside" else 8)
    return cases.map(lambda case: replace(case, index_dtype=index_dtype))


def inverted_box_flips(backend: Backend[Inputs], case: Case, direction: Direction) -> str | None:
    inputs, axis = case.inputs(), case.seed % 2
    columns = [2, 1, 0, 3] if axis == 0 else [0, 3, 2, 1]
    result = ask(backend, replace(inputs, boxes=inputs.boxes[:, columns].copy()), direction)
    difference = same(backend, inputs, direction, result, np.flip(ask(backend, inputs, direction), 2 + axis))
    return difference and f"Boxes inverted on axis {axis} do not flip their crops: {difference}."


def mirrored_image(backend: Backend[Inputs], case: Case, direction: Direction) -> str | None:
    inputs, axis = case.inputs(), case.seed % 2
    boxes = inputs.boxes.copy()
    boxes[:, [axis, axis + 2]] = 1 - boxes[:, [axis, axis + 2]]
    # The edges keep their order, (1 - a1, 1 - a2), so the samples run backwards and the crops are equal.
    mirrored = replace(inputs, image=np.flip(inputs.image, 2 + axis).copy(), boxes=boxes)
    difference = same(backend, inputs, direction, ask(backend, mirrored, direction), ask(backend, inputs, direction))
    return difference and f"An image and boxes mirrored on axis {axis} give other crops: {difference}."


def shifted_image(backend: Backend[Inputs], case: Case, direction: Direction) -> str | None:
    inputs, down, right = case.inputs(), case.seed % 4, case.seed // 4 % 4
    n, c, height, width = inputs.image.shape
    # The next power of two that has room, so that the new edges are exact too.
    tall, wide = 2 * max(height - 1, 4) + 1, 2 * max(width - 1, 4) + 1
    image = np.zeros((n, c, tall, wide), np.float32)
    image[:, :, down : down + height, right : right + width] = inputs.image
    old, new = (np.array([y - 1, x - 1] * 2, np.float32) for y, x in ((height, width), (tall, wide)))
    shifted = replace(inputs, image=image, boxes=(inputs.boxes * old + np.array([down, right] * 2, np.float32)) / new)
    before, after = ask(backend, inputs, direction), ask(backend, shifted, direction)
    # Samples outside the small image may be inside the large one.
    inside = _inside(backend, inputs)
    difference = same(backend, inputs, direction, np.where(inside, after, before), before)
    return difference and f"Image and boxes shifted by {down} and {right} pixels give other crops: {difference}."


def _inside(backend: Backend[Inputs], inputs: Inputs) -> Array:
    """A mask of the crop values that are not the extrapolation value, found with an image of ones."""
    ones = ask(backend, replace(inputs, image=np.ones_like(inputs.image)), "forward")
    return np.asarray(ones == 1)


def constant_image(backend: Backend[Inputs], case: Case, direction: Direction) -> str | None:
    inputs, level = case.inputs(), (1.0, -7.25, 1e20)[case.seed % 3]
    constant = replace(inputs, image=np.full(inputs.image.shape, level, np.float32))
    crops = ask(backend, constant, direction)
    # A sum of four weighted pixels is rounded four times; the pinned order adds differences, and those are exactly 0.
    slack = 0.0 if direction in backend.sheet.pinned else abs(level) * 2.0**-21
    blank = np.float32(inputs.extrapolation_value)
    wrong = ~(np.isclose(crops, level, rtol=0, atol=slack) | (crops == blank))
    return f"An image of {level} gives {float(crops[wrong][0])!r}." if wrong.any() else None


def ramp_tells_positions(backend: Backend[Inputs], case: Case, direction: Direction) -> str | None:
    """Pixels that hold their own coordinate interpolate to the sample position: order A, restated in NumPy."""
    axis = case.seed % 2
    inputs = replace(case.inputs(), extrapolation_value=np.nan)
    shape, length, n = inputs.image.shape, inputs.image.shape[2 + axis], inputs.crop_size[axis]
    line = np.arange(length, dtype=np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
    crops = ask(backend, replace(inputs, image=np.broadcast_to(line, shape).copy()), direction)
    first, last, extent = inputs.boxes[:, axis], inputs.boxes[:, axis + 2], np.float32(length - 1)
    if n == 1:
        positions = (0.5 * (first + last).astype(np.float64) * (length - 1)).astype(np.float32)[:, None]
    else:
        step = (last - first) * extent / np.float32(n - 1)
        positions = (first * extent)[:, None] + np.arange(n, dtype=np.float32) * step[:, None]
    along = (slice(None), None, slice(None), None) if axis == 0 else (slice(None), None, None, slice(None))
    expected = np.broadcast_to(positions[along], crops.shape)
    inside, outside = ~np.isnan(crops), (expected < 0) | (expected > extent)
    wrong = (inside & (crops != expected)) | (inside & outside)
    if not wrong.any():
        return None
    return f"A sample on axis {axis} is at {float(crops[wrong][0])!r}; it must be at {float(expected[wrong][0])!r}."


def unread_pixels(backend: Backend[Inputs], case: Case, direction: Direction) -> str | None:
    """Unread pixels get no gradient, so the image gradient of ones finds the pixels that may be poisoned."""
    inputs = case.inputs()
    weights = ask(backend, replace(inputs, upstream=np.ones_like(inputs.upstream)), "grad_image")
    poisoned = np.where(weights == 0, np.float32(np.nan), inputs.image)
    result, expected = ask(backend, replace(inputs, image=poisoned), direction), ask(backend, inputs, direction)
    difference = same(backend, inputs, direction, result, expected, backend.sheet.layout_bits)
    return difference and f"A pixel that has no gradient is read all the same: {difference}."


def two_band_matrices(backend: Backend[Any], case: RoiCase, direction: Direction) -> str | None:
    """out = Wy F Wx', border rule included; the matrices are measured with maps of one row and of one column."""
    inputs = case.inputs()
    n, _, height, width = inputs.image.shape

    def matrix(along: int) -> Array:
        """(K, bins, length): the weights of each pixel on an axis, from unit maps that are constant along the other
        axis."""
        length = inputs.image.shape[2 + along]
        eye = np.eye(length).reshape((1, length, length, 1) if along == 0 else (1, length, 1, length))
        units = np.broadcast_to(eye, (n, length, height, width)).copy()
        return np.moveaxis(ask(backend, replace(inputs, image=units, upstream=np.zeros(0)), direction), 1, -1)

    whole = ask(backend, inputs, direction)
    rows, columns = matrix(0), matrix(1)  # (K, h, w, H) and (K, h, w, W), each times the mean of ones on the other axis
    ones = ask(backend, replace(inputs, image=np.ones_like(inputs.image[:, :1])), direction)[:, 0]
    for k, image in enumerate(inputs.boxes[:, 0].astype(int)):
        for i, j in np.ndindex(*inputs.output_size):
            expected = np.zeros(inputs.image.shape[1])
            if ones[k, i, j] != 0:
                # ones = wy * wx, rows = Wy * wx and columns = Wx * wy: their product is Wy Wx' times ones.
                expected = np.einsum("y,cyx,x->c", rows[k, i, j], inputs.image[image], columns[k, i, j]) / ones[k, i, j]
            if not np.allclose(whole[k, :, i, j], expected, rtol=0, atol=1e-13 * np.abs(inputs.image).max()):
                return f"Bin ({k}, {i}, {j}) is {whole[k, :, i, j]}; its rows and columns alone give {expected}."
    return None


def one_sample_is_both(backend: Backend[Any], case: RoiCase, direction: Direction) -> str | None:
    inputs = case.inputs()
    mean, largest = (ask(backend, replace(inputs, mode=mode), direction) for mode in SAMPLED)
    if np.allclose(mean, largest, rtol=0, atol=1e-12):
        return None
    return f"Of one sample a bin the mean and the maximum are {np.abs(mean - largest).max():.3g} apart."


_FORWARD: tuple[Direction, ...] = ("forward",)
_FLOAT32 = {
    "image_dtypes": ["float32"],
    "boxes_dtypes": ["float32"],
    "finite_boxes": True,
    "empty": (),
}
_FLOAT64 = {
    "image_dtypes": ["float64"],
    "boxes_dtypes": ["float64"],
    "finite_boxes": True,
    "empty": (),
    "values": ["normal"],
}
BESIDE_THE_MAP = ["interior", "tiny", "covering", "lower_band", "upper_band"]


def _float32(pinned: bool = False, **choices: Any) -> Callable[[Sheet], SearchStrategy[Any]]:
    def cases(sheet: Sheet) -> SearchStrategy[Any]:
        if pinned and "forward" not in sheet.pinned:
            raise UndeclaredError("positions in the pinned order are not declared")
        if pinned and sheet.border != "rule":
            raise UndeclaredError("an extrapolation value is not declared")
        return within(sheet, **_FLOAT32, **choices)

    return cases


def _float64(**choices: Any) -> Callable[[Sheet], SearchStrategy[Any]]:
    return lambda sheet: within(sheet, **{**_FLOAT64, **choices})


def _both_modes(sheet: Sheet) -> SearchStrategy[Any]:
    if not set(SAMPLED) <= set(sheet.modes):
        raise UndeclaredError("modes: one of them is not declared")
    return within(sheet, **{**_FLOAT64, "ratios": (1,), "box_families": ["interior", "tiny"]})


def _crop(
    name: str, says: str, compare: Any, cases: Callable[[Sheet], SearchStrategy[Any]], needs: tuple[Direction, ...] = ()
) -> Property:
    return Property(name, says, "crop_and_resize", _FORWARD, cases, relation(compare), needs)


PROPERTIES = (
    _crop("inverted box", "an inverted box flips its crop", inverted_box_flips, exact_cases),
    _crop("mirrored image", "a mirrored image with mirrored boxes gives the same crops", mirrored_image, exact_cases),
    _crop("shifted image", "a shifted image with shifted boxes gives the same crops", shifted_image, exact_cases),
    _crop("constant image", "a constant gives the constant or the extrapolation value", constant_image, _float32()),
    _crop(
        "ramp",
        "a ramp gives the position of each sample, in the pinned order to the last bit",
        ramp_tells_positions,
        _float32(pinned=True, methods=["bilinear"]),
    ),
    _crop(
        "unread pixels",
        "a pixel that no sample reads may hold anything",
        unread_pixels,
        _float32(pinned=True, values=["normal", "wide"]),
        needs=("grad_image",),
    ),
    Property(
        "two band matrices",
        "the mean is a matrix of rows times the map times a matrix of columns",
        "roi_align",
        _FORWARD,
        _float64(modes=["avg"], box_families=BESIDE_THE_MAP),
        relation(two_band_matrices),
    ),
    Property(
        "one sample",
        "of one sample a bin the maximum is the mean",
        "roi_align",
        DIRECTIONS,
        _both_modes,
        relation(one_sample_is_both),
    ),
)
