"""Matches the rows of two stored runs and decides on each pair.

The rule is the one for two revisions (verdicts.py): each process counts as one number per row. But the processes of two
stored runs did not take turns, and there is no rerun: the machine may have changed in between. A comparison therefore
starts with the known changes, and with the change in the times of code outside this project.

Between a CPU and a GPU the same operator has different names; a CPU's only cache state and default allocator are paired
with a GPU's cold cache and only allocator.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from statistics import geometric_mean
from typing import Any

import numpy as np
import pandas as pd

from harness.comparison import verdicts
from harness.comparison.side_by_side import SIDES, hide_doubtful_same
from harness.comparison.stored import Run
from harness.comparison.verdicts import LIMITS, PROCESSES, Decision, Medians
from harness.measuring import conditions, fingerprint, results
from harness.measuring.columns import ON_THE_CPU

# Together these columns identify a row; the replacements apply to a GPU's rows when compared with a CPU's.
_IDENTITY = [
    "allocator", "bench", "setting", "workload", "op", "direction", "backend", "dtype", "layout", "cache",
]  # fmt: skip
_AS_ON_A_CPU = {"backend": ON_THE_CPU, "cache": {"cold": "warm"}, "allocator": {"cuda": "default"}}
# Values that a row's name omits because most rows have them.
_USUAL = {"dtype": ("float32",), "cache": ("warm",), "allocator": ("default", "cuda")}
# The status of rows that have no time only because the run's time was up.
_NO_TURN = "NO_TIME"

IN_TURNS = (
    "Stored runs were measured one after the other and not in turns, and no SLOW is confirmed by a rerun: the machine "
    "may have changed between them. `python -m harness compare REVISION REVISION` times both side by side."
)


@dataclass(frozen=True)
class Pairs:
    """Two runs, row by row.

    medians       seconds by row, one median per process, for rows that can be compared.
    own           the rows of this project's backends among them.
    lacking       for each side, the rows that only the other side has.
    untimed       for rows on both sides without a time: the reason, by row and side.
    worse         this project's rows with a time in the base and none in the new run, because the result is wrong.
    other_inputs  rows whose inputs differ: their times are not compared.
    other_bits    rows whose results passed on both sides but differ in some bit.
    interrupted   rows whose median call was interrupted by other work, on one side at least.
    threads       the two sides' numbers of threads by row, where they differ.
    """

    medians: dict[str, Medians]
    own: frozenset[str]
    lacking: dict[str, list[str]]
    untimed: dict[tuple[str, str], str]
    worse: tuple[str, ...]
    other_inputs: tuple[str, ...]
    other_bits: tuple[str, ...]
    interrupted: tuple[str, ...]
    threads: dict[str, tuple[object, object]]


@dataclass(frozen=True)
class _Side:
    """One run's side of a row: `problem` is its status and message if it has no time, `status` only the status."""

    name: str
    own: bool
    medians: list[float]
    status: str
    problem: str
    inputs: tuple[object, object]
    digest: object
    threads: object
    interrupted: bool


def pair(base: Run, new: Run, workloads: Collection[str] = ()) -> Pairs:
    """Pairs the rows of two runs, restricted to `workloads` if given; ValueError for a workload that neither run
    has."""
    names = set(base.blocks.workload) | set(new.blocks.workload)
    for name in workloads:
        if name not in names:
            raise ValueError(f"Neither run has a workload {name!r}; there are {', '.join(sorted(names))}.")
    across = results.device_type(base.device) != results.device_type(new.device)
    of_base, of_new = (_rows(each, across, workloads or names) for each in (base, new))
    busy = [conditions.is_crowded(run.machine["conditions"], int(run.machine.get("cores", 1))) for run in (base, new)]
    both = [(of_base[row], of_new[row]) for row in of_base if row in of_new]
    comparable = [(one, two) for one, two in both if not one.problem and not two.problem]
    alike = [(one, two) for one, two in comparable if not _differ(one.inputs, two.inputs)]
    return Pairs(
        medians={one.name: (one.medians, two.medians) for one, two in alike},
        own=frozenset(one.name for one, _ in alike if one.own),
        lacking={
            side: [each.name for row, each in there.items() if row not in here]
            for side, here, there in zip(SIDES, (of_base, of_new), (of_new, of_base), strict=True)
        },
        untimed={
            (each.name, side): each.problem
            for sides in both
            for side, each in zip(SIDES, sides, strict=True)
            if each.problem
        },
        worse=tuple(
            one.name for one, two in both if one.own and not one.problem and two.problem and two.status != _NO_TURN
        ),
        other_inputs=tuple(one.name for one, two in comparable if _differ(one.inputs, two.inputs)),
        other_bits=tuple(one.name for one, two in alike if _differ((one.digest,), (two.digest,))),
        interrupted=tuple(
            sides[0].name
            for sides in alike
            if any(each.interrupted and full for each, full in zip(sides, busy, strict=True))
        ),
        threads={one.name: (one.threads, two.threads) for one, two in alike if _differ((one.threads,), (two.threads,))},
    )


