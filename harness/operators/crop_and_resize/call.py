"""One call as the oracle sees it: samples, pixels, and arithmetic of sufficient precision.

The forward and the gradients need the same quantities, each once per box and sample. They are computed and cached here,
so oracle.py and gradients.py hold only formulas and bounds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

from harness.operators.arrays import crops_dtype
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.crop_and_resize.positions import Axis, Sample, sample
from harness.operators.expected import Number, accumulated_in
from harness.operators.rounding import LARGE, SMALLEST, UNIT, rounder

# The columns (first, last) of a box on the y axis and on the x axis.
BOX_COLUMNS = {"normalized": ((0, 2), (1, 3)), "bin_centres": ((1, 3), (0, 2)), "corners": ((1, 3), (0, 2))}


@dataclass(frozen=True)
class Call:
    """The inputs, and the quantities that follow from their dtypes and from the order of rounding.

    accumulate  the dtype of interpolation and sums; unit and smallest belong to it.
    blank       the value of a sample outside: the extrapolation value, rounded to that dtype and then to the crops'.
    number      float, or Fraction when float64 results are judged.
    line        sample i of box m on axis 0 (y) or 1 (x) for linear interpolation; spot: for the method of the call.
    """

    inputs: Inputs
    pinned: bool
    accumulate: str
    blank: float
    unit: float
    smallest: float
    number: Callable[[float], Number]
    wide_boxes: bool
    line: Callable[[int, int, int], Sample]
    spot: Callable[[int, int, int], Sample]

    def pixel(self, n: int, c: int, y: int, x: int) -> float:
        """The pixel, cast to the accumulate dtype."""
        return rounder(self.accumulate)(float(self.inputs.image.item(n, c, y, x)))

    def image_of(self, m: int) -> int:
        return int(self.inputs.box_indices.item(m))

    def exact(self, values: Iterable[float]) -> bool:
        """Whether no computation on these values can overflow or give NaN."""
        large = LARGE[self.accumulate]
        return all(abs(value) < large for value in values)


def call_of(inputs: Inputs, pinned: bool) -> Call:
    """The call of these inputs; each sample is computed once and cached."""
    accumulate = accumulated_in(inputs)
    boxes = inputs.boxes.dtype.name
    unit = 0.0 if pinned else max(UNIT[boxes], UNIT[accumulate])

    @functools.cache
    def axis(m: int, along: int) -> Axis:
        first, last = (float(inputs.boxes.item(m, column)) for column in BOX_COLUMNS[inputs.box_rule][along])
        return Axis(inputs.box_rule, first, last, inputs.crop_size[along], int(inputs.image.shape[2 + along]))

    @functools.cache
    def line(m: int, along: int, i: int) -> Sample:
        return sample(axis(m, along), i, boxes, unit=unit)

    @functools.cache
    def pick(m: int, along: int, i: int) -> Sample:
        return sample(axis(m, along), i, boxes, unit=unit, nearest=True)

    return Call(
        inputs=inputs, pinned=pinned, accumulate=accumulate,
        blank=rounder(crops_dtype(inputs.image.dtype.name))(rounder(accumulate)(float(inputs.extrapolation_value))),
        unit=UNIT[accumulate], smallest=SMALLEST[accumulate], number=Fraction if accumulate == "float64" else float,
        wide_boxes=UNIT[boxes] < UNIT[accumulate], line=line, spot=pick if inputs.method == "nearest" else line,
    )  # fmt: skip
