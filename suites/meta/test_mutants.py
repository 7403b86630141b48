"""Every planted fault is found, and the report says by which check.

`python -m pytest suites/meta/test_mutants.py -rA` prints one line for each fault. The checks are the suites' own, on
the cases the suites draw.
"""

from __future__ import annotations

import functools
import itertools

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from harness.backends import load
from harness.case import BOX_RULES, DIRECTIONS, HALVES, SINGLE_AND_DOUBLE, Case, Direction
from harness.judge import Status, judge, run, side_effect
from harness.mutants import FAULTS, Fault
from harness.strategies import cases

# Of the cases that one run of Hypothesis draws many are variations of a few, so that now and then all of them miss a
# fault. Whether they do changes with every line of the project, whose constants it draws too: a fault gets more turns.
TURNS, CASES = 16, 300


@functools.cache
def drawn(image_dtypes: tuple[str, ...], turn: int) -> tuple[Case, ...]:
    """The cases that the strategies draw in one turn."""
    found: list[Case] = []

    @seed(turn)
    @settings(
        max_examples=CASES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(box_rules=BOX_RULES, image_dtypes=image_dtypes))
    def draw(case: Case) -> None:
        found.append(case)

    draw()
    return tuple(found)


def killed_by(fault: Fault, direction: Direction) -> str | None:
    """The check that finds the fault in a direction, and at which case; None if it survives them all."""
    backend = fault.backend
    every_case = itertools.chain.from_iterable(drawn(fault.image_dtypes, turn) for turn in range(TURNS))
    for number, case in enumerate(every_case):
        inputs = case.inputs()
        if backend.refuses(inputs, direction):
            continue
        got = run(backend, inputs, direction)
        verdict = judge(case.inputs(), direction, got, order_a=True)
        if not verdict.passed:
            return f"judge, {verdict.status.name}, at case {number}"
        effect = side_effect(backend, case, direction)
        if effect:
            return f"side effect at case {number}: {effect}"
    return None


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_fault_is_killed(fault: Fault) -> None:
    """In every direction in which it shows."""
    for direction in fault.directions:
        check = killed_by(fault, direction)
        assert check is not None, (
            f"{fault.name} ({fault.why}) survives {TURNS * CASES} cases in {direction}: a check is missing, or the "
            "strategies no longer draw what shows it."
        )
        print(f"{fault.name:24} {direction:12} {check}")


def test_a_fault_can_be_asked_for_by_name() -> None:
    """So that `pytest suites/ --backend fault:NAME` shows what the whole suite makes of it."""
    assert all(load(fault.backend.name) is fault.backend for fault in FAULTS)
    with pytest.raises(ValueError, match="There is no backend 'fault:nope'"):
        load("fault:nope")


@pytest.mark.parametrize("image_dtypes", [SINGLE_AND_DOUBLE, HALVES], ids=["single and double", "halves"])
def test_the_reference_survives(image_dtypes: tuple[str, ...]) -> None:
    """The checks kill faults and nothing else."""
    reference = load("reference")
    for case in drawn(image_dtypes, 0)[::3]:
        for direction in DIRECTIONS:
            verdict = judge(case.inputs(), direction, run(reference, case.inputs(), direction), order_a=True)
            assert verdict.status in (Status.EXACT, Status.WITHIN), f"{case!r}: {verdict}"
            assert side_effect(reference, case, direction) is None, repr(case)


def test_at_least_fifteen_faults_of_different_names() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 15
