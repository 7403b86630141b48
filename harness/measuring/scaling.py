"""How the work of a gathered image gradient grows with the number of boxes, counted without a GPU.

A gather goes through the boxes tile by tile, so its cost could grow with boxes times tiles. The counts show that it
does not: what a warp executes, and what all warps execute for one box, on the workloads that vary the number of boxes
at a fixed map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.kernels.ptx.counting import count_launches
from harness.measuring.workloads import WORKLOADS, Workload
from harness.operators import OPERATORS
from harness.operators.sheet import OperatorName

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
            gather = next(each for each in counts if "gather_kernel" in each.kernel)
            total = sum(each.of_grid(sum(each.instructions.values())) for each in counts)
            yield Growth(name, workload.size, gather.instructions_a_warp, total / workload.size)


def cells(rows: Sequence[Growth]) -> tuple[tuple[str, ...], ...]:
    """The rows of the table as words."""
    return tuple((row.operator, f"{row.boxes:,}", f"{row.a_warp:,.0f}", f"{row.a_box:,.0f}") for row in rows)
