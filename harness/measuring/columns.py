"""Which columns are measured on which device, and the rows of a run in their order.

Blocks are the outermost loop and run through all rows, so that a slow minute of the machine hits every backend; within
a block the backends of one (workload, type, direction) follow each other, in odd blocks in reverse: ABBA. A run of one
process has two blocks in it; one of many has a block in each.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from harness.measuring.workloads import WORKLOADS, Layout, Workload
from harness.operators.arrays import DIRECTIONS, Direction

# What a stored row is made of; 2 has the clock, the cache, and what was compared with what; 3 whose benchmark it is,
# and in which setting; 4 the process, why there are no more samples, interruptions and requested bytes, and the file
# the state of the machine before and after.
SCHEMA = 4
_BLOCKS = 2
# This project's backends, and what they are called in tables.
OURS = {"roi_align": "roi_align", "roi_align_cuda": "roi_align", "roi_align_cuda_deterministic": "deterministic"}
# The same operators on the other kind of device: a GPU's backend, and the CPU's.
ON_THE_CPU = {"roi_align_cuda": "roi_align", "torchvision_cuda": "torchvision"}
_NO_BOXES: tuple[Direction, ...] = ("forward", "grad_image")  # torchvision has no gradient of the boxes


@dataclass(frozen=True)
class Column:
    """One backend on inputs of one layout and type.

    directions  those that it is timed in.
    series      whether it is timed on the scaling series too.
    late        whether it is timed on the quick workloads only, once, when all others are done: making it ready takes
                longer than timing it.
    """

    backend: str
    layout: Layout
    dtype: str = "float32"
    directions: tuple[Direction, ...] = DIRECTIONS
    series: bool = True
    late: bool = False


COLUMNS: dict[str, tuple[Column, ...]] = {
    "cpu": (
        Column("roi_align", "contiguous"),
        Column("roi_align", "channels_last"),
        Column("tensorflow", "channels_last"),
        Column("torchvision", "contiguous", directions=_NO_BOXES),
    ),
    "cuda": (
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
}


@dataclass(frozen=True)
class Row:
    """One column of one line of the table, in one state of the cache, in one block."""

    block: int
    workload: Workload
    direction: Direction
    column: Column
    cache: str

    def __str__(self) -> str:
        column = self.column
        return (
            f"{self.workload.name}-{self.direction}-{column.backend}-{column.layout}-{column.dtype}-{self.cache}-"
            f"{self.block}"
        )


def process() -> int:
    """Which of the run's processes of its kind this one is, from 0 on, as BENCH_PROCESS says."""
    return int(os.environ.get("BENCH_PROCESS", "0"))


def blocks(measuring: bool) -> Sequence[int]:
    """The blocks of this process: one of its own number where a run has several (BENCH_PROCESSES); one for a smoke
    test."""
    if int(os.environ.get("BENCH_PROCESSES", "1")) > 1:
        return (process(),)
    return range(_BLOCKS if measuring else 1)


def kind(quick: bool, named: bool) -> str:
    """What a run is called: "quick", not for the record; "part", of workloads that somebody named; or "full"."""
    return "quick" if quick else "part" if named else "full"


def selected(usual: Iterable[Workload]) -> tuple[Workload, ...]:
    """The workloads that this process measures: those named in BENCH_WORKLOADS, or else the usual ones."""
    names = os.environ.get("BENCH_WORKLOADS", "").split()
    return tuple(each for each in WORKLOADS if each.name in names) if names else tuple(usual)


def rows(
    columns: tuple[Column, ...], caches: tuple[str, ...], workloads: Iterable[Workload], blocks: Sequence[int]
) -> Iterator[Row]:
    """All rows in the order in which they run."""
    workloads = tuple(workloads)
    usual = tuple(column for column in columns if not column.late)
    for block in blocks:
        yield from _block(block, usual if block % 2 == 0 else usual[::-1], caches, workloads)
    quick = tuple(workload for workload in workloads if workload.quick)
    yield from _block(blocks[0], tuple(column for column in columns if column.late), caches, quick)


def _block(
    block: int, columns: tuple[Column, ...], caches: tuple[str, ...], workloads: tuple[Workload, ...]
) -> Iterator[Row]:
    for workload in workloads:
        for dtype in sorted({column.dtype for column in columns}, reverse=True):  # float32 first
            for direction in DIRECTIONS:
                for column in columns:
                    timed = column.dtype == dtype and direction in column.directions
                    if timed and (column.series or not workload.series):
                        yield from (Row(block, workload, direction, column, cache) for cache in caches)
