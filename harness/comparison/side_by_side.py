"""Measures two sides on one machine: fresh processes in ABBA order, with the state of the machine meanwhile.

Drift (a warming machine, a neighbour that starts) hits both sides equally if they take turns, and in ABBA order the
second process of a pair belongs to each side equally often. A process judges its results before it times them: the
first process of each side against the oracle, later ones by the digests of the first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import repository
from harness.comparison import verdicts
from harness.comparison.revisions import BUILD
from harness.comparison.rows import name_of
from harness.comparison.timing import Order
from harness.comparison.verdicts import Decision
from harness.measuring import conditions, foreign, gate
from harness.measuring.devices import cpu
from harness.measuring.record import Record
from harness.repository import ROOT

SIDES = ("base", "new")
SCHEMA = 4  # whose answers are rows of measuring/record.py, and whose sides may be functions


class FailedProcess(Exception):
    """A measuring process ended without an answer; the message contains its output."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    title  for a reader.
    at     the folder with its package, or a function as module:function.
    about  the fields that are stored with the results.
    """

    title: str
    at: Path | str
    about: dict[str, str]


@dataclass(frozen=True)
class Round:
    """One round of processes.

    answers  for each side, the rows of each of its processes.
    order    the sides in the order of their processes.
    conditions  the machine's states: [{"before", "after"}], see harness/measuring/conditions.py.
    copy_gbps  what a copy of this machine reads and writes, for the record: dividing by it would add its own noise.
    """

    answers: dict[str, list[list[Record]]]
    order: list[str]
    conditions: list[dict[str, Any]]
    copy_gbps: float

    def medians(self) -> dict[str, verdicts.Medians]:
        """Seconds by row, one median per process, for rows that every process has timed."""
        without = {row for row, _ in self.problems()}
        base, new = (self._by_row(side) for side in SIDES)
        return {row: (base[row], new[row]) for row in base if row not in without}

    def problems(self) -> dict[tuple[str, str], str]:
        """Why a row has no time, by row and side; the first process's reason."""
        reasons: dict[tuple[str, str], str] = {}
        for side in SIDES:
            for each in (one for answer in self.answers[side] for one in answer if not one.samples):
                reasons.setdefault((name_of(each), side), each.message or each.status)
        return reasons

    def lost(self) -> list[str]:
        """The rows that have a time on the base side only: the new side no longer computes them right."""
        problems = self.problems()
        return [row for row, side in problems if side == "new" and (row, "base") not in problems]

    def other_bits(self) -> list[str]:
        """The rows whose results passed on both sides but differ in some bit."""
        base, new = ({name_of(each): each.digest for each in self.answers[side][0]} for side in SIDES)
        return [row for row in self.medians() if base[row] != new[row]]

    def interrupted(self) -> list[str]:
        """The rows in which, on one side at least, the median call was interrupted by other work.

        Empty if no other process used the cores: then a process interrupts itself.
        """
        rows: list[str] = []
        if not conditions.is_crowded(self.conditions, _cores()):
            return rows
        for row in self.medians():
            for side in SIDES:
                of_row = [each for answer in self.answers[side] for each in answer if name_of(each) == row]
                calls = sum(len(each.samples) for each in of_row)
                if 2 * sum(each.interruptions or 0 for each in of_row) >= calls and row not in rows:
                    rows.append(row)
        return rows

    def warnings(self) -> list[str]:
        """Sentences on what makes these figures doubtful, and on what to do about it."""
        spreads = [
            (row, max((max(side) - min(side)) / float(np.median(side)) for side in sides))
            for row, sides in self.medians().items()
        ]
        return [
            *conditions.of_machine(self.conditions, _cores()),
            *conditions.of_rows(self.interrupted(), spreads),
        ]

    def _by_row(self, side: str) -> dict[str, list[float]]:
        medians: dict[str, list[float]] = {}
        for each in (one for answer in self.answers[side] for one in answer if one.samples):
            medians.setdefault(name_of(each), []).append(float(np.median(each.samples)))
        return medians


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def sides_in_order(processes: int) -> list[str]:
    """ABBA: base, new, new, base and so on, `processes` of each side."""
    return [side for pair in range(processes) for side in (SIDES if pair % 2 == 0 else SIDES[::-1])]


