"""Helpers for the libraries' snippets: arrays as NumPy expressions, and programs of at most ten lines.

A snippet goes into an issue of the library, so it contains the arrays themselves: numbers in the shortest form with the
same bits, and zeros, ones and ranges as calls of the function that makes them.
"""

from __future__ import annotations

import numpy as np

from harness.operators.arrays import Array

MOST_LINES = 10
# Lines are broken before this column while the program stays within its number of lines.
_WIDTH = 110


def literal(array: Array) -> str:
    """An expression of `np` that makes the same shape, dtype and bits, such as "np.zeros((1, 1, 2, 2), np.float32)".

    ValueError for a dtype that NumPy itself does not have, such as bfloat16.
    """
    kind = array.dtype.name
    if not hasattr(np, kind):
        raise ValueError(f"NumPy has no {kind}; write the array as float32 and let the snippet convert it.")
    for name, value in (("zeros", 0), ("ones", 1)):
        if array.tobytes() == np.full(array.shape, value, array.dtype).tobytes():
            return f"np.{name}({array.shape}, np.{kind})"
    flat = array.ravel()
    if array.size > 1 and flat.tobytes() == np.arange(array.size).astype(array.dtype).tobytes():
        expression = f"np.arange({array.size}, dtype=np.{kind})"
    else:
        expression = f"np.array([{', '.join(map(number, flat))}], np.{kind})"
    return expression if array.ndim == 1 else f"{expression}.reshape({', '.join(map(str, array.shape))})"


def number(value: np.generic | float) -> str:
    """The shortest Python literal with the same bits; NaN and infinity by NumPy's names."""
    text = str(value)
    # A negative zero without its point would be the integer 0.
    return {"nan": "np.nan", "inf": "np.inf", "-inf": "-np.inf", "-0.0": "-0.0"}.get(text, text.removesuffix(".0"))


def place(index: tuple[int, ...]) -> str:
    """An index without its brackets."""
    return ", ".join(map(str, index))


def program(*lines: str) -> str:
    """The lines as a program; the longest lists of numbers are broken while more lines are allowed.

    ValueError if there are more than ten lines.
    """
    if len(lines) > MOST_LINES:
        raise ValueError(f"A snippet of {len(lines)} lines was made; it has at most {MOST_LINES}: put calls into one.")
    program_lines = list(lines)
    while len(program_lines) < MOST_LINES:
        longest = max(range(len(program_lines)), key=lambda k: len(program_lines[k]))
        line = program_lines[longest]
        # Only inside brackets, where Python continues the line implicitly.
        bracket, at = line.find("["), line.rfind(", ", 0, _WIDTH)
        if len(line) <= _WIDTH or at <= max(bracket, 0) or at > line.rfind("]"):
            break
        program_lines[longest : longest + 1] = [line[: at + 1], f"    {line[at + 2 :]}"]
    return "\n".join(program_lines) + "\n"
