"""A fuzz campaign: small tasks, each of which draws cases of one property and looks for one that fails.

A task is plain data with a seed of its own, so that any process can have it, and have it again: here, or on a worker of
a cluster (cluster.py). What came of it is plain data too; haul.py keeps it. (Hypothesis also draws constants of the
modules that are loaded: the same seed gives the same cases to the same command on the same revision.)
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings, target
from hypothesis.errors import Flaky

from harness import properties
from harness.backends import is_foreign
from harness.faults import load
from harness.fuzzing.finds import Find
from harness.judging.isolation import isolated
from harness.operators import AnyCase
from harness.operators.arrays import Direction
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName, Sheet
from harness.operators.verdict import Status, Verdict
from harness.properties import Property

# Cases that one task draws: enough for target() to climb, few enough for a task to take a second or two. Many short
# runs of Hypothesis see more than one long one, in which most cases are variations of a few.
EXAMPLES, FEWEST = 40, 5
# Calls that may be spent on making a failing case smaller.
SHRINKS = 300
# The oracle's properties come this many times as often as others: they compare every value.
ORACLES_TURNS = 3
# A property that has failed in a direction in this many ways is asked no more: a further one would hardly tell more.
ENOUGH = 5


@dataclass(frozen=True)
class Task:
    """One run of Hypothesis.

    number      its place in the campaign.
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
class Row:
    """What a task has asked of images of one dtype; fraction is the largest part of a bound used, None without one."""

    dtype: str
    cases: int
    fraction: float | None


@dataclass(frozen=True)
class Catch:
    """What came of a task: the cases asked, those that the backend was not asked for, and the failing case, if any."""

    task: Task
    rows: tuple[Row, ...]
    refused: int
    find: Find | None

    @property
    def cases(self) -> int:
        return sum(row.cases for row in self.rows)


@dataclass(frozen=True)
class Lost:
    """A task of which nothing came, and why, in a sentence."""

    task: Task
    reason: str


_Turn = tuple[Property, Direction]


@functools.cache
def kept(name: str, operator: OperatorName) -> Backend[Any]:
    """The backend of that name for all of this process's tasks, in a process of its own unless it cannot end one.

    ValueError, MissingLibrary, Crashed or Hung as harness.judging.isolation.isolated.
    """
    return (load if in_process(name) else isolated)(name, operator)


def in_process(name: str) -> bool:
    """Whether this is the reference, or a fault planted in it. A compiled kernel may end its process, ours too."""
    return not is_foreign(name) and (name == "reference" or name.startswith("fault:"))


# One class for each kind of failure: Hypothesis then does not turn one into another while it makes a case smaller.
_FAILED: dict[Status, type[AssertionError]] = {
    status: type(f"Failed{status.name.title()}", (AssertionError,), {}) for status in Status
}


class _SmallEnough(BaseException):
    """Ends a run of Hypothesis, which would go on for minutes: it lets pass what is no Exception."""


def hunt(task: Task, told: Callable[[Find], None]) -> Catch:
    """Draws the task's cases, asks for each, and makes the first that fails as small as it gets.

    told: called with that first one at once, before it is made smaller, so that it outlives whoever hunts.
    """
    backend, stated = kept(task.backend, task.operator), properties.find(task.property, task.operator)
    asked: Counter[str] = Counter()
    fractions: dict[str, float] = {}
    failed: dict[str, Verdict] = {}
    refused, shrinks, smallest = 0, 0, ""

    def find(line: str, more: str = "") -> Find:
        verdict = failed[line]
        return Find(
            task.operator,
            task.property,
            task.direction,
            line,
            verdict.status.value,
            verdict.reason + more,
            task.backend,
            backend.title,
        )

    def passed(line: str, verdict: Verdict) -> None:
        nonlocal smallest
        if not verdict.passed:
            smallest, failed[line] = line, verdict
            if verdict.status is Status.HANG:
                raise _SmallEnough  # each try to make it smaller would take as long again
            raise _FAILED[verdict.status]()

    @seed(task.seed)
    @settings(
        max_examples=task.examples,
        phases=[Phase.generate, Phase.target, Phase.shrink],
        database=None,
        deadline=None,
        derandomize=False,
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=stated.cases(backend.sheet))
    def holds(case: AnyCase) -> None:
        nonlocal refused, shrinks
        line = repr(case)
        if not failed:
            verdict = stated.holds(backend, case, task.direction)
            if verdict is None:
                refused += 1
                return
            dtype = case.image_dtype
            asked[dtype] += 1
            if verdict.passed and verdict.compared:
                fractions[dtype] = max(fractions.get(dtype, 0.0), verdict.fraction)
                target(verdict.fraction, label="fraction of the bound")
            if not verdict.passed:
                failed[line] = verdict
                told(find(line))
            passed(line, verdict)
        elif shrinks == SHRINKS:
            raise _SmallEnough
        else:
            shrinks += 1
            verdict = stated.holds(backend, case, task.direction)
            if verdict is not None:
                passed(line, verdict)

    sometimes = ""
    try:
        holds()
    except _SmallEnough:
        pass
    except tuple(_FAILED.values()):
        pass
    except Flaky:
        sometimes = " (Asked again it did not fail in this way: not every call shows it.)"
    rows = tuple(Row(dtype, asked[dtype], fractions.get(dtype)) for dtype in sorted(asked))
    return Catch(task, rows, refused, find(smallest, sometimes) if smallest else None)