def decide(pairs: Pairs) -> list[Decision]:
    """The decision on each row; UNCLEAR and SLOW rows get advice that fits stored runs."""
    processes = max(PROCESSES, verdicts.least_processes(max(1, len(pairs.medians))))
    advice = (
        f" A run of more processes is `python -m harness bench --processes {processes}`; --workload has fewer rows."
    )
    suffix_by_verdict = {"UNCLEAR": advice, "SLOW": " No rerun has confirmed it."}
    decisions = hide_doubtful_same(verdicts.decide(pairs.medians), pairs.interrupted)
    return [replace(each, reason=each.reason + suffix_by_verdict.get(each.verdict, "")) for each in decisions]


def changes(base: Run, new: Run) -> list[str]:
    """The known changes between two runs other than the revision, e.g. "torch 2.11.0 -> 2.12.0"."""
    return fingerprint.changes(base.machine, new.machine)


def warnings(base: Run, new: Run, pairs: Pairs) -> list[str]:
    """Sentences on what makes these figures doubtful, and on what to do about it."""
    sentences = [IN_TURNS]
    if changes(base, new):
        sentences.append("The machine or its software is not the same on both sides: a difference may be theirs alone.")
    if pairs.threads:
        row, (before, after) = next(iter(pairs.threads.items()))
        sentences.append(
            f"{len(pairs.threads)} rows were measured with other numbers of threads ({row}: {before} -> {after}): "
            "set OMP_NUM_THREADS to the same number for both runs."
        )
    sentences += _of_others(pairs) if base.device == new.device else []
    for side, run in zip(SIDES, (base, new), strict=True):
        rows = results.throughput(run.blocks)
        sentences += [f"{side}: {each}" for each in conditions.warnings_of(run.machine, rows)]
    return sentences


def _of_others(pairs: Pairs) -> list[str]:
    """A warning if code outside this project got slower or faster, which points to the machine."""
    others = [sides for row, sides in pairs.medians.items() if row not in pairs.own]
    if not others:
        return []
    ratio = geometric_mean(float(np.median(new) / np.median(base)) for base, new in others)
    if not verdicts.beyond(ratio, LIMITS.effect):
        return []
    return [
        f"Others' backends, which no change of this project's code touches, took {ratio:.3f} times as long (geometric "
        f"mean of {len(others)} rows): so much may be the machine's in every row."
    ]


def _rows(run: Run, across: bool, workloads: Collection[str]) -> dict[tuple[Any, ...], _Side]:
    """One run's rows by their identity, which both runs share."""
    blocks = run.blocks[run.blocks.workload.isin(workloads)]
    own = blocks.backend.isin(results.OURS)
    if across and results.device_type(run.device) == "cuda":
        blocks = blocks.replace(_AS_ON_A_CPU)
    groups = blocks.assign(own=own).groupby(_IDENTITY, sort=False, dropna=False)
    return {identity: _side(group) for identity, group in groups}


def _side(group: pd.DataFrame) -> _Side:
    first = group.iloc[0]
    failures = group[group.samples.map(len) == 0]
    status = "" if failures.empty else str(failures.iloc[0].status)
    # One failed process or block is enough: wrong results have no time.
    message = "" if failures.empty else f"{status}: {failures.iloc[0].message or 'it has no time'}"
    return _Side(
        name=_name(first),
        own=bool(first.own),
        medians=results.process_medians(group) if failures.empty else [],
        status=status,
        problem=message,
        inputs=(first.inputs_digest, first.boxes),
        digest=first.digest,
        threads=first.threads,
        interrupted=2 * float(group.interruptions.astype(float).sum(min_count=1)) >= group.samples.map(len).sum(),
    )


def _name(row: pd.Series) -> str:
    """The row's name in the output."""
    operator = row.op if row.op == row.bench else f"{row.op} in {row.bench}"
    words = (operator, row.setting, row.workload, row.direction, row.backend, row.layout)
    usual = (str(row[column]) for column, values in _USUAL.items() if row[column] not in values)
    return ", ".join([" ".join(word for word in words if word), *usual])


def _differ(one: Sequence[object], other: Sequence[object]) -> bool:
    """Whether two rows differ in a value that both have; old files may lack some."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if not pd.isna([a, b]).any()]
    return any(a != b for a, b in pairs)
