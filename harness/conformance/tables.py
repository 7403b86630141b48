"""Reads, merges and writes the table of cells.

Each row names its device, so the rows of GPU and CPU machines share one table; rows without a new run stay unchanged.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

from harness import properties, repository
from harness.backends import BACKENDS, PEERS
from harness.conformance.cells import Cell
from harness.conformance.jobs import JobResult
from harness.operators.arrays import DIRECTIONS
from harness.operators.sheet import OperatorName

CSV_COLUMNS = [each.name for each in fields(Cell)]


def read(path: Path) -> list[Cell]:
    """The cells of a table, [] if there is no file; ValueError if its columns differ."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        if reader.fieldnames != CSV_COLUMNS:
            raise ValueError(f"{path} has the columns {reader.fieldnames}, not {CSV_COLUMNS}; delete it to start over.")
        return [_cell(line) for line in reader]


def _cell(line: dict[str, Any]) -> Cell:
    numbers = {
        "declared": line["declared"] == "yes",
        "cases": int(line["cases"]),
        "ambiguous": int(line["ambiguous"]),
        "fraction": float(line["fraction"]) if line["fraction"] else None,
    }
    return Cell(**{**line, **numbers})


def merge(old: Iterable[Cell], results: Sequence[JobResult]) -> list[Cell]:
    """The old cells with new ones in their place, in the order of the tables.

    An old cell is dropped if its backend was checked for its property again, on the same device or after it was
    missing, or if no property has its name any more. For an unfinished job only the finished cells count.
    """
    new = [each for one in results for each in one.cells]
    cut = {(each.operator, each.backend) for one in results if one.problem for each in one.cells}
    again = {(each.operator, each.backend, each.property, each.direction) for each in new}
    names = {(each.operator, each.name) for each in properties.all_properties()}
    names_by_backend = {(each.operator, each.backend): one.job.property_names for one in results for each in one.cells}
    places = {(each.operator, each.backend, each.device) for each in new}

    def goes(each: Cell) -> bool:
        if (each.operator, each.property) not in names:
            return True
        property_names = names_by_backend.get((each.operator, each.backend))
        if property_names is None or (property_names and each.property not in property_names):
            return False
        is_new = (each.operator, each.backend, each.property, each.direction) in again
        if (each.operator, each.backend) in cut and not is_new:
            return False
        return each.status == "missing" or (each.operator, each.backend, each.device) in places

    return sorted([*(each for each in old if not goes(each)), *new], key=_order)


def _order(each: Cell) -> tuple[Any, ...]:
    """The sort key: operators, backends, devices, properties and directions in this project's order; unknown names
    last, alphabetically."""

    def place(value: str, among: Sequence[str]) -> int:
        return among.index(value) if value in among else len(among)

    listed = [property_.name for property_, _ in properties.questions(each.operator)]
    names = [*BACKENDS[each.operator], *PEERS[each.operator]]
    return (
        place(each.operator, get_args(OperatorName)), place(each.backend, names), each.backend,
        each.device, place(each.property, listed), place(each.direction, DIRECTIONS),
    )  # fmt: skip


def write(path: Path, table: Iterable[Cell]) -> None:
    """Writes the table, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for each in table:
        fraction = "" if each.fraction is None else f"{each.fraction:.3g}"
        writer.writerow({**asdict(each), "declared": "yes" if each.declared else "no", "fraction": fraction})
    repository.replace(path, text.getvalue())
