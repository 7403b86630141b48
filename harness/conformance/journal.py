"""The answers of a run of the matrix as they come, so that a run which was stopped can be gone on with.

A line is written for each answer, and the file goes when the run is done. Its first line says what was asked: answers
on other cases are not the answers of this run.
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
    """The journal of a run whose rows go into a table: beside it."""
    return table.with_name(f"{table.stem}.stopped.jsonl")


def key(examples: int, seed: int) -> dict[str, int | str]:
    """What answers have to be of to be those of one run."""
    return {"examples": examples, "seed": seed, "harness": sources()}


def begin(path: Path, of: dict[str, int | str], replies: list[Answer]) -> None:
    """An empty journal, or one with the answers of a run that is gone on with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(of) + "\n", encoding="utf-8")
    for each in replies:
        add(path, each)


def add(path: Path, answer: Answer) -> None:
    """Writes one more answer."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(answer)) + "\n")


def read(path: Path, of: dict[str, int | str]) -> list[Answer]:
    """The answers of the run that was stopped; ValueError, in a sentence, if there is none of these cases."""
    if not path.exists():
        raise ValueError(f"There is no run to go on with: {path} is not there. Begin one without --resume.")
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    before = json.loads(first)
    if different := [name for name, value in of.items() if before.get(name) != value]:
        raise ValueError(
            f"The run that was stopped had another {' and another '.join(different)}; begin a new one without --resume."
        )
    return [_answer(line) for line in lines if line.endswith("}")]  # the last may have been cut


def _answer(line: str) -> Answer:
    entry = json.loads(line)
    finding = entry["finding"]
    return Answer(
        Cell(**entry["cell"]), None if finding is None else Finding(**{**finding, "index": tuple(finding["index"])})
    )