def measure(at: Mapping[str, Path | str], rows: Sequence[str], processes: int, tell: Callable[[str], None]) -> Round:
    """Runs one round; calls `tell(side)` when a process of that side is done. FailedProcess if one has no answer.

    at: Side.at for each side. KeyboardInterrupt ends the running process.
    """
    answers: dict[str, list[list[Record]]] = {side: [] for side in SIDES}
    gates: dict[str, dict[str, Any]] = {side: {} for side in SIDES}
    order = sides_in_order(processes)
    before = conditions.state()
    with tempfile.TemporaryDirectory() as scratch, cpu.pinned():
        for side in order:
            function = at[side] if isinstance(at[side], str) else ""
            origin = "" if function else str(at[side])
            request = Order(list(rows), gates[side], origin, str(Path(scratch) / "answer.json"), str(function))
            answer = _answer(request, Path(scratch))
            answers[side].append(answer)
            answer_gates = {name_of(each): asdict(gate.stored_in(each)) for each in answer if each.samples}
            gates[side] = gates[side] or answer_gates
            tell(side)
    states = [{"before": before, "after": conditions.state()}]
    return Round(answers, order, states, cpu.copy_gbps())


def decide(first: Round, again: Callable[[list[str]], Round]) -> tuple[list[Decision], Round | None]:
    """The decisions on a round, after a rerun of its SLOW rows, and that rerun (None without one)."""
    decisions = hide_doubtful_same(verdicts.decide(first.medians()), first.interrupted())
    slow = [each.row for each in decisions if each.verdict == "SLOW"]
    if not slow:
        return decisions, None
    rerun = again(slow)
    second = {each.row: each for each in verdicts.decide(rerun.medians())}
    return [verdicts.after_rerun(each, second.get(each.row)) if each.row in slow else each for each in decisions], rerun


def hide_doubtful_same(decisions: Sequence[Decision], interrupted: Sequence[str]) -> list[Decision]:
    """The decisions with SAME replaced by UNCLEAR on interrupted rows: scheduling delays hide differences steadily."""
    reason = (
        f"The median call was interrupted by other work, which takes as long on both sides: {conditions.FEWER_THREADS}"
    )
    return [
        replace(each, verdict="UNCLEAR", reason=reason) if each.verdict == "SAME" and each.row in interrupted else each
        for each in decisions
    ]


def store(sides: Sequence[Side], rounds: Sequence[Round], decisions: Sequence[Decision]) -> Path:
    """Writes all measurements and decisions, raw samples included, under build/compare/runs."""
    now = repository.stamp()
    record = {
        "schema": SCHEMA,
        "run": now,
        "machine": cpu.describe(),
        "sides": {side: of.about for side, of in zip(SIDES, sides, strict=True)},
        "rounds": [asdict(each) for each in rounds],
        "decisions": [asdict(each) for each in decisions],
    }
    path = BUILD / "runs" / f"{now}.json"
    repository.replace(path, json.dumps(record, indent=1))
    return path


def _answer(order: Order, scratch: Path) -> list[Record]:
    """Runs one process and returns its rows."""
    path, output = scratch / "order.json", Path(order.output)
    repository.replace(path, json.dumps(asdict(order)))
    output.unlink(missing_ok=True)
    # The default allocator, as users have it, and the same number of threads in every process.
    environment = {key: value for key, value in os.environ.items() if key not in cpu.TUNED_ALLOCATOR}
    environment |= {"OMP_NUM_THREADS": str(cpu.threads()), "PYTHONPATH": order.origin or foreign.path()}
    command = [sys.executable, "-m", "harness.comparison.timing", str(path)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as child:
        try:
            text, _ = child.communicate()
        except BaseException:
            child.terminate()
            child.wait()
            raise
    if child.returncode != 0 or not output.exists():
        tail = "\n".join(text.splitlines()[-15:])
        raise FailedProcess(
            f"A process that timed {order.function or order.origin} ended with {child.returncode}. "
            f"Its last lines:\n{tail}"
        )
    return [
        Record(**{**row, "samples": tuple(row["samples"])}) for row in json.loads(output.read_text(encoding="utf-8"))
    ]
