"""Building blocks of both operators' inputs: dtypes, layouts, families of values, and the one-line form of a case.

The arrays are NumPy's, strides included, so a layout belongs to the input instead of being chosen by each backend.
Values come from a family and a seed, so that a case prints as one line and is the same on any machine.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any, Literal, TypeVar, get_args

import ml_dtypes  # noqa: F401  NumPy knows no bfloat16 until this is imported
import numpy as np
from numpy.typing import NDArray

Direction = Literal["forward", "grad_image", "grad_boxes"]
Layout = Literal["contiguous", "channels_last", "offset", "expanded"]
Strides = Literal["contiguous", "strided", "offset", "expanded"]
Values = Literal["normal", "wide", "ramp", "dyadic", "negative_zero", "nan_pixel", "inf_pixel"]

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
STRIDES: tuple[Strides, ...] = get_args(Strides)
VALUES: tuple[Values, ...] = get_args(Values)
# By name: NumPy does not count bfloat16 among its floating types.
SINGLE_AND_DOUBLE = ("float32", "float64")
HALVES = ("float16", "bfloat16")
FLOATS = SINGLE_AND_DOUBLE + HALVES

Kind = TypeVar("Kind")
Array = NDArray[Any]
Random = np.random.Generator
Box = tuple[float, float, float, float]


def crops_dtype(image_dtype: str) -> str:
    """Float images give crops of their own dtype, integer images float32."""
    return image_dtype if image_dtype in FLOATS else "float32"


def in_one_line(case: Any) -> str:
    """The expression that constructs a dataclass; fields at their default are omitted."""
    arguments = [
        f"{field.name}={getattr(case, field.name)!r}"
        for field in fields(case)
        if getattr(case, field.name) != field.default
    ]
    return f"{type(case).__name__}({', '.join(arguments)})"


def read_line(line: str, kind: type[Kind]) -> Kind:
    """Parses the output of `in_one_line` into a `kind`; ValueError for any other line."""
    name = kind.__name__
    try:
        case = eval(line, {"__builtins__": {}}, {name: kind, "nan": math.nan, "inf": math.inf})
    except Exception as error:
        raise ValueError(f"{line!r} is not a case: {error}. Paste the whole line, from '{name}(' to ')'.") from error
    if not isinstance(case, kind):
        raise ValueError(f"{line!r} is not a case: it makes a {type(case).__name__}, not a {name}.")
    return case


def image_of(family: Values, shape: tuple[int, int, int, int], dtype: str, layout: Layout, random: Random) -> Array:
    """An image (N,C,H,W) of a family of values in a layout; "expanded" repeats one image N times without a copy."""
    if layout != "expanded":
        return laid_out(pixels(family, shape, dtype, random), layout)
    image = laid_out(pixels(family, (1, *shape[1:]), dtype, random), "contiguous")
    return np.lib.stride_tricks.as_strided(image, shape, (0, *image.strides[1:]))


def upstream_of(family: Values, shape: tuple[int, ...], image_dtype: str, layout: Layout, random: Random) -> Array:
    """The upstream gradient of crops of an image with this dtype, channels_last where the image is."""
    dtype = crops_dtype(image_dtype)
    upstream = values_of(special_free(family), shape, dtype, random).astype(dtype)
    return laid_out(upstream, "channels_last" if layout == "channels_last" else "contiguous")


def boxes_of(rows: tuple[tuple[float, ...], ...], columns: int, dtype: str) -> Array:
    """Boxes (M, columns) in their dtype; overflow becomes infinity, deliberately: 1e40 in float32."""
    with np.errstate(over="ignore"):
        return np.array(rows, dtype=np.float64).reshape(len(rows), columns).astype(dtype)


def special_free(family: Values) -> Values:
    """The family for the upstream gradient. Special values stay in the image: they are visible in a gradient only if
    the upstream gradient itself is finite."""
    return "normal" if family in ("nan_pixel", "inf_pixel", "negative_zero") else family


def pixels(family: Values, shape: tuple[int, ...], dtype: str, random: Random) -> Array:
    """An image's pixels in its dtype; "normal" integers cover the whole range of their type up to 2**53, the limit of
    exact integers in float64."""
    if np.dtype(dtype).kind not in "iu":
        return values_of(family, shape, dtype, random).astype(dtype)
    least, most = max(np.iinfo(dtype).min, -(2**53)), min(np.iinfo(dtype).max, 2**53)
    if family == "normal":
        return random.integers(least, most, shape, dtype=dtype, endpoint=True)
    return values_of(family, shape, dtype, random).clip(least, most).astype(dtype)


def values_of(family: Values, shape: tuple[int, ...], dtype: str, random: Random) -> Array:
    """float64 values of a family that fit `dtype`; each is exact in float32, so float32 and float64 images are equal.
    For a half type the rounded values are the image."""
    if family == "negative_zero":
        return np.full(shape, -0.0)
    if family == "ramp":
        return np.asarray(np.einsum("a,a...->...", [7.0, 5.0, 3.0, -2.0], np.indices(shape, dtype=np.float64)))
    if family == "dyadic":
        return random.integers(-64, 65, shape).astype(np.float64) / 8
    normal = random.standard_normal(shape)
    if family == "wide":
        # In float16 from its subnormal numbers to its largest, of which a few are many enough that their sums overflow.
        narrow = dtype == "float16"
        normal *= 10.0 ** random.uniform(*((-8, 6) if narrow else (-12, 12)), shape)
        if narrow:
            normal = normal.clip(-65504, 65504)
    values = normal.astype(np.float32).astype(np.float64)
    if family in ("nan_pixel", "inf_pixel") and values.size:
        values.flat[int(random.integers(values.size))] = np.nan if family == "nan_pixel" else np.inf
    return values


def laid_out(values: Array, layout: Layout) -> Array:
    """The same values under other strides."""
    if layout == "channels_last":
        channels_last: Array = np.ascontiguousarray(values.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
        return channels_last
    if layout == "offset":
        # An inner view of a larger array of NaN: a read past a row, or one that ignores the offset, becomes visible.
        n, c, h, w = values.shape
        fill = np.nan if values.dtype.name in FLOATS else 0
        parent = np.full((n, c, h + 2, w + 3), fill, dtype=values.dtype)
        inner = parent[:, :, 1 : h + 1, 2 : w + 2]
        inner[...] = values
        return inner
    return np.ascontiguousarray(values)


def strided(values: Array, strides: Strides) -> Array:
    """The same values under other strides, with NaN (or an invalid index) around and between them.

    "strided" leaves a gap after every element of the first and last axes; "offset" is dense but does not start where
    its memory starts; "expanded" repeats the first value or row, and from rank 4 on a single value.
    """
    if strides == "contiguous":
        return values
    fill = np.nan if values.dtype.name in FLOATS else -7
    if strides == "expanded":
        first = values[(slice(1),) * (values.ndim if values.ndim > 2 else 1)]
        steps = [0 if size <= 1 else step for size, step in zip(first.shape, first.strides, strict=True)]
        return np.lib.stride_tricks.as_strided(first, values.shape, steps) if values.size else values
    if strides == "offset":
        inner = np.full((3 + len(values), *values.shape[1:]), fill, dtype=values.dtype)[2 : len(values) + 2]
    else:
        every = [2 if axis in (0, values.ndim - 1) else 1 for axis in range(values.ndim)]
        sizes = [size * step for size, step in zip(values.shape, every, strict=True)]
        inner = np.full(sizes, fill, dtype=values.dtype)[tuple(slice(None, None, step) for step in every)]
    inner[...] = values
    return inner


def layout_of(image: Array) -> Layout:
    """The layout of an image, derived from its strides; "contiguous" if several layouts fit."""
    if image.flags.c_contiguous:
        return "contiguous"
    if 0 in image.strides:
        return "expanded"
    return "channels_last" if image.transpose(0, 2, 3, 1).flags.c_contiguous else "offset"


def channels_innermost(array: Array) -> bool:
    """Whether channels lie next to each other: the rule by which results keep a layout (impl/csrc/common/view.h)."""
    return array.shape[1] > 1 and array.strides[1] == array.itemsize and max(array.shape[2:]) > 1


def differing(result: Array, expected: Array) -> Array:
    """Where two arrays of one shape and dtype differ in a bit; any NaN equals any other: no payload is promised."""
    bits = f"i{result.dtype.itemsize}"
    unequal: Array = np.ascontiguousarray(result).view(bits) != np.ascontiguousarray(expected).view(bits)
    return unequal & ~(np.isnan(result) & np.isnan(expected))
