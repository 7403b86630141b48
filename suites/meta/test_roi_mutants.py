"""Every fault planted in roi_align is found, by the judge, on the cases that the suites draw."""

from __future__ import annotations

import functools
import itertools

import pytest
from harness.roi_backends import load
from hypothesis import HealthCheck, Phase, given, seed, settings

from harness.case import DIRECTIONS, Direction
from harness.judge import Status
from harness.roi_case import MODES, Mode, RoiCase
from harness.roi_judge import judge
from harness.roi_mutants import FAULTS, RoiFault
from harness.roi_strategies import roi_cases
from harness.trial import run, side_effect

# As in test_mutants.py: a fault gets more turns than one.
TURNS, CASES = 16, 250


@functools.cache
def drawn(mode: Mode, turn: int) -> tuple[RoiCase, ...]:
    """The cases that the strategies draw in one turn."""
    found: list[RoiCase] = []

    @seed(turn)
    @settings(
        max_examples=CASES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(roi_cases(modes=[mode]))
    def draw(case: RoiCase) -> None:
        found.append(case)

    draw()
    return tuple(found)


def killed_by(fault: RoiFault, direction: Direction, mode: Mode) -> str | None:
    """At which case the judge finds the fault; None if it survives them all."""
    every_case = itertools.chain.from_iterable(drawn(mode, turn) for turn in range(TURNS))
    for number, case in enumerate(every_case):
        inputs = case.inputs()
        if fault.backend.refuses(inputs, direction):
            continue
        verdict = judge(case.inputs(), direction, run(fault.backend, inputs, direction), pinned=True)
        if not verdict.passed:
            return f"judge, {verdict.status.name}, at case {number}"
    return None


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_fault_is_killed(fault: RoiFault) -> None:
    """In every direction and mode in which it shows."""
    for direction, mode in itertools.product(fault.directions, fault.modes):
        check = killed_by(fault, direction, mode)
        assert check is not None, (
            f"{fault.name} ({fault.why}) survives {TURNS * CASES} cases in {direction}, mode {mode}: a check is "
            "missing, or the strategies no longer draw what shows it."
        )
        print(f"{fault.name:24} {direction:12} {mode} {check}")


@pytest.mark.parametrize("mode", MODES)
def test_the_reference_survives(mode: Mode) -> None:
    """The checks kill faults and nothing else."""
    reference = load("reference")
    for case in drawn(mode, 0)[::2]:
        for direction in DIRECTIONS:
            if reference.refuses(case.inputs(), direction):
                continue
            verdict = judge(case.inputs(), direction, run(reference, case.inputs(), direction), pinned=True)
            assert verdict.status in (Status.EXACT, Status.WITHIN, Status.AMBIGUOUS), f"{case!r}: {verdict}"
            assert side_effect(reference, case, direction) is None, repr(case)


def test_a_fault_can_be_asked_for_by_name() -> None:
    assert all(load(fault.backend.name) is fault.backend for fault in FAULTS)
    with pytest.raises(ValueError, match="no backend 'fault:nope'"):
        load("fault:nope")


def test_names_are_their_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 25
