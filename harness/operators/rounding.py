"""The floating types, and one rounding to each of them, in plain Python.

The oracle has no array library, so that it has nothing in common with the code under test. One operation in double
followed by one rounding to single *is* the single operation for +, -, * and / (53 >= 2 * 24 + 2, subnormal results
included), so two lines of ctypes are a float32 unit. Of the half types nothing is needed but that one rounding, and
its inverse: which numbers it takes to a given one.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A binary floating type: its numbers are multiples of 2**-digits of the power of two above them.

    lowest, highest  the powers of two above its smallest normal number and above its largest number.
    """

    digits: int
    lowest: int
    highest: int


FORMATS = {
    "float16": Format(11, -13, 16),
    "bfloat16": Format(8, -125, 128),
    "float32": Format(24, -125, 128),
    "float64": Format(53, -1021, 1024),
}
# Half the distance from 1 to the next number, and the smallest positive number, of each of them.
UNIT = {name: 2.0**-form.digits for name, form in FORMATS.items()}
SMALLEST = {name: 2.0 ** (form.lowest - form.digits) for name, form in FORMATS.items()}
# Below this no intermediate result of an interpolation or of a position can overflow.
LARGE = {"float32": 2.0**120, "float64": 2.0**1016}


def single(value: float) -> float:
    """`value` rounded once to float32, to nearest even; too large becomes an infinity."""
    return ctypes.c_float(value).value


def rounder(dtype: str) -> Callable[[float], float]:
    """The rounding of one result to `dtype`, to nearest even; ValueError for what is no floating type."""
    if dtype == "float32":
        return single
    if dtype == "float64":
        return float
    if dtype in FORMATS:
        return functools.partial(_rounded, FORMATS[dtype])
    raise ValueError(f"There is no rounding to {dtype}; there is one to {', '.join(FORMATS)}.")


def _rounded(form: Format, value: float) -> float:
    """`value` as a multiple of the distance between the numbers around it, which a double counts exactly."""
    if not math.isfinite(value):
        return value
    step = 2.0 ** (max(math.frexp(value)[1], form.lowest) - form.digits)
    nearest = abs(round(value / step)) * step  # Python's round takes halves to even
    return math.copysign(nearest if nearest < 2.0**form.highest else math.inf, value)


def cell(value: float, dtype: str) -> tuple[float, float]:
    """The least and the largest number that is rounded to `value`, itself a number of a type narrower than float64.

    The even ones get both ends and the odd ones neither: here both are given to each, which is a point too much.
    """
    form = FORMATS[dtype]
    if math.isnan(value):
        return value, value
    # An infinity is what is rounded to the number after the largest.
    size = min(abs(value), 2.0**form.highest)
    mantissa, exponent = math.frexp(max(size, SMALLEST[dtype]))
    half_step = 2.0 ** (max(exponent, form.lowest) - form.digits - 1)
    # Below a power of two the numbers lie twice as close, but for the smallest normal one.
    closer = mantissa == 0.5 and exponent > form.lowest
    ends = size - (half_step / 2 if closer else half_step), math.inf if math.isinf(value) else size + half_step
    return ends if value > 0 else (-ends[1], -ends[0])
