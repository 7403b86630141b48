"""Compares the oracle's own rounding with NumPy's and ml_dtypes', and tests its inverse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.operators.arrays import FLOATS, HALVES
from harness.operators.rounding import FORMATS, SMALLEST, UNIT, cell, rounder


def numbers(dtype: str) -> list[float]:
    """All numbers of a half type, infinities included; for float32 a random selection."""
    random = np.random.default_rng(0)
    bits = np.arange(2**16, dtype=np.uint16) if dtype in HALVES else random.integers(0, 2**32, 5000, dtype=np.uint32)
    with np.errstate(invalid="ignore"):  # signalling NaNs raise a warning
        values = np.unique(bits.view(dtype).astype(np.float64))
    return [float(number) for number in values[~np.isnan(values)]]


def test_every_floating_type_has_a_format() -> None:
    assert set(FORMATS) == set(FLOATS)
    for dtype in ("float16", "float32", "float64"):
        about = np.finfo(dtype)
        assert (UNIT[dtype], SMALLEST[dtype]) == (about.eps / 2, about.smallest_subnormal)
    with pytest.raises(ValueError, match="There is no rounding to int32"):
        rounder("int32")


@pytest.mark.parametrize("dtype", HALVES)
def test_rounding_is_to_nearest_even(dtype: str) -> None:
    """On every number of the type, every tie between two, and its neighbours in float32."""
    every = np.array(numbers(dtype), dtype=np.float32)
    finite = every[np.isfinite(every)]
    ties = finite[:-1] + (finite[1:] - finite[:-1]) / 2
    beside = [np.nextafter(ties, np.float32(sign)) for sign in (-np.inf, np.inf)]
    top = np.float32([65519.996, 65520, 3.3961775e38, 3.3961776e38, 3.4e38, np.nan])
    values = np.concatenate([every, ties, *beside, top, -top, np.float32([-0.0])])[::3]
    with np.errstate(over="ignore"):
        expected = values.astype(dtype).astype(np.float64)
    to = rounder(dtype)
    for value, nearest in zip(values.tolist(), expected.tolist(), strict=True):
        result = to(value)
        assert result == nearest or (math.isnan(result) and math.isnan(nearest)), value
        assert math.copysign(1, result) == math.copysign(1, nearest), value


def test_a_double_is_rounded_once() -> None:
    """Rounded to float32 first, this value would be a tie and round down to even."""
    value = 1 + 2.0**-8 + 2.0**-40
    assert rounder("bfloat16")(value) == 1 + 2.0**-7
    assert float(np.float32(value).astype("bfloat16")) == 1
    assert rounder("float16")(1 + 2.0**-11 + 2.0**-40) == 1 + 2.0**-10


@pytest.mark.parametrize("dtype", [*HALVES, "float32"])
def test_a_cell_has_all_values_that_round_to_its_number(dtype: str) -> None:
    to = rounder(dtype)
    for number in [*numbers(dtype)[::2], 0.0, -math.inf, math.inf]:
        low, high = cell(number, dtype)
        assert low <= number <= high
        for end, inwards in ((low, math.inf), (high, -math.inf)):
            if math.isfinite(end):
                assert to(math.nextafter(end, inwards)) == number
                assert to(math.nextafter(end, -inwards)) != number
    assert all(map(math.isnan, cell(math.nan, dtype)))
