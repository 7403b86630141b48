"""The emulator's results of each PTX instruction, compared with NumPy and Python's integers."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from harness.kernels import compiling
from harness.kernels.ptx.arithmetic import fma_function
from suites.meta.kernels.ptx_launches import COUNT, elements
from suites.missing import skip_if_missing

with skip_if_missing():
    compiling.compiler()
    compiling.nvcc()

# Ties between two halves and two bfloat16s; the even one is below or above.
TIES = (1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-8, 1 + 3 * 2**-8)
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-45, 65519.0, 65520.0, 6e-8, 2.5, -3.5, 3e9, -3e9, 1e19, 1e300)
RANDOM = np.random.Generator(np.random.PCG64(0))


def draw(dtype: str, position: int = 0) -> np.ndarray:
    """Random bits, ordinary numbers, and special values, in all combinations."""
    kind = np.dtype(dtype)
    values = RANDOM.integers(0, 256, COUNT * kind.itemsize, dtype=np.uint8).view(kind).copy()
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            pairs = np.array([(x, y) for x in SPECIAL for y in SPECIAL]).astype(kind)
            ties = np.array(TIES).astype(kind)
        values[: len(pairs)] = pairs[:, position % 2]
        values[len(pairs) : len(pairs) + len(ties)] = ties
        usual = COUNT - 512
        values[512:] = RANDOM.standard_normal(usual) * 10.0 ** RANDOM.integers(-6, 7, usual)
    else:
        values[256:512] %= 100
        values[:4] = (0, 1, np.iinfo(kind).max, np.iinfo(kind).min)
    return values


def lane_neighbours(x):
    return np.roll(x.reshape(-1, 32), -1, axis=1).ravel()


def collatz(x):
    steps = np.zeros(len(x), np.uint32)
    value = x.astype(np.int64) % 1000 + 1
    while (value != 1).any():
        going = value != 1
        value = np.where(going, np.where(value % 2, 3 * value + 1, value // 2), value)
        steps += going
    return lane_neighbours(steps)


def to_integer(x, rounds, dtype, of_nan):
    """PTX's conversion: rounded and saturated."""
    limits = np.iinfo(dtype)
    return np.array(
        [of_nan if np.isnan(v) else int(min(max(rounds(v), limits.min), limits.max)) if np.isfinite(v)
         else (limits.max if v > 0 else limits.min) for v in x.astype(float)], dtype)  # fmt: skip


def python_int(function, dtype):
    """A function of Python's integers, vectorised."""
    bits = 8 * np.dtype(dtype).itemsize
    unsigned = f"u{np.dtype(dtype).itemsize}"
    return lambda *arrays: np.array(
        [function(*each) % 2**bits for each in zip(*(a.tolist() for a in arrays), strict=True)], unsigned
    ).view(dtype)


def truncated(a, b):
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def half_bits(dtype):
    """The bits of the half nearest to a float; every NaN is PTX's canonical one."""
    return lambda x: np.where(np.isnan(x), 0x7FFF, x.astype(dtype).view(np.uint16)).astype(np.uint16)


def bytes_of(x, y, selector):
    eight = x.to_bytes(4, "little") + y.to_bytes(4, "little")
    return int.from_bytes([eight[selector >> 4 * i & 7] for i in range(4)], "little")


def signed_field(x, at, count):
    field = (x % 2**32) >> at & ((1 << count) - 1)
    sign = (x % 2**32) >> min(at + count - 1, 31) & 1 if count else 0
    return field - (sign << min(count, 32 - at)) if count else 0


def extreme(pick, zeros):
    """C's fmin and fmax, with -0 below +0."""
    return lambda x, y: np.where((x == 0) & (y == 0), zeros(np.copysign(1, x), np.copysign(1, y)) * 0.0, pick(x, y))


