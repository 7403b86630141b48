"""kernels: what the CUDA kernels cost by counts, on a machine without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.verbs import app, epilog, interruptible, one_of, stop_at, tell

_COSTS = "<!-- kernels: written by `python -m harness kernels` -->", "<!-- /kernels -->"
_GROWTH = "<!-- growth: written by `python -m harness kernels` -->", "<!-- /growth -->"
_TILES = "<!-- tiles: written by `python -m harness kernels` -->", "<!-- /tiles -->"


@app.command(
    epilog=epilog(
        "Example: python -m harness kernels --workload fpn_p2_test",
        {0: "the table is written", 130: "interrupted, and nothing was stored"},
    )
)
def kernels(
    workload: Annotated[str, typer.Option(help="The workload to count on.")] = "fpn_p2_test",
    blocks: Annotated[int, typer.Option(help="How many blocks of each grid run.", min=1)] = 24,
    path: Annotated[Path, typer.Option("--output", help="Where the table goes.")] = Path("results/cuda-kernels.csv"),
) -> None:
    """Count what the CUDA kernels cost, in compiled PTX and machine code, and write the tables to docs/cuda.md.

    Two more tables say how the image gradients grow with the number of boxes, and what small tiles gain.

    Needs nvcc, cuobjdump and the built CUDA library, no GPU; the times in it are predictions.
    """
    from harness import repository
    from harness.measuring import costs, scaling
    from harness.measuring.workloads import WORKLOADS
    from harness.report.page import markdown
    from harness.report.tables.table import Table
    from harness.repository import ROOT, MissingLibrary

    names = [each.name for each in WORKLOADS]
    selection = next(each for each in WORKLOADS if each.name == one_of("workload", workload, names))
    rows: list[costs.Cost] = []
    with interruptible("nothing was stored."), stop_at(MissingLibrary):
        for cost in costs.costs(selection, blocks=blocks):
            tell(
                f"{cost.operator:16} {cost.direction:10} {cost.layout:13} {cost.kernel:40} {cost.a_value:8.1f} a value"
            )
            rows.append(cost)
        growth, tiles = list(scaling.growth()), list(scaling.tiles())
    table = costs.table(rows)
    table.to_csv(path, index=False, float_format="%.4g")
    tell(f"table {path.resolve()}")
    document = ROOT / "docs" / "cuda.md"
    tables = {
        _COSTS: Table(f"What the CUDA kernels cost on {workload}, float32", *costs.cells(table)),
        _GROWTH: Table("What gathered image gradients cost, by boxes", scaling.HEADER, scaling.cells(growth)),
        _TILES: Table("What small gradients cost, by tiles", scaling.TILES_HEADER, scaling.cells_of_tiles(tiles)),
    }
    for (begin, end), each in tables.items():
        text = document.read_text(encoding="utf-8")
        repository.replace(document, repository.between(text, begin, end, ["", *markdown.table_of(each)]))
