"""A journal of the answers of a running matrix, so that an interrupted run can be resumed.

Each answer is a line, and the file is deleted at the end of the run. The first line has the settings of the run:
answers under other settings do not belong to it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from harness.conformance.cells import Cell
from harness.conformance.jobs import Answer
from harness.measuring.findings import Finding
from harness.repository import sources


def path_of(table: Path) -> Path:
    """The path of the journal of a table, beside the table."""
    return table.with_name(f"{table.stem}.stopped.jsonl")


def key(examples: int, seed: int) -> dict[str, int | str]:
    """The settings that answers of one run share."""
    return {"examples": examples, "seed": seed, "harness": sources()}


def begin(path: Path, of: dict[str, int | str], replies: list[Answer]) -> None:
    """Starts a journal, with the answers so far if a run is resumed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(of) + "\n", encoding="utf-8")
    for each in replies:
        add(path, each)


def add(path: Path, answer: Answer) -> None:
    """Appends one answer."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(answer)) + "\n")


def read(path: Path, of: dict[str, int | str]) -> list[Answer]:
    """The answers of an interrupted run; ValueError with a sentence if there is none, or if its settings differ."""
    if not path.exists():
        raise ValueError(f"There is no run to go on with: {path} is not there. Begin one without --resume.")
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    before = json.loads(first)
    if different := [name for name, value in of.items() if before.get(name) != value]:
        raise ValueError(
            f"The run that was stopped had another {' and another '.join(different)}; begin a new one without --resume."
        )
    return [_answer(line) for line in lines if line.endswith("}")]  # the last line may be truncated


def _answer(line: str) -> Answer:
    entry = json.loads(line)
    finding = entry["finding"]
    return Answer(
        Cell(**entry["cell"]), None if finding is None else Finding(**{**finding, "index": tuple(finding["index"])})
    )