I32, I64, U32, U64, F32, F64, U16 = "int32", "int64", "uint32", "uint64", "float32", "float64", "uint16"
MEANINGS = {
    "fused32": (F32, (F32, F32, F32), lambda x, y, z: fma_function("f32")(x, y, z)),
    "fused64": (F64, (F64, F64, F64), lambda x, y, z: fma_function("f64")(x, y, z)),
    "apart32": (F32, (F32, F32, F32), lambda x, y, z: x * y + z),
    "divided32": (F32, (F32, F32), np.divide),
    "divided64": (F64, (F64, F64), np.divide),
    "root32": (F32, (F32,), np.sqrt),
    "least32": (F32, (F32, F32), extreme(np.fmin, np.minimum)),
    "most64": (F64, (F64, F64), extreme(np.fmax, np.maximum)),
    "least_or_nan": (F32, (F32, F32), extreme(np.minimum, np.minimum)),
    "ordered": (U32, (F32, F32), lambda x, y: sum(
        np.asarray(each, np.uint32) << bit for bit, each in enumerate(
            (x < y, x <= y, x == y, x != y, ~(x < y), ~(x >= y), np.isnan(x) | np.isnan(y))))),
    "joined": (U32, (F32, F32, F32), lambda x, y, z: (
        (~(x >= y) & (y > 0)) * 1 + np.where((x >= y) & (y > 0), 2, 4) + 8 * np.isnan(z)).astype(np.uint32)),
    "to_half": (U16, (F32,), half_bits(np.float16)),
    "to_bfloat16": (U16, (F32,), half_bits(ml_dtypes.bfloat16)),
    "of_half": (F32, (U16,), lambda x: x.view(np.float16).astype(np.float32)),
    "of_bfloat16": (F32, (U16,), lambda x: x.view(ml_dtypes.bfloat16).astype(np.float32)),
    "two_halves": (U32, (F32, F32), lambda x, y: (
        half_bits(np.float16)(x).astype(np.uint32) | half_bits(np.float16)(y).astype(np.uint32) << 16)),
    "narrowed": (F32, (F64,), lambda x: x.astype(np.float32)),
    "truncated": (I32, (F32,), lambda x: to_integer(x, np.trunc, I32, 0)),
    "nearest": (I64, (F64,), lambda x: to_integer(x, np.rint, I64, -(2**63))),
    "floored": (I64, (F32,), lambda x: to_integer(x, np.floor, I64, -(2**63))),
    "unsigned_up": (U32, (F64,), lambda x: to_integer(x, np.ceil, U32, 2**31)),
    "of_long": (F32, (I64,), lambda x: x.astype(np.float32)),
    "of_unsigned_long": (F64, (U64,), lambda x: x.astype(np.float64)),
    "floor64": (F64, (F64,), np.floor),
    "sums": (I32, (I32, I32), lambda x, y: x + 3 * y),
    "quotients": (I32, (I32, I32), python_int(truncated, I32)),
    "long_quotients": (I64, (I64, I64), python_int(truncated, I64)),
    "remainders": (I64, (I64, I64), python_int(lambda a, b: a - truncated(a, b) * b, I64)),
    "unsigned_quotients": (U64, (U64, U64), python_int(lambda a, b: a // b + a % b, U64)),
    "upper_half": (I32, (I32, I32), python_int(lambda a, b: a * b >> 32, I32)),
    "upper_long": (U64, (U64, U64), python_int(lambda a, b: a * b >> 64, U64)),
    "wide": (I64, (I32, I32), lambda x, y: x.astype(np.int64) * y),
    "left": (U32, (U32, U32), python_int(lambda a, b: a << (b & 63), U32)),
    "right": (I64, (I64, U32), python_int(lambda a, b: a >> (b & 63), I64)),
    "funnel": (U32, (U32, U32), python_int(lambda a, b: (b << 32 | a) >> (b & 31), U32)),
    "permuted": (U32, (U32, U32), python_int(lambda a, b: bytes_of(a, b, a >> 16), U32)),
    "counted": (I32, (U32,), python_int(
        lambda a: a.bit_count() + 64 * (32 - a.bit_length()) + 4096 * (a & -a).bit_length(), I32)),
    "reversed_bits": (U32, (U32,), python_int(lambda a: int(f"{a:032b}"[::-1], 2), U32)),
    "highest_bit": (I32, (I32,), python_int(lambda a: (a if a >= 0 else ~a).bit_length() - 1, I32)),
    "fields": (U32, (U32, U32), python_int(lambda a, b: a >> (b & 31) & ((1 << (b >> 8 & 31)) - 1), U32)),
    "signed_fields": (I32, (I32, U32), python_int(lambda a, b: signed_field(a, b & 31, b >> 8 & 31), I32)),
    "inserted_fields": (U32, (U32, U32), python_int(
        lambda a, b: b & ~(127 << (b >> 8 & 31)) | (a & 127) << (b >> 8 & 31), U32)),
    "logical": (U32, (U32, U32, U32), lambda x, y, z: (x & y) | (~x & z)),
    "reduced": (U32, (U32,), lambda x: np.repeat(np.ptp(x.reshape(-1, 32), axis=1), 32)),
    "own_ways": (U32, (U32,), collatz),
}  # fmt: skip


@pytest.mark.parametrize("name", MEANINGS)
def test_an_instruction_computes_what_numpy_does(name):
    result, kinds, meaning = MEANINGS[name]
    arrays = [draw(kind, position) for position, kind in enumerate(kinds)]
    if name in ("quotients", "long_quotients", "remainders", "unsigned_quotients"):
        arrays[1][arrays[1] == 0] = 7
    with np.errstate(all="ignore"):
        expected = meaning(*arrays)
    out = elements(name, np.zeros(COUNT, result), *arrays)
    assert expected.dtype == result
    np.testing.assert_array_equal(out, expected)
    if out.dtype.kind == "f":  # including the sign of a zero
        assert not (np.signbit(out) ^ np.signbit(expected))[~np.isnan(expected)].any()


def test_contraction_changes_bits():
    """For these arrays x*y+z has other bits when rounded once."""
    arrays = [draw(F32, position) for position in range(3)]
    with np.errstate(all="ignore"):
        apart = arrays[0] * arrays[1] + arrays[2]
    together = elements("fused32", np.zeros(COUNT, F32), *arrays)
    assert (apart != together)[~np.isnan(apart)].any()


def test_global_sums_of_float32_flush_subnormals():
    values = np.array([1e-40, 1.5e-38, 1.0] + [0.0] * 29, np.float32)
    start = np.array([1e-40, -1e-38, 1e-40] + [1e-40] * 29, np.float32)
    out = elements("subnormal_sums", start.copy(), values, blocks=1, threads=32)
    np.testing.assert_array_equal(out[:3], np.array([0, 1.5e-38, 1], np.float32))
    assert not out[3:].any()


def test_shared_arrays_may_have_a_fixed_size():
    values = np.arange(32, dtype=np.int32)
    out = elements("fixed_shared", np.zeros(32, np.int32), values, blocks=1, threads=32)
    np.testing.assert_array_equal(out, values[::-1])
