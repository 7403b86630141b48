"""The conditions of each verdict, and the error rates of verdicts on noise of a known size.

Nothing is timed: medians are made up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from harness.comparison import verdicts
from harness.comparison.simulation import Setting, simulate
from harness.comparison.verdicts import Decision, Thresholds
from suites.meta.comparison.quiet_medians import AGAIN, QUIET


def decide(new: Sequence[float], base: Sequence[float] = QUIET, others: int = 0) -> Decision:
    """The decision on a row among `count` unchanged others."""
    decisions = verdicts.decide({"row": (base, new), **{f"other {place}": (QUIET, AGAIN) for place in range(others)}})
    assert [each.verdict for each in decisions[1:]] == ["SAME"] * others
    return decisions[0]


def test_equal_medians_are_the_same():
    decision = decide(AGAIN)
    assert decision.verdict == "SAME"
    assert decision.interval[0] < 1 < decision.interval[1]


@pytest.mark.parametrize(("factor", "verdict"), [(1.05, "SLOW"), (1 / 1.05, "FAST")])
def test_a_change_of_five_percent_is_detected_among_sixty_rows(factor, verdict):
    decision = decide(AGAIN * factor, others=59)
    assert decision.verdict == verdict
    assert decision.ratio == pytest.approx(factor, rel=1e-3)
    assert decision.interval[0] < factor < decision.interval[1]
    assert min(decision.p_slow, decision.p_fast) == pytest.approx(1 / math.comb(20, 10))


def test_a_certain_but_small_effect_is_the_same():
    steady = 1e-3 * (1 + 1e-6 * np.arange(10))
    decision = decide(steady * 1.01, steady)
    assert decision.verdict == "SAME"
    assert "1.0% slower: certain" in decision.reason


def test_an_effect_that_may_be_luck_is_unclear():
    noisy = 1e-3 * np.exp(10 * np.log(QUIET / 1e-3))
    decision = decide(noisy * 1.03, noisy)
    assert decision.verdict == "UNCLEAR"
    assert "more processes" in decision.reason


def test_noise_that_could_hide_a_step_is_unclear():
    noisy = 1e-3 * np.exp(10 * np.log(QUIET / 1e-3))
    decision = decide(noisy * 1.0001, noisy)
    assert decision.verdict == "UNCLEAR"
    assert "leaves room" in decision.reason


def test_too_few_processes_are_unclear_and_the_reason_names_how_many_it_takes():
    decision = decide(AGAIN[:3] * 2, QUIET[:3])
    assert decision.verdict == "UNCLEAR"
    assert "3 processes a side" in decision.reason
    assert "have 4 or more" in decision.reason
    assert verdicts.least_processes(1) == 4
    assert verdicts.decide({"row": ([1.0], [])})[0].verdict == "UNCLEAR"
    # With the stated number of processes an alarm is possible, with one fewer it is not.
    for rows_of, can_alarm in ((verdicts.least_processes(60), True), (verdicts.least_processes(60) - 1, False)):
        slow = np.stack([np.linspace(2, 2.01, rows_of)] + [np.linspace(1, 1.01, rows_of) + 1e-5] * 59)
        assert bool(verdicts.alarms(np.stack([np.linspace(1, 1.01, rows_of)] * 60), slow)[0]) == can_alarm


def test_a_median_that_is_not_a_time_raises_an_error():
    with pytest.raises(ValueError, match="row has a median that is not a time"):
        verdicts.decide({"row": ([0.0], [1.0])})


def test_holm_gives_holms_p_values():
    # The steps by hand: 4 * 0.01, 3 * 0.02, 2 * 0.03 (no less than the one before), 1 * 0.5.
    assert verdicts.holm(np.array([0.03, 0.01, 0.5, 0.02])) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert verdicts.holm(np.array([0.9, 0.8])).max() == 1


def test_alarms_and_decisions_agree():
    """The simulation and the verb use one rule."""
    random = np.random.default_rng(3)
    base, new = np.exp(random.normal(0, 0.01, (2, 40, 10)))
    new *= np.exp(random.uniform(-0.05, 0.05, (40, 1)))
    flags = verdicts.alarms(base, new)
    decisions = verdicts.decide({str(row): (base[row], new[row]) for row in range(40)})
    assert {each.verdict for each in decisions} >= {"SLOW", "FAST", "SAME"}
    assert [{"SLOW": 1, "FAST": -1}.get(each.verdict, 0) for each in decisions] == list(flags)


def test_a_slow_row_is_only_slow_if_its_rerun_is():
    slow, same = decide(AGAIN * 1.05), decide(AGAIN)
    assert verdicts.after_rerun(slow, slow).verdict == "SLOW"
    assert verdicts.after_rerun(slow, same).verdict == "UNCLEAR"
    assert verdicts.after_rerun(slow, None).verdict == "UNCLEAR"


def test_verdicts_on_quiet_machines_keep_their_error_rates():
    figures = simulate(Setting(rows=60, processes=10, noise=0.01), step=0.03, comparisons=1500, seed=1)
    assert figures.false_alarms < 0.02
    assert figures.detections > 0.95


def test_the_simulation_detects_a_loose_rule(monkeypatch):
    setting = Setting(rows=60, processes=10, noise=0.01)
    monkeypatch.setattr(verdicts, "holm", lambda p_values: p_values)
    assert simulate(setting, 0.03, 200, 1, Thresholds(effect=0.0)).false_alarms > 0.9


def test_the_simulation_detects_too_few_processes():
    assert simulate(Setting(rows=60, processes=4, noise=0.01), 0.03, 200, 1).detections == 0


# Made-up answers of processes.
