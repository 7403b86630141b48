"""How the work of a gathered image gradient depends on the number of boxes and on the size of its tiles, counted
without a GPU.

A gather goes through the boxes tile by tile, so its cost could grow with boxes times tiles. The counts show that it
does not: what a warp executes, and what all warps execute for one box, on the workloads that vary the number of boxes
at a fixed map. A gradient of few tiles of 8 x 8 has tiles of 4 x 4: the counts of both show what that gains.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

from harness.kernels.compiling import Change
from harness.kernels.ptx.counting import count_launches
from harness.kernels.ptx.counts import Counts
from harness.kernels.ptx.library import kernel_library
from harness.measuring.workloads import SMALL_GRADIENTS, WORKLOADS, Workload
from harness.operators import OPERATORS
from harness.operators.sheet import OperatorName

# The kernels with tiles of 8 x 8 for every gradient, however few there are.
LARGE_TILES = Change("cuda/bits.h", "kFewWarps = 1024", "kFewWarps = 0")
SERIES = tuple(each for each in WORKLOADS if each.series == "boxes")


@dataclass(frozen=True)
class Growth:
    """The image gradient of one workload, in planes of float32, with all kernels that it launches.

    a_warp  PTX instructions of a warp of the gather.
    a_box   PTX instructions of all warps, divided by the number of boxes.
    """

    operator: OperatorName
    boxes: int
    a_warp: float
    a_box: float


HEADER = ("operator", "boxes", "PTX instructions of a warp of the gather", "of all warps, for each box")


def growth(series: Sequence[Workload] = SERIES, *, blocks: int = 4) -> Iterator[Growth]:
    """Both operators on each workload, roi_align with its first setting; MissingLibrary without nvcc."""
    for name, operator in OPERATORS.items():
        for workload in series:
            inputs = operator.from_workload(workload.inputs(), operator.settings[0])
            counts = count_launches(name, inputs, "grad_image", blocks=blocks)
            gather = _gather(counts)
            total = sum(each.of_grid(sum(each.instructions.values())) for each in counts)
            yield Growth(name, workload.size, gather.instructions_a_warp, total / workload.size)


def _gather(counts: Sequence[Counts]) -> Counts:
    return next(each for each in counts if "gather_kernel" in each.kernel)


@dataclass(frozen=True)
class Tiles:
    """The gather of one small image gradient, in planes of float32: by tiles of 8 x 8, and of 4 x 4 as it is launched.

    warps   of the whole grid.
    a_warp  PTX instructions of a warp.
    """

    operator: OperatorName
    gradient: str
    large_warps: int
    large_a_warp: float
    warps: int
    a_warp: float


TILES_HEADER = (
    "operator", "gradient", "8 x 8: warps", "8 x 8: PTX instructions of each", "4 x 4: warps",
    "4 x 4: PTX instructions of each",
)  # fmt: skip


def tiles(series: Sequence[Workload] = SMALL_GRADIENTS, *, blocks: int = 8) -> Iterator[Tiles]:
    """Both operators on each small gradient, roi_align with its first setting; MissingLibrary without nvcc."""
    for name, operator in OPERATORS.items():
        for workload in series:
            inputs = operator.from_workload(workload.inputs(), operator.settings[0])
            large, small = (
                _gather(
                    count_launches(
                        name, inputs, "grad_image", blocks=blocks, library=functools.partial(kernel_library, *changes)
                    )
                )
                for changes in ((LARGE_TILES,), ())
            )
            gradient = " x ".join(map(str, inputs.image.shape[1:]))
            yield Tiles(
                name, gradient, _warps(large), large.instructions_a_warp, _warps(small), small.instructions_a_warp
            )


def _warps(counts: Counts) -> int:
    return counts.blocks * counts.threads // 32


def cells_of_tiles(rows: Sequence[Tiles]) -> tuple[tuple[str, ...], ...]:
    """The rows of the table of tiles as words."""
    return tuple((row.operator, row.gradient, *(f"{each:,.0f}" for each in astuple(row)[2:])) for row in rows)


def cells(rows: Sequence[Growth]) -> tuple[tuple[str, ...], ...]:
    """The rows of the table as words."""
    return tuple((row.operator, f"{row.boxes:,}", f"{row.a_warp:,.0f}", f"{row.a_box:,.0f}") for row in rows)
