"""The cost of the CUDA kernels on a workload, counted without a GPU: the table in docs/cuda.md.

Instructions, sectors and wavefronts are counted in compiled PTX, in a few blocks of each grid (harness/kernels/ptx);
registers and loads in flight come from machine code and determine the occupancy. The time is a prediction and a lower
bound: the instructions at one per scheduler and cycle, or the compulsory bytes at the memory's bandwidth, whichever is
longer. None of these figures is measured on a GPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pandas as pd

from harness.kernels.machine_code import Function, functions, loads_in_flight
from harness.kernels.occupancy import occupancy
from harness.kernels.ptx.counting import count_launches
from harness.kernels.ptx.counts import Counts
from harness.kernels.ptx.torchvision import count_torchvision
from harness.kernels.resources import Usage, complete_library, usages
from harness.measuring.traffic import traffic
from harness.measuring.workloads import Workload
from harness.operators import OPERATORS
from harness.operators.arrays import DIRECTIONS, Direction, Layout
from harness.operators.sheet import OperatorName
from harness.repository import MissingLibrary

OCCUPANCIES = ("sm_80", "sm_89", "sm_90")
_PEER = "torchvision"
_LAYOUTS: tuple[Layout, ...] = ("contiguous", "channels_last")


@dataclass(frozen=True)
class Gpu:
    """The figures from a GPU's data sheet that determine the floor."""

    name: str
    multiprocessors: int
    gigahertz: float
    gigabytes_a_second: float
    schedulers: int = 4


H100 = Gpu("H100 SXM", multiprocessors=132, gigahertz=1.83, gigabytes_a_second=3350)


@dataclass(frozen=True)
class Cost:
    """One kernel of a call.

    a_value           PTX instructions, of all lanes of its warps, for each value of the crops.
    sectors_a_value   sectors of 32 bytes requested from the second-level cache if the first never hits.
    wavefronts_a_value  wavefronts of shared memory.
    loads_in_flight   the most loads issued before one of them is used; on sm_90, like registers.
    occupancy         percent of the warps that a multiprocessor of OCCUPANCIES can hold.
    floor_us          the predicted lower bound on the Gpu, see above; the bytes count for the call's longest kernel
                      only. Fields from machine code are None for torchvision's kernels.
    """

    operator: OperatorName
    direction: Direction
    layout: Layout
    kernel: str
    blocks: int
    threads: int
    shared_bytes: int
    a_value: float
    sectors_a_value: float
    wavefronts_a_value: float
    loads_in_flight: int | None
    registers: int | None
    occupancy: str
    floor_us: float
    bound: str


def costs(workload: Workload, *, blocks: int = 4, gpu: Gpu = H100) -> Iterator[Cost]:
    """The cost of every kernel of both operators on a float32 workload, with roi_align's first setting.

    MissingLibrary without nvcc, cuobjdump or the complete CUDA library; torchvision's kernels are left out if they are
    missing.
    """
    code, usage = _machine_code()
    for (name, operator), direction, layout in itertools.product(OPERATORS.items(), DIRECTIONS, _LAYOUTS):
        inputs = operator.from_workload(workload.inputs(layout), operator.settings[0])
        compulsory = traffic(operator.reach(inputs), direction, layout, 32).compulsory
        for counts in _ways(name, inputs, direction, blocks):
            longest = max(counts, key=_instructions)
            for each in counts:
                own_bytes = compulsory if each is longest else 0
                yield _cost(name, direction, layout, each, inputs.upstream.size, own_bytes, gpu, code, usage)
    yield from _of_torchvision(workload, blocks, gpu)


def _ways(operator: OperatorName, inputs: Any, direction: Direction, blocks: int) -> list[list[Counts]]:
    """The launches of a call and, if there is a variant with atomics, also its launches."""
    by_atomics = (False, True) if direction == "grad_image" else (False,)
    ways = [count_launches(operator, inputs, direction, blocks=blocks, atomics=atomics) for atomics in by_atomics]
    kernels = [[each.kernel for each in counts] for counts in ways]
    return ways if kernels[0] != kernels[-1] else ways[:1]


