"""What the inputs of both operators are made of: dtypes, layouts, families of values, and the line that makes a case.

The arrays are NumPy's, strides included, so that a layout is a fact of the input and not something each backend makes
up. Values come from a family and a seed, so that a case prints as one line and is the same on any machine.
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
    """A dataclass as the expression that makes it; fields at their default are left out."""
    arguments = [
        f"{field.name}={getattr(case, field.name)!r}"
        for field in fields(case)
        if getattr(case, field.name) != field.default
    ]
    return f"{type(case).__name__}({', '.join(arguments)})"


def read_line(line: str, kind: type[Kind]) -> Kind:
    """What `in_one_line` wrote, a `kind`; ValueError if the line is anything else."""
    name = kind.__name__
    try:
        case = eval(line, {"__builtins__": {}}, {name: kind, "nan": math.nan, "inf": math.inf})
    except Exception as error:
        raise ValueError(f"{line!r} is not a case: {error}. Paste the whole line, from '{name}(' to ')'.") from error
    if not isinstance(case, kind):
        raise ValueError(f"{line!r} is not a case: it makes a {type(case).__name__}, no {name}.")
    return case


def image_of(family: Values, shape: tuple[int, int, int, int], dtype: str, layout: Layout, random: Random) -> Array:
    """An image (N,C,H,W) of a family of values in a layout; "expanded" repeats one image N times without a copy."""
    if layout != "expanded":
        return laid_out(pixels(family, shape, dtype, random), layout)
    image = laid_out(pixels(family, (1, *shape[1:]), dtype, random), "contiguous")
    return np.lib.stride_tricks.as_strided(image, shape, (0, *image.strides[1:]))


def upstream_of(family: Values, shape: tuple[int, ...], image_dtype: str, layout: Layout, random: Random) -> Array:
    """The gradient that arrives at crops of an image of this dtype, as dense as the image is."""
    dtype = crops_dtype(image_dtype)
    upstream = values_of(special_free(family), shape, dtype, random).astype(dtype)
    return laid_out(upstream, "channels_last" if layout == "channels_last" else "contiguous")


def boxes_of(rows: tuple[tuple[float, ...], ...], columns: int, dtype: str) -> Array:
    """Boxes (M, columns) in their dtype; what overflows it becomes infinite, as 1e40 in float32 is meant to."""
    with np.errstate(over="ignore"):
        return np.array(rows, dtype=np.float64).reshape(len(rows), columns).astype(dtype)


def special_free(family: Values) -> Values:
    """The family of the upstream gradient: a special pixel belongs to the image, and a leak of it can be seen only in
    a gradient that is finite itself."""
    return "normal" if family in ("nan_pixel", "inf_pixel", "negative_zero") else family


def pixels(family: Values, shape: tuple[int, ...], dtype: str, random: Random) -> Array:
    """An image's pixels in its dtype; "normal" integers are drawn from all that their type holds, up to 2**53, which
    is as far as a float64 tells them apart."""
    if np.dtype(dtype).kind not in "iu":
        return values_of(family, shape, dtype, random).astype(dtype)
    least, most = max(np.iinfo(dtype).min, -(2**53)), min(np.iinfo(dtype).max, 2**53)
    if family == "normal":
        return random.integers(least, most, shape, dtype=dtype, endpoint=True)
    return values_of(family, shape, dtype, random).clip(least, most).astype(dtype)


def values_of(family: Values, shape: tuple[int, ...], dtype: str, random: Random) -> Array:
    """float64 values of a family that fit `dtype`; every one is exact in float32, so that float32 and float64 see the
    same. A half type rounds them, and what it holds is the image."""
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
        # An inner view of a larger array that is all NaN: a read past a row, or without the offset, shows.
        n, c, h, w = values.shape
        fill = np.nan if values.dtype.name in FLOATS else 0
        parent = np.full((n, c, h + 2, w + 3), fill, dtype=values.dtype)
        inner = parent[:, :, 1 : h + 1, 2 : w + 2]
        inner[...] = values
        return inner
    return np.ascontiguousarray(values)


def strided(values: Array, strides: Strides) -> Array:
    """The same values under other strides, NaN (or a number that no index is) around and between them.

    "strided" leaves a gap after every element of the last axis and of the first; "offset" is dense, and not where its
    memory begins; "expanded" is the first value, or row of values, over and over, and all of one value from rank 4 on.
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
    """How an image lies in memory, whatever made it so; a dense one that is both is contiguous."""
    if image.flags.c_contiguous:
        return "contiguous"
    if 0 in image.strides:
        return "expanded"
    return "channels_last" if image.transpose(0, 2, 3, 1).flags.c_contiguous else "offset"


def channels_innermost(array: Array) -> bool:
    """Whether channels lie next to each other: the rule by which results keep a layout (impl/csrc/common/view.h)."""
    return array.shape[1] > 1 and array.strides[1] == array.itemsize and max(array.shape[2:]) > 1


def differing(got: Array, expected: Array) -> Array:
    """Where two arrays of one shape and dtype differ in a bit; any NaN equals any other: no payload is promised."""
    bits = f"i{got.dtype.itemsize}"
    unequal: Array = np.ascontiguousarray(got).view(bits) != np.ascontiguousarray(expected).view(bits)
    return unequal & ~(np.isnan(got) & np.isnan(expected))
