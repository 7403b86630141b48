"""The columns of each device, and the turns of a process in order.

Blocks are the outermost loop and run through all rows, so that a slow minute of the machine hits every backend; within
a block the backends of one (operator, workload, setting, type, direction) follow each other, in odd blocks in reverse:
ABBA. A run of one process has two blocks; a run of several processes has one block in each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from harness.measuring.record import Record
from harness.measuring.settings import Settings
from harness.measuring.workloads import WORKLOADS, Workload
from harness.operators import OPERATORS, Operator
from harness.operators.arrays import DIRECTIONS, Direction, Layout
from harness.operators.sheet import OperatorName

_BLOCKS = 2
# From a GPU's backend to the same operator on the CPU.
ON_THE_CPU = {"roi_align_cuda": "roi_align", "torchvision_cuda": "torchvision"}
_NO_BOXES: tuple[Direction, ...] = ("forward", "grad_image")  # torchvision has no gradient of the boxes


@dataclass(frozen=True)
class Column:
    """One backend on inputs of one layout and type.

    directions  the directions to time.
    series      whether it is timed on the scaling series too.
    tuned       whether it is timed under the tuned allocator too.
    late        whether it is timed only on the quick workloads, once, after all others: preparing it takes longer than
                timing it.
    """

    backend: str
    layout: Layout
    dtype: str = "float32"
    directions: tuple[Direction, ...] = DIRECTIONS
    series: bool = True
    tuned: bool = True
    late: bool = False


# By type of device and operator. The series are crop_and_resize's. roi_align of torchvision and ONNX Runtime is timed
# in NCHW only: the former makes any other layout contiguous first, the latter supports no other. As they are slow, they
# run under the default allocator only, which is the one that users have.
COLUMNS: dict[str, dict[OperatorName, tuple[Column, ...]]] = {
    "cpu": {
        "crop_and_resize": (
            Column("roi_align", "contiguous"),
            Column("roi_align", "channels_last"),
            Column("tensorflow", "channels_last"),
            Column("torchvision", "contiguous", directions=_NO_BOXES),
        ),
        "roi_align": (
            Column("roi_align", "contiguous", series=False),
            Column("roi_align", "channels_last", series=False),
            Column("torchvision", "contiguous", directions=_NO_BOXES, series=False, tuned=False),
            Column("onnxruntime", "contiguous", directions=("forward",), series=False, tuned=False),
        ),
    },
    "cuda": {
        "crop_and_resize": (
            Column("roi_align_cuda", "contiguous"),
            Column("roi_align_cuda", "channels_last"),
            Column("roi_align_cuda_deterministic", "contiguous", directions=("grad_image",)),
            Column("roi_align_cuda_deterministic", "channels_last", directions=("grad_image",)),
            Column("torchvision_cuda", "contiguous", directions=_NO_BOXES),
            Column("grid_sample_cuda", "contiguous", directions=_NO_BOXES, series=False),
            Column("roi_align_cuda", "contiguous", "bfloat16", series=False),
            Column("roi_align_cuda", "channels_last", "bfloat16", series=False),
            Column("roi_align_cuda", "contiguous", "float16", series=False),
            Column("roi_align_cuda", "channels_last", "float16", series=False),
            Column("torchvision_cuda", "contiguous", "float16", directions=_NO_BOXES, series=False),
            Column("grid_sample_cuda_compiled", "contiguous", directions=_NO_BOXES, series=False, late=True),
        ),
        "roi_align": (
            Column("roi_align_cuda", "contiguous", series=False),
            Column("roi_align_cuda", "channels_last", series=False),
            Column("torchvision_cuda", "contiguous", directions=_NO_BOXES, series=False),
        ),
    },
}


@dataclass(frozen=True)
class Turn:
    """The unit of timing: one column in one row of the table, in one cache state and one block."""

    operator: Operator
    workload: Workload
    setting: str
    direction: Direction
    column: Column
    cache: str
    block: int

    @property
    def call(self) -> Turn:
        """The turn without block and cache state: equal for all turns of the same call."""
        return replace(self, block=0, cache="")

    def record(self) -> Record:
        """Its row, before the result is known."""
        workload, column = self.workload, self.column
        return Record(
            bench=self.operator.name, setting=self.setting, workload=workload.name, source=workload.source,
            series=workload.series, size=workload.size, op=self.operator.name, direction=self.direction,
            backend=column.backend, title=column.backend, dtype=column.dtype, layout=column.layout, cache=self.cache,
            block=self.block,
        )  # fmt: skip

    def inputs(self) -> Any:
        """The inputs for the backend; the arrays are shared and must not be written to."""
        workload = self.workload.inputs(self.column.layout, self.column.dtype)
        return self.operator.from_workload(workload, self.setting)

    def __str__(self) -> str:
        column = self.column
        call = (self.operator.name, self.workload.name, self.setting, self.direction)
        words = (*call, column.backend, column.layout, column.dtype, self.cache, str(self.block))
        return "-".join(word for word in words if word)


def columns_of(device: str, allocator: str) -> dict[OperatorName, tuple[Column, ...]]:
    """Each operator's columns on a type of device, under an allocator."""
    return {
        name: tuple(column for column in columns if column.tuned or allocator != "tuned")
        for name, columns in COLUMNS[device].items()
    }


