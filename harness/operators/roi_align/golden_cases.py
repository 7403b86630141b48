"""torchvision as the peer of roi_align, and the cases of its golden vectors (harness/judging/golden.py)."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis.strategies import SearchStrategy

from harness.operators.peer import Peer
from harness.operators.roi_align.case import RoiCase
from harness.operators.roi_align.strategy import FINITE_FAMILIES, roi_cases


def _groups() -> Iterator[tuple[int, SearchStrategy[RoiCase]]]:
    """float32 only, to keep the file small; torchvision has no maximum."""
    yield (
        600,
        roi_cases(
            image_dtypes=["float32"],
            same_dtype=True,
            modes=["avg"],
            values=["normal", "ramp"],
            box_families=FINITE_FAMILIES,
            longest_side=16,
            empty=(),
        ),
    )


TORCHVISION = Peer("torchvision", "torchvision", ("forward", "grad_image"), ("forward", "grad_image"), _groups)
