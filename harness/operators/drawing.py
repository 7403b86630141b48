"""Building blocks of both operators' strategies, their restriction to a capability sheet, and seeded draws.

Cases that the sheet would refuse are not drawn. Creating and validating a strategy costs Hypothesis more than drawing
from it, so each is created once and cached.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from harness.operators.arrays import LAYOUTS, SINGLE_AND_DOUBLE, STRIDES, VALUES, Box, Strides
from harness.operators.sheet import EMPTY, Extent, Sheet

Value = TypeVar("Value")
Example = TypeVar("Example")

_SPECIAL = ("nan_pixel", "inf_pixel")


# The neighbours of 0 are subnormal, and flushing subnormals to 0 is a property of the thread, not of the rule:
# TensorFlow's threads flush, NumPy's do not. This value vanishes beside 1 in float32, and its square times any pixel is
# still a normal number.
BESIDE_ZERO = 2.0**-30

integers = functools.cache(st.integers)
# Typed, because 0 and False are different choices although they are equal.
_sampled_from = functools.lru_cache(maxsize=None, typed=True)(lambda *values: st.sampled_from(values))


def one_from(*values: Value) -> st.SearchStrategy[Value]:
    """One of the values, the first of which is the simplest."""
    strategy: st.SearchStrategy[Value] = _sampled_from(*values)
    return strategy


@functools.cache
def sides(short: int, long: int) -> st.SearchStrategy[tuple[int, int]]:
    """Height and width of an image, one of them up to `long`."""
    side, longer = integers(1, short), integers(1, long)
    # One long side gives positions of many digits, where orders of rounding differ, with few pixels.
    return st.one_of(st.tuples(side, side), st.tuples(side, longer), st.tuples(longer, side))


@functools.cache
def counts(most: int, empty: bool) -> st.SearchStrategy[int]:
    """The number of boxes. 0 is drawn rarely and is not the simplest choice, or every failure would shrink to it."""
    return st.one_of(integers(1, most), integers(0, most)) if empty else integers(1, most)


@functools.cache
def depths(channels: tuple[int, ...], empty: bool) -> st.SearchStrategy[int]:
    """The number of channels, occasionally 0."""
    return st.one_of(one_from(*channels), one_from(0, *channels)) if empty else one_from(*channels)


def next_after(value: float, direction: int, dtype: str) -> float:
    """The neighbour of a finite value in `dtype`; for 0 it is BESIDE_ZERO."""
    if value == 0:
        return BESIDE_ZERO * direction
    if dtype != "float32":
        return math.nextafter(value, math.inf * direction)
    bits = struct.unpack("<i", struct.pack("<f", value))[0]
    step = direction if value > 0 else -direction
    return float(struct.unpack("<f", struct.pack("<i", bits + step))[0])


def exact(value: float, dtype: str) -> float:
    """The value rounded to `dtype` unless that overflows, so the printed box is exactly the box in use."""
    if dtype == "float32" and abs(value) < 3.5e38:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    return value


def mostly_contiguous(*strides: Strides) -> st.SearchStrategy[Strides]:
    """The layout of boxes or of an upstream gradient: contiguous two times out of three."""
    usual = "contiguous" if "contiguous" in strides else strides[0]
    return one_from(*(usual,) * (2 * len(strides)), *strides)


def upright(box: Sequence[float], dtype: str, extent: float) -> Box:
    """A box (first, first, last, last) with its last edges above its first ones, by `extent` where they are equal."""
    edges = []
    for first, last in zip(box[:2], box[2:], strict=True):
        low, high = min(first, last), max(first, last)
        if low == high and math.isfinite(low):
            # Coordinates too large to have a near neighbour overflow instead.
            high = max(exact(low + extent, dtype), next_after(low, 1, dtype)) if abs(low) < 1e30 else math.inf
        edges.append((low, high))
    (a, c), (b, d) = edges
    return a, b, c, d


class UndeclaredError(Exception):
    """A property needs something that the sheet does not declare; the message names it."""


def restrict(name: str, choices: Iterable[Any], sheet: Iterable[Any]) -> list[Any]:
    """The choices that a sheet declares, in their order; UndeclaredError if there are none."""
    choices, sheet = list(choices), list(sheet)
    permitted = [each for each in choices if each in sheet]
    if not permitted:
        raise UndeclaredError(f"{name}: none of {', '.join(map(str, dict.fromkeys(choices)))} is declared")
    return permitted


def extent(sheet: Sheet, choices: dict[str, Any]) -> Extent:
    """The extent of the boxes to draw, from the choices and the sheet; UndeclaredError if they exclude each other."""
    kind: Extent = choices.get("extent", sheet.extent)
    if "extent" in choices and kind == "any" and sheet.extent == "positive":
        raise UndeclaredError("extent: boxes that are empty or inverted are not declared")
    return sheet.extent if kind == "any" else kind


def common(sheet: Sheet, choices: dict[str, Any], image_dtypes: Sequence[str]) -> dict[str, Any]:
    """The arguments that both operators' strategies share, restricted to a sheet."""
    plain = [each for each in VALUES if sheet.special_values or each not in _SPECIAL]
    arguments: dict[str, Any] = {
        "image_dtypes": restrict("image dtypes", choices.get("image_dtypes", image_dtypes), sheet.image_dtypes),
        "boxes_dtypes": restrict("box dtypes", choices.get("boxes_dtypes", SINGLE_AND_DOUBLE), sheet.boxes_dtypes),
        "layouts": restrict("layouts", choices.get("layouts", LAYOUTS), sheet.layouts),
        "values": restrict("values", choices.get("values", VALUES), plain),
        "boxes_layouts": restrict("layouts of boxes", choices.get("boxes_layouts", STRIDES), sheet.boxes_layouts),
        "upstream_layouts": restrict("layouts", choices.get("upstream_layouts", STRIDES), sheet.upstream_layouts),
        "empty": [kind for kind in choices.get("empty", EMPTY) if kind in sheet.empty],
    }
    if sheet.same_dtype:
        arguments["image_dtypes"] = restrict("image dtypes", arguments["image_dtypes"], arguments["boxes_dtypes"])
        arguments["same_dtype"] = True
    return arguments


def effort(examples: int, *phases: Phase) -> hypothesis.settings:
    """Hypothesis settings under which the seed alone decides, and nothing is stored or printed."""
    return hypothesis.settings(
        max_examples=examples, phases=phases, database=None, deadline=None, derandomize=False, print_blob=False,
        verbosity=Verbosity.quiet, suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def draw_cases(strategy: SearchStrategy[Example], count: int, seed: int) -> list[Example]:
    """`count` cases, the same ones for the same seed."""
    cases: list[Example] = []

    @hypothesis.seed(seed)
    @effort(count, Phase.generate)
    @hypothesis.given(strategy)
    def draw(case: Example) -> None:
        cases.append(case)

    draw()
    return cases
