"""Calls of sizes at which an implementation may switch algorithms, which small random cases do not reach.

Results larger than a cache, crops larger than a tile, more boxes than a block of threads, one image for many threads,
bins computed a few at a time, numbers of channels that no vector divides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from harness.operators.arrays import Array, laid_out
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import RoiInputs
from harness.operators.sheet import OperatorName


@dataclass(frozen=True)
class Size:
    """One call: the image, the number of boxes, the crop size, and for roi_align the sides of its bins and its grid."""

    shape: tuple[int, int, int, int]
    rows: int
    crop_size: tuple[int, int]
    bins: tuple[float, ...] = (0.5, 1.0, 2.0)
    ratio: int = 2


SIZES: dict[OperatorName, dict[str, Size]] = {
    "crop_and_resize": {
        "a result of 13 MB, in whole lines": Size((2, 32, 20, 24), 2100, (7, 7)),
        "a result of 13 MB, channels left over": Size((2, 35, 20, 24), 1900, (7, 7)),
        "crops larger than a tile": Size((1, 19, 30, 41), 6, (67, 53)),
        "one row a tile": Size((1, 16, 9, 300), 2, (3, 700)),
        "one image, one block of channels": Size((1, 16, 33, 17), 300, (5, 3)),
        "more than 65,535 boxes": Size((3, 2, 8, 9), 70_000, (2, 3)),
        "few boxes on a large map": Size((1, 24, 400, 300), 2, (5, 4)),
        "many channels, one pixel": Size((2, 1030, 1, 1), 5, (2, 2)),
        "a gradient of several bands, in whole lines": Size((1, 64, 160, 208), 150, (7, 7)),
        "three channels in several bands": Size((1, 3, 600, 700), 40, (64, 64)),
    },
    "roi_align": {
        "a result of 9 MB, in whole lines": Size((1, 64, 40, 52), 720, (7, 7)),
        "a result of 9 MB, channels left over": Size((2, 35, 40, 52), 1300, (7, 7)),
        "few boxes on a large map": Size((2, 24, 190, 230), 12, (7, 7), (2.0, 4.0)),
        "one block of channels for all threads": Size((1, 16, 33, 47), 300, (5, 3)),
        "bins of y that are made a few at a time": Size((1, 19, 90, 110), 20, (37, 29), (1.0, 2.0)),
        "one bin of y at a time": Size((1, 16, 24, 1300), 9, (4, 300), (4.0,)),
        "adaptive grids of four samples": Size((2, 40, 60, 70), 130, (5, 6), (4.0, 3.5), -1),
        "a gradient larger than a cache": Size((1, 48, 260, 300), 200, (14, 14)),
        "three channels": Size((2, 3, 120, 150), 40, (28, 20)),
        "many channels, one pixel": Size((2, 1030, 1, 1), 5, (2, 2)),
    },
}


def of(*operators: OperatorName) -> pytest.MarkDecorator:
    """A test for each size of these operators: `operator`, `size`."""
    rows = {f"{operator}-{name}": (operator, size) for operator in operators for name, size in SIZES[operator].items()}
    return pytest.mark.parametrize(("operator", "size"), rows.values(), ids=rows)


def _crops(size: Size, random: np.random.Generator, integers: bool, **arrays: Array) -> Inputs:
    """With integer values, boxes lie on multiples of 1/16: see Call.exact in calls.py."""
    shape = (size.rows, 4)
    boxes = random.integers(-1, 18, shape) / 16 if integers else random.uniform(-0.1, 1.1, shape)
    return Inputs(
        boxes=boxes.astype(np.float32),
        box_indices=random.integers(0, size.shape[0], size.rows).astype(np.int32),
        crop_size=size.crop_size,
        extrapolation_value=-1.5,
        **arrays,
    )


def _pools(size: Size, random: np.random.Generator, _: bool, **arrays: Array) -> RoiInputs:
    """Boxes, bins and samples lie on multiples of an eighth."""
    boxes = np.zeros((size.rows, 5), np.float32)
    boxes[:, 0] = random.integers(0, size.shape[0], size.rows)
    for axis, (length, count) in enumerate(zip(size.shape[2:], size.crop_size, strict=True)):
        start = random.integers(-8, 4 * length, size.rows) / 4
        boxes[:, 2 - axis], boxes[:, 4 - axis] = start, start + count * random.choice(size.bins, size.rows)
    return RoiInputs(boxes=boxes, output_size=size.crop_size, sampling_ratio=size.ratio, aligned=True, **arrays)


# docs/judging.md, `one_box`.
MOST_SINGLE = 1024
_MAKE: dict[OperatorName, Callable[..., Any]] = {"crop_and_resize": _crops, "roi_align": _pools}


def skip_if_long(backend: Backend[Any], rows: int) -> None:
    """Skips a test of a function that takes one box a call: so many calls would count as a hang."""
    if backend.sheet.one_box and rows > MOST_SINGLE:
        pytest.skip("a function of one box a call gets no long lists")


def inputs_of(operator: OperatorName, size: Size, layout: str = "contiguous", *, integers: bool = False) -> Any:
    """The operator's inputs of a size, its values normal or small integers."""
    random = np.random.default_rng(0)
    upstream = (size.rows, size.shape[1], *size.crop_size)
    values = {
        name: random.integers(-most, most + 1, shape) if integers else random.standard_normal(shape)
        for name, shape, most in (("image", size.shape, 8), ("upstream", upstream, 2))
    }
    arrays = {name: laid_out(each.astype(np.float32), layout) for name, each in values.items()}
    return _MAKE[operator](size, random, integers, **arrays)
