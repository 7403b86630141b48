"""The floating types, and one rounding to each of them, in plain Python.

The oracle uses no array library, so it shares nothing with the code under test. One operation in double followed by one
rounding to single *is* the single operation for +, -, * and / (53 >= 2 * 24 + 2, subnormal results included), so two
lines of ctypes are a float32 unit. The half types need only that one rounding and its inverse: the range of numbers
that round to a given one.
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
# For each format, half the distance from 1 to the next number, and the smallest positive number.
UNIT = {name: 2.0**-form.digits for name, form in FORMATS.items()}
SMALLEST = {name: 2.0 ** (form.lowest - form.digits) for name, form in FORMATS.items()}
# Below this, no intermediate result of an interpolation or position can overflow.
LARGE = {"float32": 2.0**120, "float64": 2.0**1016}


def single(value: float) -> float:
    """`value` rounded once to float32, to nearest even; overflow gives an infinity."""
    return ctypes.c_float(value).value


def rounder(dtype: str) -> Callable[[float], float]:
    """The function that rounds to `dtype`, to nearest even; ValueError if it is not a floating type."""
    if dtype == "float32":
        return single
    if dtype == "float64":
        return float
    if dtype in FORMATS:
        return functools.partial(_rounded, FORMATS[dtype])
    raise ValueError(f"There is no rounding to {dtype}; there is one to {', '.join(FORMATS)}.")


def _rounded(form: Format, value: float) -> float:
    """Rounds `value` to a multiple of the spacing around it; the quotient is exact in double."""
    if not math.isfinite(value):
        return value
    step = 2.0 ** (max(math.frexp(value)[1], form.lowest) - form.digits)
    nearest = abs(round(value / step)) * step  # Python's round takes halves to even
    return math.copysign(nearest if nearest < 2.0**form.highest else math.inf, value)


def cell(value: float, dtype: str) -> tuple[float, float]:
    """The smallest and the largest number that rounds to `value`, which is exact in `dtype`, narrower than float64.

    Ties round to even numbers only; here every cell includes both ends, which is at most two points too many.
    """
    form = FORMATS[dtype]
    if math.isnan(value):
        return value, value
    # An infinity is the number after the largest finite one.
    size = min(abs(value), 2.0**form.highest)
    mantissa, exponent = math.frexp(max(size, SMALLEST[dtype]))
    half_step = 2.0 ** (max(exponent, form.lowest) - form.digits - 1)
    # Below a power of two numbers lie twice as close, except below the smallest normal number.
    closer = mantissa == 0.5 and exponent > form.lowest
    ends = size - (half_step / 2 if closer else half_step), math.inf if math.isinf(value) else size + half_step
    return ends if value > 0 else (-ends[1], -ends[0])
