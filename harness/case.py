"""A Case is all that one call is given, small enough to print as one line.

A failing property is worth little when it cannot be had again. A Case therefore holds the geometry in full and the
pixel values only as a family and a seed: its repr, pasted back, makes the very same arrays on any machine. The arrays
are NumPy's, strides included, so that a layout is a fact of the input and not something each backend makes up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar, get_args

import ml_dtypes  # noqa: F401  NumPy knows no bfloat16 until this is imported
import numpy as np
from numpy.typing import NDArray

Direction = Literal["forward", "grad_image", "grad_boxes"]
Method = Literal["bilinear", "nearest"]
BoxRule = Literal["normalized", "bin_centres", "corners"]
Layout = Literal["contiguous", "channels_last", "offset", "expanded"]
Values = Literal["normal", "wide", "ramp", "dyadic", "negative_zero", "nan_pixel", "inf_pixel"]

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
METHODS: tuple[Method, ...] = get_args(Method)
BOX_RULES: tuple[BoxRule, ...] = get_args(BoxRule)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
VALUES: tuple[Values, ...] = get_args(Values)
# By name: NumPy does not count bfloat16 among its floating types.
SINGLE_AND_DOUBLE = ("float32", "float64")
HALVES = ("float16", "bfloat16")
FLOATS = SINGLE_AND_DOUBLE + HALVES

Box = tuple[float, float, float, float]
Kind = TypeVar("Kind")
Array = NDArray[Any]


def crops_dtype(image_dtype: str) -> str:
    """Float images give crops of their own dtype, integer images float32."""
    return image_dtype if image_dtype in FLOATS else "float32"


@dataclass(frozen=True)
class Inputs:
    """The arrays of one call, in NCHW index order whatever their strides are.

    image (N,C,H,W); boxes (M,4), normalised (y1,x1,y2,x2) under the box rule "normalized" and pixels (x1,y1,x2,y2)
    under the other two; box_indices (M,); upstream (M,C,crop height,crop width), the gradient that arrives from above.
    """

    image: Array
    boxes: Array
    box_indices: Array
    upstream: Array
    crop_size: tuple[int, int]
    method: Method = "bilinear"
    extrapolation_value: float = 0.0
    box_rule: BoxRule = "normalized"


def in_one_line(case: Any) -> str:
    """A dataclass as the expression that makes it; fields at their default are left out."""
    shown = [
        f"{field.name}={getattr(case, field.name)!r}"
        for field in fields(case)
        if getattr(case, field.name) != field.default
    ]
    return f"{type(case).__name__}({', '.join(shown)})"


def read_line(line: str, kind: type[Kind]) -> Kind:
    """What `in_one_line` wrote, a `kind`; ValueError if the line is anything else."""
    name = kind.__name__
    try:
        made = eval(line, {"__builtins__": {}}, {name: kind, "nan": math.nan, "inf": math.inf})
    except Exception as error:
        raise ValueError(f"{line!r} is not a case: {error}. Paste the whole line, from '{name}(' to ')'.") from error
    if not isinstance(made, kind):
        raise ValueError(f"{line!r} is not a case: it makes a {type(made).__name__}, no {name}.")
    return made


@dataclass(frozen=True)
class Case:
    """One call: geometry, dtypes, layout, and the values as a family and a seed.

    box_rule says how a box becomes sample positions: "normalized" is crop_and_resize, "bin_centres" is the seed's
    RoIAlign, "corners" is that class with transform_fpcoor=False (docs/operators.md, sample positions and classes).
    """

    shape: tuple[int, int, int, int]
    boxes: tuple[Box, ...]
    box_indices: tuple[int, ...]
    crop_size: tuple[int, int]
    method: Method = "bilinear"
    extrapolation_value: float = 0.0
    box_rule: BoxRule = "normalized"
    image_dtype: str = "float32"
    boxes_dtype: str = "float32"
    index_dtype: str = "int32"
    layout: Layout = "contiguous"
    values: Values = "normal"
    seed: int = 0

    def __repr__(self) -> str:
        """One line that `Case.parse` reads back; fields at their default are left out."""
        return in_one_line(self)

    @staticmethod
    def parse(line: str) -> Case:
        """The Case whose repr `line` is; ValueError if the line is anything else."""
        return read_line(line, Case)

    def inputs(self) -> Inputs:
        """The arrays of this case, the same on every machine and every day."""
        _, c, h, w = self.shape
        random = np.random.Generator(np.random.PCG64(self.seed))
        box_count = len(self.boxes)
        upstream_shape = (box_count, c, *self.crop_size)
        if self.layout == "expanded":
            image = laid_out(pixels(self.values, (1, c, h, w), self.image_dtype, random), "contiguous")
            image = np.lib.stride_tricks.as_strided(image, self.shape, (0, *image.strides[1:]))
        else:
            image = laid_out(pixels(self.values, self.shape, self.image_dtype, random), self.layout)
        upstream_dtype = crops_dtype(self.image_dtype)
        upstream = values_of(special_free(self.values), upstream_shape, upstream_dtype, random).astype(upstream_dtype)
        with np.errstate(over="ignore"):  # 1e40 is meant to become inf in float32: that is the case under test
            boxes = np.array(self.boxes, dtype=np.float64).reshape(box_count, 4).astype(self.boxes_dtype)
        return Inputs(
            image=image,
            boxes=boxes,
            box_indices=np.array(self.box_indices, dtype=self.index_dtype),
            upstream=laid_out(upstream, "channels_last" if self.layout == "channels_last" else "contiguous"),
            crop_size=self.crop_size,
            method=self.method,
            extrapolation_value=self.extrapolation_value,
            box_rule=self.box_rule,
        )


def special_free(family: Values) -> Values:
    """The family of the upstream gradient: a special pixel belongs to the image, and a leak of it can be seen only in
    a gradient that is finite itself."""
    return "normal" if family in ("nan_pixel", "inf_pixel", "negative_zero") else family


def pixels(family: Values, shape: tuple[int, ...], dtype: str, random: np.random.Generator) -> Array:
    """An image's pixels in its dtype; "normal" integers are drawn from all that their type holds, up to 2**53, which
    is as far as a float64 tells them apart."""
    if np.dtype(dtype).kind not in "iu":
        return values_of(family, shape, dtype, random).astype(dtype)
    least, most = max(np.iinfo(dtype).min, -(2**53)), min(np.iinfo(dtype).max, 2**53)
    if family == "normal":
        return random.integers(least, most, shape, dtype=dtype, endpoint=True)
    return values_of(family, shape, dtype, random).clip(least, most).astype(dtype)


def values_of(family: Values, shape: tuple[int, ...], dtype: str, random: np.random.Generator) -> Array:
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
        # An inner view of a larger array that is all NaN: whoever reads past a row or forgets the offset shows it.
        n, c, h, w = values.shape
        fill = np.nan if values.dtype.name in FLOATS else 0
        parent = np.full((n, c, h + 2, w + 3), fill, dtype=values.dtype)
        inner = parent[:, :, 1 : h + 1, 2 : w + 2]
        inner[...] = values
        return inner
    return np.ascontiguousarray(values)
