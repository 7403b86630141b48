"""The search: its counts, the failing case that it reports, and its end.

The properties here are about integers: a number is a case, with an obvious order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase, InMemoryExampleDatabase

from harness.backends import load
from harness.operators.drawing import draw_cases, effort
from harness.operators.sheet import Sheet
from harness.operators.verdict import Status, Verdict
from harness.properties import Property
from harness.properties.search import Failure, among, largest_fraction, search

REFERENCE = load("reference")
SHRINKING = effort(100, Phase.generate, Phase.shrink)


class NumberProperty:
    """A property of numbers below a limit, which records every number."""

    def __init__(self, verdict_on: Callable[[int], Verdict | None], below: int = 10_000) -> None:
        self.numbers: list[int] = []

        def cases(sheet: Sheet) -> st.SearchStrategy[int]:
            return st.integers(0, below - 1)

        def check(_: object, number: int, direction: object) -> Verdict | None:
            self.numbers.append(number)
            return verdict_on(number)

        self.property = Property("numbers", "they are small", "crop_and_resize", ("forward",), cases, check)

    def search(self, settings: hypothesis.settings = SHRINKING, **options: Any) -> Any:
        return search(self.property, REFERENCE, "forward", settings, **{"seed": 0, **options})


def wrong_from(least: int, status: Status = Status.OUT) -> Callable[[int], Verdict]:
    """Passes below a number and fails from there on."""
    return lambda number: Verdict(status, reason=f"{number} is large") if number >= least else Verdict(Status.EXACT)


def test_every_case_is_run_and_counted_with_its_verdict() -> None:
    property_ = NumberProperty(
        lambda number: None if number % 3 == 0 else Verdict(Status.WITHIN, number / 10_000, compared=1)
    )
    finding = property_.search()
    assert finding.failure is None
    assert [case for case, _ in finding.trials] == property_.numbers
    assert len(property_.numbers) == 100
    assert finding.refusals == [number for number in property_.numbers if number % 3 == 0]
    assert [case for case, _ in finding.verdicts] == [number for number in property_.numbers if number % 3]
    assert (
        largest_fraction(verdict for _, verdict in finding.verdicts)
        == max(n for n in property_.numbers if n % 3) / 10_000
    )


def test_the_largest_fraction_is_that_of_passes_with_a_bound() -> None:
    exact, out = Verdict(Status.EXACT), Verdict(Status.OUT, 9.0, compared=1)
    assert largest_fraction([exact, out]) is None
    assert largest_fraction([exact, out, Verdict(Status.WITHIN, 0.25, compared=1)]) == 0.25


def test_the_smallest_failing_case_is_reported_and_trials_end_with_the_first() -> None:
    finding = NumberProperty(wrong_from(777)).search()
    assert (finding.failure.case, finding.failure.verdict.reason) == (777, "777 is large")
    *before, (first, verdict) = finding.trials
    assert all(number < 777 for number, _ in before)
    assert first >= 777
    assert verdict is not None
    assert not verdict.passed


def test_shrinking_keeps_the_kind_of_failure() -> None:
    """From 50 to 776 it fails in another way, with smaller cases."""
    property_ = NumberProperty(
        lambda number: wrong_from(777)(number) if number >= 777 else wrong_from(50, Status.ERROR)(number)
    )
    failures: list[Failure] = []
    failure = property_.search(tell=failures.append).failure
    assert failure.verdict.status is failures[0].verdict.status
    assert failure.case == {Status.OUT: 777, Status.ERROR: 50}[failure.verdict.status]


@pytest.mark.parametrize("calls", [0, 1, 5])
def test_shrinking_uses_at_most_the_given_number_of_calls(calls: int) -> None:
    property_ = NumberProperty(wrong_from(777))
    finding = property_.search(shrinks=calls)
    assert len(property_.numbers) == len(finding.trials) + calls
    assert finding.failure.case in property_.numbers[len(finding.trials) - 1 :]


def test_a_final_failure_is_not_shrunk() -> None:
    hangs: dict[str, Any] = {"final": (Status.HANG,)}
    for status, options, is_final in ((Status.HANG, {}, True), (Status.CRASH, {}, True), (Status.CRASH, hangs, False)):
        property_ = NumberProperty(wrong_from(777, status))
        finding = property_.search(**options)
        assert (len(property_.numbers) == len(finding.trials)) == is_final
        assert finding.failure.case == (property_.numbers[-1] if is_final else 777)
        assert finding.failure.verdict.status is status


def test_the_first_failure_is_reported_before_shrinking() -> None:
    property_ = NumberProperty(wrong_from(777))
    reports: list[tuple[Any, int]] = []
    finding = property_.search(tell=lambda failure: reports.append((failure.case, len(property_.numbers))))
    assert reports == [(finding.trials[-1][0], len(finding.trials))]


def test_the_callers_condition_decides_what_a_failure_is() -> None:
    finding = NumberProperty(wrong_from(50)).search(fails=lambda verdict: verdict.status is Status.CRASH)
    assert finding.failure is None
    assert len(finding.trials) == 100


def test_a_failure_that_does_not_repeat_is_marked() -> None:
    calls: list[int] = []

    def races(number: int) -> Verdict:
        calls.append(number)
        return Verdict(Status.OUT, reason="It raced.") if len(calls) == 4 else Verdict(Status.EXACT)

    finding = NumberProperty(races).search()
    failure = finding.failure
    assert (failure.case, failure.verdict.reason, failure.repeats) == (calls[3], "It raced.", False)
    assert NumberProperty(wrong_from(777)).search().failure.repeats


def test_the_seed_determines_the_cases() -> None:
    passing = [NumberProperty(lambda number: Verdict(Status.EXACT)) for _ in range(3)]
    for property_, seed in zip(passing, (7, 7, 8), strict=True):
        property_.search(seed=seed)
    assert passing[0].numbers == passing[1].numbers != passing[2].numbers


def test_a_failure_in_the_database_runs_first() -> None:
    settings = hypothesis.settings(max_examples=100, database=InMemoryExampleDatabase(), derandomize=False)
    first, again = (NumberProperty(wrong_from(777)).search(settings, seed=None) for _ in range(2))
    assert again.failure.case == first.failure.case == 777
    assert len(again.trials) == 1


def test_a_failure_is_remembered_although_another_property_holds(tmp_path: Path) -> None:
    settings = hypothesis.settings(
        max_examples=10_000, database=DirectoryBasedExampleDatabase(tmp_path), derandomize=False
    )
    wrong = Verdict(Status.OUT, reason="one of a thousand")
    rare = NumberProperty(lambda number: wrong if number % 1000 == 777 else Verdict(Status.EXACT))
    holding = NumberProperty(wrong_from(10_000))
    holding.property = replace(holding.property, name="other numbers")
    first = rare.search(settings, seed=None)
    assert first.failure.case % 1000 == 777
    assert holding.search(settings, seed=None).failure is None
    again = rare.search(settings, seed=None)
    assert again.failure.case == first.failure.case
    assert len(again.trials) == 1


def test_a_search_climbs_towards_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    targets: list[float] = []
    monkeypatch.setattr(hypothesis, "target", lambda value, label: targets.append(value))
    property_ = NumberProperty(lambda number: Verdict(Status.WITHIN, number / 10_000, compared=number % 2))
    property_.search()
    assert targets == [number / 10_000 for number in property_.numbers if number % 2]


def test_among_runs_cases_in_order_up_to_the_first_failure() -> None:
    cases: list[Any] = draw_cases(st.integers(0, 9999), 60, 3)
    assert cases == draw_cases(st.integers(0, 9999), 60, 3) != draw_cases(st.integers(0, 9999), 60, 4)
    assert len(cases) == 60
    property_ = NumberProperty(wrong_from(777))
    finding: Any = among(cases, property_.property, REFERENCE, "forward")
    first = next(at for at, number in enumerate(cases) if number >= 777)
    assert property_.numbers == cases[: first + 1]
    assert finding.failure.case == cases[first]
    assert among(cases[:first], property_.property, REFERENCE, "forward").failure is None