def _of_torchvision(workload: Workload, blocks: int, gpu: Gpu) -> Iterator[Cost]:
    operator = OPERATORS["roi_align"]
    inputs = operator.from_workload(workload.inputs(), operator.settings[0])
    directions: tuple[Direction, ...] = ("forward", "grad_image")
    for direction in directions:
        try:
            counts, _ = count_torchvision(inputs, direction, blocks=blocks)
        except MissingLibrary:
            return
        compulsory = traffic(operator.reach(inputs), direction, "contiguous", 32).compulsory
        yield _cost("roi_align", direction, "contiguous", counts, inputs.upstream.size, compulsory, gpu, {}, {})


def _machine_code() -> tuple[dict[str, Function], dict[tuple[str, str], Usage]]:
    """The kernels' code on sm_90, and each kernel's resources on every architecture."""
    library = complete_library()
    code = {each.kernel: each for each in functions(library, "sm_90")}
    return code, {(each.architecture, each.kernel): each for each in usages(library)}


def _cost(
    operator: OperatorName,
    direction: Direction,
    layout: Layout,
    counts: Counts,
    values: int,
    compulsory: int,
    gpu: Gpu,
    code: dict[str, Function],
    usage: dict[tuple[str, str], Usage],
) -> Cost:
    instructions_us = _instructions(counts) / (gpu.multiprocessors * gpu.schedulers * gpu.gigahertz * 1e3)
    bytes_us = compulsory / (gpu.gigabytes_a_second * 1e3)
    own = code.get(counts.kernel)
    shares = [
        occupancy(each, usage[each, counts.kernel].registers, counts.threads, counts.shared_bytes)
        for each in OCCUPANCIES
        if own is not None
    ]
    return Cost(
        operator,
        direction,
        layout,
        counts.kernel if own is not None else f"{_PEER}: {counts.kernel}",
        counts.blocks,
        counts.threads,
        counts.shared_bytes,
        counts.instructions_for(values),
        counts.of_grid(sum(counts.sectors.values())) / values,
        counts.of_grid(sum(counts.wavefronts.values())) / values,
        None if own is None else loads_in_flight(own.instructions),
        None if own is None else usage["sm_90", counts.kernel].registers,
        " / ".join(f"{share:.0%}" for share in shares),
        max(instructions_us, bytes_us),
        "instructions" if instructions_us > bytes_us else "bytes",
    )


def _instructions(counts: Counts) -> float:
    """The instructions of all warps of the grid."""
    return counts.of_grid(sum(counts.instructions.values()))


COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "operator": ("operator", str),
    "direction": ("direction", str),
    "layout": ("layout", str),
    "kernel": ("kernel", lambda name: f"`{name}`"),
    "blocks": ("blocks", "{:,}".format),
    "threads": ("threads", str),
    "shared_bytes": ("shared bytes", "{:,}".format),
    "a_value": ("PTX a value", "{:.1f}".format),
    "sectors_a_value": ("sectors a value", "{:.2f}".format),
    "wavefronts_a_value": ("wavefronts a value", "{:.2f}".format),
    "loads_in_flight": ("loads in flight", lambda count: "" if pd.isna(count) else f"{count:.0f}"),
    "registers": ("registers", lambda count: "" if pd.isna(count) else f"{count:.0f}"),
    "occupancy": (f"occupancy on {', '.join(OCCUPANCIES)}", str),
    "floor_us": ("floor, µs (predicted)", "{:.0f}".format),
    "bound": ("of", str),
}


def table(rows: Sequence[Cost]) -> pd.DataFrame:
    """The costs as a table with a column per field."""
    frame: pd.DataFrame = pd.DataFrame([asdict(row) for row in rows], columns=[field.name for field in fields(Cost)])
    return frame


def cells(costs_of: pd.DataFrame) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The header and the rows of the table as text."""
    rows = (tuple(write(row[name]) for name, (_, write) in COLUMNS.items()) for _, row in costs_of.iterrows())
    return tuple(head for head, _ in COLUMNS.values()), tuple(rows)
