"""Which map of a pyramid a box is pooled from, and the scale that the size of a map tells: torchvision's rule.

Of the boxes' arithmetic every step is rounded once, to their own type, as positions.py does; the scale of a map is
found among whole numbers, without a logarithm. docs/operators.md, "Levels", has the rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from harness.operators.rounding import rounder

# Of the scales that a map may have.
_LEVELS = range(-16, 33)


def map_of(
    box: Sequence[float],
    scales: Sequence[float],
    dtype: str,
    canonical_scale: float = 224.0,
    canonical_level: int = 4,
) -> int | None:
    """The place among the maps of these scales that a box (x1, y1, x2, y2) of this type has; None if it has none."""
    if len(scales) == 1:
        return 0
    to = rounder(dtype)
    x1, y1, x2, y2 = box
    area = to(to(x2 - x1) * to(y2 - y1))
    if not area >= 0:
        return None
    side = to(to(math.sqrt(area)) / to(canonical_scale))
    octaves = to(math.log2(side)) if side > 0 else -math.inf
    level = to(to(canonical_level + octaves) + to(1e-6))
    first, last = (next(level for level in _LEVELS if scale == 2.0**-level) for scale in (scales[0], scales[-1]))
    place = math.floor(min(max(level, first), last)) - first
    return place if place < len(scales) else None


def scale_of(side: int, image_side: int) -> float:
    """The power of two nearest to side / image_side, by their ratio: no ratio of whole numbers is between two."""
    square = Fraction(side, image_side) ** 2
    return next(2.0**-level for level in _LEVELS if square > Fraction(1, 2) * Fraction(4) ** -level)
