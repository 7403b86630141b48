"""One search: Hypothesis draws cases of a property until a backend fails one, and then makes that one smaller.

The suite, the matrix, the fuzzer and the kill runs ask for more or less of it, and mean the same by it: what counts as
a failure and which case is reported. No crash, hang or failure that does not show each time ends the caller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import hypothesis
from hypothesis import Phase
from hypothesis.errors import Flaky

from harness.operators import AnyCase
from harness.operators.arrays import Direction
from harness.operators.implementation import Backend
from harness.operators.verdict import Status, Verdict
from harness.properties import Property


@dataclass(frozen=True)
class Failure:
    """A case that failed; repeats: whether it failed in the same way when it was asked again."""

    case: AnyCase
    verdict: Verdict
    repeats: bool = True

    @property
    def remark(self) -> str:
        """What a reader of the verdict has to know of a failure that does not show each time, or ""."""
        return "" if self.repeats else " (Asked again it did not fail in this way: not every call shows it.)"


@dataclass(frozen=True)
class Finding:
    """The result of a search; NOTHING is that of none.

    trials   the drawn cases up to the first that fails, each with its verdict, None where the backend was not asked.
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
    """The largest part of a bound that a passing result used, None if nothing was judged by a bound."""
    return max((each.fraction for each in verdicts if each.passed and each.compared), default=None)


# So many earlier calls are tried without, one after another, when a failure depends on them.
_MOST_EARLIER = 32


class _FailureSignal(AssertionError):
    """For Hypothesis: this case fails."""


class _Enough(BaseException):
    """Ends a run of Hypothesis, which would go on for minutes: it lets pass what is no Exception."""


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
    """Asks a backend for a property in one direction; hypothesis.errors.Unsatisfiable if there are no cases.

    settings  how many cases are drawn, and in which phases; with Phase.target towards what uses most of a bound.
    seed      the same one draws the same cases; None leaves it to the settings.
    shrinks   calls that may be spent on smaller cases.
    final     failures that are not made smaller: each try would take as long, or start a process again.
    fails     whether a verdict is a failure.
    tell      called with the first failure at once, before it is made smaller, so that it outlives this process.
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
        # One failure is not turned into another while its case is made smaller.
        if not fails(verdict) or (failures and verdict.status is not failures[0].verdict.status):
            return
        failures.append(Failure(case, verdict))
        if len(failures) == 1:
            tell(failures[0])
        if verdict.status in final:
            raise _Enough
        raise _FailureSignal

    run: Callable[[], None] = hypothesis.settings(
        settings, report_multiple_bugs=False, phases=[each for each in settings.phases if each is not Phase.explain]
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
    # Hypothesis takes over what fails and is smaller, and asks the smallest again at the end: it is the last.
    return Finding(tuple(trials), replace(failures[-1], repeats=repeats) if failures else None)


def earlier_calls(
    finding: Finding, property_: Property, backend: Backend[Any], direction: Direction
) -> tuple[AnyCase, ...] | None:
    """The cases to be asked before the failing one for it to fail in a fresh process, None if these are not enough.

    They are the last that were asked, as few as do. A backend in this process cannot be begun again: it has none.
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
    """The same on cases that are drawn already, for many backends in turn; the first failure ends it."""
    trials: list[tuple[AnyCase, Verdict | None]] = []
    for case in cases:
        verdict = property_.holds(backend, case, direction)
        trials.append((case, verdict))
        if verdict is not None and not verdict.passed:
            return Finding(tuple(trials), Failure(case, verdict))
    return Finding(tuple(trials), None)
