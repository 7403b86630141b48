"""Counts the cost of an operator's kernels on a case, in a few blocks of each grid.

A grid of a large case has thousands of blocks, and a block takes a second here: a few equally spaced blocks represent
all of them. A kernel whose results control a later one must run all its blocks.

    for counts in count_launches("roi_align", case.inputs(), "forward"):
        print(counts, f"{counts.instructions_for(values):.1f} a value")
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.kernels.drivers.calls import Library, caller
from harness.kernels.ptx.allocations import apart
from harness.kernels.ptx.counts import Counts
from harness.kernels.ptx.emulator import run
from harness.kernels.ptx.library import kernel_library
from harness.operators.arrays import Array, Direction
from harness.operators.sheet import OperatorName

# The kernels that compute which boxes reach which tiles.
DECIDING = ("reach_kernel",)


def count_launches(
    operator: OperatorName,
    inputs: Any,
    direction: Direction,
    *,
    blocks: int = 8,
    complete: Sequence[str] = DECIDING,
    atomics: bool = False,
    library: Library = kernel_library,
) -> list[Counts]:
    """The counts of each launch of a direction of an operator, in order.

    inputs    of a case: case.inputs().
    blocks    the most blocks to run of a grid, equally spaced.
    complete  kernels with one of these in their names run all their blocks.
    atomics   the image gradient of crop_and_resize by atomics, not gathered.

    The results of such a partial call are meaningless, and reading memory that skipped blocks would have written is no
    fault.
    """
    counts: list[Counts] = []

    def choose(kernel: str, count: int) -> Sequence[int]:
        if count <= blocks or any(part in kernel for part in complete):
            return range(count)
        return [(2 * k + 1) * count // (2 * blocks) for k in range(blocks)]

    def launch(
        library: Path, name: str, _: int | None, __: Array, arguments: ctypes.Structure, results: Sequence[Array]
    ) -> None:
        with apart(arguments, results) as allocations:
            counts.extend(run(library, name, [ctypes.byref(arguments)], allocations, choose=choose))

    caller(operator, library, launch, atomics=atomics)(inputs, direction)
    return counts
