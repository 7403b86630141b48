"""A fuzz campaign: small tasks, each of which draws cases of one property and searches for a failing one.

A task is plain data with a seed of its own, so any process can run and repeat it: this one, or a worker of a cluster
(cluster.py). Its result is plain data too; totals.py accumulates it. (Hypothesis also draws constants of the loaded
modules: a seed reproduces its cases only with the same command on the same revision.)
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import Phase

from harness import properties
from harness.backends import is_foreign
from harness.faults import load
from harness.fuzzing.finds import Find
from harness.judging.isolation import isolated
from harness.operators.arrays import Direction
from harness.operators.drawing import effort
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName, Sheet
from harness.operators.verdict import Status, Verdict
from harness.properties import Question
from harness.properties.search import Failure, largest_fraction, search

# Cases per task: enough for target() to climb, few enough to take a second or two. Many short Hypothesis runs cover
# more than a long one, in which most cases are variations of a few.
EXAMPLES = 40
# The most calls for shrinking a failing case.
SHRINKS = 300
# Properties against the oracle run this many times as often as others, because they compare every value.
ORACLES_TURNS = 3
# A property that has failed in this many ways in a direction is retired: more failures would add little.
ENOUGH = 5


@dataclass(frozen=True)
class Task:
    """One run of Hypothesis.

    number      its number in the campaign.
    seed        Hypothesis's.
    examples    the number of cases to draw.
    """

    number: int
    backend: str
    operator: OperatorName
    property: str
    direction: Direction
    seed: int
    examples: int

    def __str__(self) -> str:
        return f"task {self.number} ({self.operator}, {self.property}, {self.direction}, seed {self.seed})"


@dataclass(frozen=True)
class Count:
    """A task's number of cases with images of one dtype; fraction: the largest fraction of a bound, or None."""

    dtype: str
    cases: int
    fraction: float | None


@dataclass(frozen=True)
class Catch:
    """A task's result: the number of cases run and refused, and the failing case, if any."""

    task: Task
    counts: tuple[Count, ...]
    refusals: int
    find: Find | None

    @property
    def cases(self) -> int:
        return sum(each.cases for each in self.counts)


@dataclass(frozen=True)
class LostTask:
    """A task without a result, and the reason as a sentence."""

    task: Task
    reason: str


@functools.cache
def backend_of(name: str, operator: OperatorName) -> Backend[Any]:
    """The backend of this name for all tasks of this process, isolated unless it cannot crash.

    Raises ValueError, MissingLibrary, Crash or Hang like harness.judging.isolation.isolated.
    """
    return (load if in_process(name) else isolated)(name, operator)


def in_process(name: str) -> bool:
    """Whether the backend runs in this process: the reference and its faults. Any compiled kernel may crash."""
    return not is_foreign(name) and (name == "reference" or name.startswith("fault:"))


def hunt(task: Task, tell: Callable[[Find], None]) -> Catch | LostTask:
    """Runs a task: draws its cases, checks each, and shrinks the first that fails.

    A LostTask if the judge itself failed: that is no find against the backend.
    tell: called with the first failure at once, before shrinking, so that it survives this process.
    """
    backend, property_ = backend_of(task.backend, task.operator), properties.find(task.property, task.operator)

    def find(failure: Failure) -> Find:
        status, reason = failure.verdict.status.value, failure.verdict.reason + failure.remark
        line = repr(failure.case)
        return Find(
            task.operator, task.property, task.direction, line, status, reason, task.backend, backend.title
        )  # fmt: skip

    finding = search(
        property_, backend, task.direction, effort(task.examples, Phase.generate, Phase.target, Phase.shrink),
        seed=task.seed, shrinks=SHRINKS,
        tell=lambda failure: None if failure.verdict.status is Status.JUDGE else tell(find(failure)),
    )  # fmt: skip
    if finding.failure is not None and finding.failure.verdict.status is Status.JUDGE:
        return LostTask(task, f"{finding.failure.verdict.reason} The case: {finding.failure.case!r}")
    verdicts: dict[str, list[Verdict]] = defaultdict(list)
    for case, verdict in finding.verdicts:
        verdicts[case.image_dtype].append(verdict)
    counts = tuple(Count(dtype, len(of), largest_fraction(of)) for dtype, of in sorted(verdicts.items()))
    return Catch(task, counts, len(finding.refusals), None if finding.failure is None else find(finding.failure))


