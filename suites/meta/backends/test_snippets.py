"""The arrays of snippets read back to the same bits, and a program has at most its maximum of lines."""

from __future__ import annotations

import ast

import numpy as np
import pytest

from harness.backends.peers.snippets import MOST_LINES, literal, program
from harness.operators.arrays import FLOATS, Array

RANDOM = np.random.default_rng(0)
ARRAYS: list[Array] = [
    *(RANDOM.standard_normal((2, 1, 3, 2)).astype(dtype) for dtype in ("float16", "float32", "float64")),
    np.array([0.1, -0.0, 1e-45, 3.4e38, np.nan, np.inf, -np.inf, 16777216.0], np.float32),
    np.array([[0.0, -0.0]]),
    np.array([[3, 0, 2**53]]),
    RANDOM.integers(0, 2**32, 5000, dtype=np.uint32).view(np.float32),
    np.array([1.0], np.float32),
    np.array([[0.0]], np.float32),
    np.zeros((0, 4), np.float32),
    np.zeros((1, 2, 3, 4), np.float32),
    np.ones((2, 2), np.int32),
    np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(3),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{list(array.shape)}")
def test_a_literal_makes_the_same_array(array: Array) -> None:
    value = eval(literal(array), {"np": np})
    assert (value.shape, value.dtype) == (array.shape, array.dtype)
    same = value == array
    if array.dtype.kind == "f":
        same = ((value == array) & (np.signbit(value) == np.signbit(array))) | (np.isnan(value) & np.isnan(array))
    assert same.all()


def test_literals_use_numpys_constructors() -> None:
    assert literal(np.zeros((1, 2), np.float32)) == "np.zeros((1, 2), np.float32)"
    assert literal(np.ones((3,), np.int64)) == "np.ones((3,), np.int64)"
    assert literal(np.arange(4, dtype=np.float32).reshape(1, 4)) == "np.arange(4, dtype=np.float32).reshape(1, 4)"
    assert literal(np.array([[0.5, 2]], np.float32)) == "np.array([0.5, 2], np.float32).reshape(1, 2)"


def test_a_type_that_numpy_lacks_raises_an_error() -> None:
    assert "bfloat16" in FLOATS
    with pytest.raises(ValueError, match="NumPy has no bfloat16; write the array as float32"):
        literal(np.zeros(3, "bfloat16"))


def test_a_program_has_at_most_ten_lines() -> None:
    lines = [f"x = {literal(RANDOM.standard_normal((1, 1, 8, 8)))}", "print(x[0, 0, 0, 0])"]
    text = program(*lines)
    assert len(text.splitlines()) == MOST_LINES
    assert sum(len(line) <= 110 for line in text.splitlines()) >= MOST_LINES - 1
    assert ast.dump(ast.parse(text)) == ast.dump(ast.parse("\n".join(lines)))
    assert program("x = 1", "print(x)") == "x = 1\nprint(x)\n"
    with pytest.raises(ValueError, match="A snippet of 11 lines"):
        program(*["pass"] * 11)
