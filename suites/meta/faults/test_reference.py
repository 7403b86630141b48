"""A check of the suites kills every planted fault, and the report names the check.

`python -m harness mutants` computes the whole matrix; here the checks run until one kills the fault.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from harness.conformance import kills
from harness.faults import FAULTS, load
from harness.faults.fault import Fault
from harness.operators import OPERATORS
from harness.operators.arrays import SINGLE_AND_DOUBLE
from harness.operators.sheet import OperatorName

REFERENCE = load("reference")
HONEST = Fault("none", "the reference itself", ("forward",), REFERENCE)

# The only check that can find these faults: all others, on few boxes, would cost minutes before it.
ONLY_CHECK = {
    f"{prefix}{name}": "long list" for name in ("first_1024_boxes", "sixteen_bit_boxes") for prefix in ("", "roi_")
}
SOME_CHECKS = ("within_bound_normalized_boxes", "within_bound_mode_avg", "no_side_effect", "permuted_boxes")


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_fault_is_killed(fault: Fault) -> None:
    """In every direction and mode in which it shows."""
    for showing in kills.showings(fault):
        killer = kills.first_killer(fault, showing, ONLY_CHECK.get(fault.name, ""))
        assert killer is not None, (
            f"{fault.name} ({fault.why}) survives all checks in {showing.name}: a check is missing, or the strategies "
            "no longer draw what shows it."
        )
        print(f"{fault.name:24} {killer.direction:16} {killer.check}, case {killer.cases}: {killer.detail[:80]}")


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_reference_survives(operator: OperatorName) -> None:
    """The checks kill faults and nothing else."""
    reference = load("reference", operator)
    for direction in reference.sheet.directions:
        plain = Fault("none", "the reference itself", (direction,), reference, SINGLE_AND_DOUBLE, ("avg",))
        (showing,) = kills.showings(plain)
        for check in showing.checks():
            if check.slug in SOME_CHECKS:
                attempt = kills.attempt(plain, showing, check, 0)
                assert attempt.outcome == "survived", attempt


def test_every_fault_loads_by_its_name() -> None:
    """So that `pytest suites/ --backend fault:NAME` runs the whole suite on it."""
    assert all(load(fault.backend.name, fault.operator) is fault.backend for fault in FAULTS)
    for operator in OPERATORS:
        with pytest.raises(ValueError, match="There is no backend 'fault:nope'"):
            load("fault:nope", operator)


def test_faults_have_names_of_their_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 60


def test_a_fault_without_effect_survives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A fault that changes nothing survives, and the report says so: a check that kills it would be broken."""
    monkeypatch.setattr(kills, "CASES", 4)
    monkeypatch.setattr(kills, "TURNS", 1)
    attempts = kills.row(replace(HONEST, name="equivalent"))
    assert kills.survivors(attempts) == [("equivalent", "forward")]
    assert {each.outcome for each in attempts} <= {"survived", "not asked"}
    kills.write(attempts, tmp_path / "mutants.csv")
    with (tmp_path / "mutants.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["check"] for line in lines] == [each.check for each in attempts]
    assert {line["first"] for line in lines} == {"False"}


def test_the_first_killer_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kills, "CASES", 10)
    fault = next(each for each in FAULTS if each.name == "swapped_axes")
    attempts = kills.row(replace(fault, directions=("forward",)))
    first = [each for each in attempts if each.first]
    assert [each.outcome for each in first] == ["killed"]
    assert sum(each.outcome == "killed" for each in attempts) > 3
    assert kills.survivors(attempts) == []