def catches(schedule: Schedule, tell: Callable[[int, Find], None]) -> Generator[Catch | LostTask]:
    """The result of each of the schedule's tasks, run in this process; tell as in cluster.catches."""
    while (task := schedule.next()) is not None:
        catch = hunt(task, functools.partial(tell, task.number))
        schedule.record_result(catch)
        yield catch


class Schedule:
    """The order of tasks: operators take turns, and so do each operator's properties and directions.

    cases     the number of cases per operator; None for no limit.
    is_over   whether the campaign's time is up.
    """

    def __init__(
        self,
        backend: str,
        sheets: dict[OperatorName, Sheet],
        seed: int,
        cases: int | None,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self.backend, self.seed, self.cases, self.is_over = backend, seed, cases, is_over
        self.numbers = itertools.count()
        self.sheets = sheets
        self.turns = {operator: _turns(sheet) for operator, sheet in sheets.items()}
        self.done: Counter[OperatorName] = Counter()
        self.planned: Counter[OperatorName] = Counter()
        # For each property and direction, the names of its finds and of its lost tasks.
        self.ways: dict[Question, set[str]] = defaultdict(set)
        self.silent: set[Question] = set()
        self.last = ""

    def next(self) -> Task | None:
        """The next task; None if there is none, possibly only until running tasks finish."""
        unfinished = [operator for operator in self.turns if self._wants(operator)]
        if self.is_over() or not unfinished:
            return None
        # In the order of the table, starting after the operator of the last turn.
        operators = list(self.turns)
        after = operators.index(self.last) + 1 if self.last in operators else 0
        operator = next(each for each in (*operators[after:], *operators[:after]) if each in unfinished)
        self.last = operator
        property_, direction = next(turn for turn in self.turns[operator][1] if not self._is_enough(turn))
        number = next(self.numbers)
        examples = property_.examples(EXAMPLES, self.sheets[operator])
        self.planned[operator] += examples
        return Task(number, self.backend, operator, property_.name, direction, _seed(self.seed, number), examples)

    def record_result(self, result: Catch | LostTask) -> None:
        """Records the result of a finished task."""
        task = result.task
        turn = properties.find(task.property, task.operator), task.direction
        self.planned[task.operator] -= task.examples
        if isinstance(result, LostTask):
            self.ways[turn].add(str(task))
            return
        self.done[task.operator] += result.cases
        if result.find is not None:
            self.ways[turn].add(result.find.file_name())
        if not result.cases:
            self.silent.add(turn)  # the backend refuses all its cases

    def _wants(self, operator: OperatorName) -> bool:
        if all(map(self._is_enough, self.turns[operator][0])):
            return False
        return self.cases is None or self.done[operator] + self.planned[operator] < self.cases

    def _is_enough(self, turn: Question) -> bool:
        return turn in self.silent or len(self.ways[turn]) >= ENOUGH


def _turns(sheet: Sheet) -> tuple[list[Question], Iterator[Question]]:
    """The questions that the sheet declares, and their endless order."""
    turns = [
        (property_, direction)
        for property_, direction in properties.questions(sheet.operator)
        if property_.undeclared(sheet, direction) is None
    ]
    oracles = [turn for turn in turns if turn[0].is_oracles]
    return turns, itertools.cycle([*turns, *oracles * (ORACLES_TURNS - 1)])


def _seed(campaign: int, number: int) -> int:
    """A task's own seed, from the campaign's seed and the task's number only."""
    return int.from_bytes(hashlib.sha256(f"{campaign}/{number}".encode()).digest()[:8], "big")