def catches(schedule: Schedule, told: Callable[[int, Find], None]) -> Generator[Catch | Lost]:
    """What comes of the schedule's tasks, hunted in this process; told as in cluster.catches."""
    while (task := schedule.next()) is not None:
        catch = hunt(task, functools.partial(told, task.number))
        schedule.returned(catch)
        yield catch


class Schedule:
    """Which task comes next: operators take turns, and each operator's properties and directions do.

    cases     for each operator the number of cases after which it has had its share; None for no such end.
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
        self.turns = {operator: _turns(sheet) for operator, sheet in sheets.items()}
        self.done: Counter[OperatorName] = Counter()
        self.planned: Counter[OperatorName] = Counter()
        # Of each property and direction the names of its finds and of the tasks that were lost.
        self.ways: dict[_Turn, set[str]] = defaultdict(set)
        self.silent: set[_Turn] = set()
        self.last = ""

    def next(self) -> Task | None:
        """The next task; None if there is none, for now or for good: what is under way may leave room for more."""
        wanting = [operator for operator in self.turns if self._wants(operator)]
        if self.is_over() or not wanting:
            return None
        # In the order of the table, after the one that had the last turn.
        operators = list(self.turns)
        after = operators.index(self.last) + 1 if self.last in operators else 0
        operator = next(each for each in (*operators[after:], *operators[:after]) if each in wanting)
        self.last = operator
        stated, direction = next(turn for turn in self.turns[operator][1] if not self._is_enough(turn))
        number = next(self.numbers)
        examples = max(FEWEST, EXAMPLES // stated.share)
        self.planned[operator] += examples
        return Task(number, self.backend, operator, stated.name, direction, _seed(self.seed, number), examples)

    def returned(self, what: Catch | Lost) -> None:
        """To be told when a task is done."""
        task = what.task
        turn = properties.find(task.property, task.operator), task.direction
        self.planned[task.operator] -= task.examples
        if isinstance(what, Lost):
            self.ways[turn].add(str(task))
            return
        self.done[task.operator] += what.cases
        if what.find is not None:
            self.ways[turn].add(what.find.file_name())
        if not what.cases:
            self.silent.add(turn)  # the backend avoids it

    def _wants(self, operator: OperatorName) -> bool:
        if all(map(self._is_enough, self.turns[operator][0])):
            return False
        return self.cases is None or self.done[operator] + self.planned[operator] < self.cases

    def _is_enough(self, turn: _Turn) -> bool:
        return turn in self.silent or len(self.ways[turn]) >= ENOUGH


def _turns(sheet: Sheet) -> tuple[list[_Turn], Iterator[_Turn]]:
    """What the sheet declares, and the endless order in which it is asked for."""
    turns = [
        (stated, direction)
        for stated in properties.all_properties()
        if stated.operator == sheet.operator
        for direction in stated.directions
        if stated.undeclared(sheet, direction) is None
    ]
    oracles = [turn for turn in turns if turn[0].is_oracles]
    return turns, itertools.cycle([*turns, *oracles * (ORACLES_TURNS - 1)])


def _seed(campaign: int, number: int) -> int:
    """A task's own seed: of the campaign's and its place alone."""
    return int.from_bytes(hashlib.sha256(f"{campaign}/{number}".encode()).digest()[:8], "big")
