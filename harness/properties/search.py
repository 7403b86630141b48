"""The one search: Hypothesis draws cases of a property until a backend fails one, then shrinks that case.

The suite, the matrix, the fuzzer and the kill runs search with different effort but the same meaning of a failure and
of the case to report. Crashes, hangs and failures that do not repeat never end the caller.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import Phase
from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase
from hypothesis.errors import Flaky

from harness.operators import AnyCase
from harness.operators.arrays import Direction
from harness.operators.implementation import Backend
from harness.operators.verdict import Status, Verdict
from harness.properties import Property


@dataclass(frozen=True)
class Failure:
    """A case that failed; repeats: whether a second call failed in the same way."""

    case: AnyCase
    verdict: Verdict
    repeats: bool = True

    @property
    def remark(self) -> str:
        """A note to append to the verdict of a failure that does not repeat, else ""."""
        return "" if self.repeats else " (Asked again it did not fail in this way: not every call shows it.)"


@dataclass(frozen=True)
class Finding:
    """The result of a search; NOTHING is an empty one.

    trials   the drawn cases up to the first failing one, each with its verdict, or None if it was skipped.
    failure  the smallest failing case, None if no case failed.
    """

    trials: tuple[tuple[AnyCase, Verdict | None], ...]
    failure: Failure | None

    @property
    def verdicts(self) -> list[tuple[AnyCase, Verdict]]:
        return [(case, verdict) for case, verdict in self.trials if verdict is not None]

    @property
    def refusals(self) -> list[AnyCase]:
        return [case for case, verdict in self.trials if verdict is None]


NOTHING = Finding((), None)


def largest_fraction(verdicts: Iterable[Verdict]) -> float | None:
    """The largest fraction of a bound over all passing results, None if nothing was judged by a bound."""
    return max((each.fraction for each in verdicts if each.passed and each.compared), default=None)


# When a failure depends on earlier calls, at most so many of them are tried for removal, one after another.
_MOST_EARLIER = 32


class _FailureSignal(AssertionError):
    """For Hypothesis: this case fails."""


class _Enough(BaseException):
    """Ends a Hypothesis run that would take minutes; a BaseException, because Hypothesis lets those pass."""


def _own_database(settings: hypothesis.settings, name: str) -> ExampleDatabase | None:
    """The settings' database, if it is a folder the part of it for one search: Hypothesis files examples by the test
    function, which is the same for all, and forgets those that do not fail here."""
    database = settings.database
    if not isinstance(database, DirectoryBasedExampleDatabase):
        return database
    return DirectoryBasedExampleDatabase(Path(database.path) / re.sub(r"\W+", "_", name))


def search(
    property_: Property,
    backend: Backend[Any],
    direction: Direction,
    settings: hypothesis.settings,
    *,
    seed: int | None = None,
    shrinks: float = math.inf,
    final: tuple[Status, ...] = (Status.CRASH, Status.HANG),
    fails: Callable[[Verdict], bool] = lambda verdict: not verdict.passed,
    tell: Callable[[Failure], None] = lambda failure: None,
) -> Finding:
    """Searches for a violation of a property in one direction; hypothesis.errors.Unsatisfiable if there are no cases.

    settings  the number of cases and the phases; Phase.target steers towards the largest fraction of a bound.
    seed      determines the cases; None leaves that to the settings.
    shrinks   the most calls for shrinking.
    final     statuses that are not shrunk: each attempt would take as long, or restart a process.
    fails     whether a verdict is a failure.
    tell      called with the first failure before shrinking, so that it survives this process.
    """
    trials: list[tuple[AnyCase, Verdict | None]] = []
    failures: list[Failure] = []
    budget = shrinks

    def ask(case: AnyCase) -> None:
        nonlocal budget
        if failures:
            if budget <= 0:
                raise _Enough
            budget -= 1
        verdict = property_.holds(backend, case, direction)
        if not failures:
            trials.append((case, verdict))
        if verdict is None:
            return
        if not failures and verdict.passed and verdict.compared:
            hypothesis.target(verdict.fraction, label="fraction of the bound")
        # Shrinking must not turn one kind of failure into another.
        if not fails(verdict) or (failures and verdict.status is not failures[0].verdict.status):
            return
        failures.append(Failure(case, verdict))
        if len(failures) == 1:
            tell(failures[0])
        if verdict.status in final:
            raise _Enough
        raise _FailureSignal

    run: Callable[[], None] = hypothesis.settings(
        settings,
        report_multiple_bugs=False,
        phases=[each for each in settings.phases if each is not Phase.explain],
        database=_own_database(settings, f"{property_.operator}-{property_.slug}-{direction}-{backend.name}"),
    )(hypothesis.given(case=property_.cases(backend.sheet))(ask))
    if seed is not None:
        run = hypothesis.seed(seed)(run)
    repeats = True
    try:
        run()
    except Flaky:
        repeats = False
    except (_Enough, _FailureSignal):
        pass
    # Hypothesis keeps smaller failing cases and repeats the smallest at the end, so it is the last.
    return Finding(tuple(trials), replace(failures[-1], repeats=repeats) if failures else None)


def earlier_calls(
    finding: Finding, property_: Property, backend: Backend[Any], direction: Direction
) -> tuple[AnyCase, ...] | None:
    """The earlier cases that a fresh process needs to reproduce the failure, None if no number of them suffices.

    The shortest sufficient suffix of the earlier cases, minimised. A backend in this process cannot restart: it has
    none.
    """
    failure = finding.failure
    if failure is None or failure.verdict.status is Status.HANG:
        return ()

    def fails_after(cases: Sequence[AnyCase]) -> bool:
        backend.restart()
        for case in cases:
            property_.holds(backend, case, direction)
        verdict = property_.holds(backend, failure.case, direction)
        return verdict is not None and not verdict.passed

    cases = [case for case, _ in finding.trials]
    candidates = ([], *(cases[-(2**k) :] for k in range(len(cases).bit_length() + 1)))
    earlier = next((each for each in candidates if fails_after(each)), None)
    if earlier is None:
        return None
    for case in earlier[:_MOST_EARLIER]:
        without = [each for each in earlier if each is not case]
        if fails_after(without):
            earlier = without
    return tuple(earlier)


def among(cases: Iterable[AnyCase], property_: Property, backend: Backend[Any], direction: Direction) -> Finding:
    """Like `search`, on given cases (for many backends in turn); stops at the first failure, without shrinking."""
    trials: list[tuple[AnyCase, Verdict | None]] = []
    for case in cases:
        verdict = property_.holds(backend, case, direction)
        trials.append((case, verdict))
        if verdict is not None and not verdict.passed:
            return Finding(tuple(trials), Failure(case, verdict))
    return Finding(tuple(trials), None)