def blocks(settings: Settings, measuring: bool) -> Sequence[int]:
    """The blocks of this process: the one of its own number if the run has several processes; one for a smoke test."""
    if settings.processes > 1:
        return (settings.process,)
    return range(_BLOCKS if measuring else 1)


def kind(quick: bool, by_name: bool) -> str:
    """The kind of a run: "quick", not for the record; "part", only what the command line names; or "full"."""
    return "quick" if quick else "part" if by_name else "full"


def workloads_of(names: Iterable[str]) -> tuple[Workload, ...]:
    """The workloads of these names, in the usual order; ValueError for an unknown name."""
    all_workloads = {workload.name: workload for workload in WORKLOADS}
    requested = set(names)
    unknown = sorted(requested - set(all_workloads))
    if unknown:
        raise ValueError(f"There is no workload {unknown[0]!r}; there are {', '.join(all_workloads)}.")
    return tuple(workload for name, workload in all_workloads.items() if name in requested)


def workloads_for(settings: Settings, allocator: str) -> tuple[Workload, ...]:
    """The workloads that this process measures: those named in the settings, or the usual ones.

    The tuned allocator answers one question, the cost of fresh memory. The scaling series and, in a quick run, the real
    input (the slowest to prepare) run under the default allocator only.
    """
    tuned = allocator == "tuned"
    usual = (each for each in WORKLOADS if not settings.quick or (each.quick and not (tuned and each.real)))
    workloads = workloads_of(settings.workloads) or tuple(usual)
    return tuple(each for each in workloads if not (tuned and each.series))


def turns(
    columns: dict[OperatorName, tuple[Column, ...]],
    caches: tuple[str, ...],
    workloads: Iterable[Workload],
    blocks: Sequence[int],
    every_setting: bool = True,
) -> Iterator[Turn]:
    """All turns in the order of execution; for each operator only its first setting, or every one."""
    workloads = tuple(workloads)

    def block_of(block: int, late: bool, workloads: tuple[Workload, ...]) -> Iterator[Turn]:
        for name, all_columns in columns.items():
            operator = OPERATORS[name]
            settings = operator.settings if every_setting else operator.settings[:1]
            own = tuple(column for column in all_columns if column.late == late)[:: 1 if block % 2 == 0 else -1]
            dtypes = sorted({column.dtype for column in own}, reverse=True)  # float32 first
            # The first setting of all workloads first: a run that has no time left lacks the rows of the last one.
            for setting, workload, dtype, direction in product(settings, workloads, dtypes, DIRECTIONS):
                for column, cache in product(own, caches):
                    matches = column.dtype == dtype and direction in column.directions
                    if matches and (column.series or not workload.series):
                        yield Turn(operator, workload, setting, direction, column, cache, block)

    for block in blocks:
        yield from block_of(block, False, workloads)
    yield from block_of(blocks[0], True, tuple(workload for workload in workloads if workload.quick))
