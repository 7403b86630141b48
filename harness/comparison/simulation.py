"""The error rates of the verdicts, from simulated comparisons with known noise and known differences.

`python -m harness.comparison.simulation` prints the figures that docs/comparing.md quotes. A run-to-run noise of 1 % is
typical of a quiet machine. On a noisier one false alarms stay as rare, because ranks do not depend on the size of
noise, but more differences are missed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.comparison.verdicts import LIMITS, PROCESSES, Thresholds, alarms
from harness.operators.arrays import Array


@dataclass(frozen=True)
class Setting:
    """Rows in a comparison, processes per side, and the relative noise of their medians (log-normal)."""

    rows: int = 60
    processes: int = PROCESSES
    noise: float = 0.01


@dataclass(frozen=True)
class Figures:
    """Fractions of the simulated comparisons.

    false_alarms  unchanged comparisons with any alarm, in either direction, before a rerun (FAST has no rerun).
    detections    comparisons with a step in one row that report it as SLOW, and again in the rerun.
    """

    false_alarms: float
    detections: float


def simulate(setting: Setting, step: float, comparisons: int, seed: int, rule: Thresholds = LIMITS) -> Figures:
    """The figures for `comparisons` unchanged comparisons, and as many with one row slower by `step` (0.03 is 3 %)."""
    random = np.random.default_rng(seed)

    def medians(rows: int) -> Array:
        samples: Array = np.exp(random.normal(0, setting.noise, (comparisons, rows, setting.processes)))
        return samples

    flags = alarms(medians(setting.rows), medians(setting.rows), rule)
    slower = np.ones(setting.rows)
    slower[0] += step
    first = alarms(medians(setting.rows), medians(setting.rows) * slower[:, None], rule)[:, 0] == 1
    # The rerun compares this row alone, assuming no other was SLOW.
    again = alarms(medians(1), medians(1) * (1 + step), rule)[:, 0] == 1
    return Figures(float(np.mean((flags != 0).any(axis=-1))), float(np.mean(first & again)))


if __name__ == "__main__":
    quiet = Setting()
    print(
        f"{quiet.rows} rows, {quiet.processes} processes a side, noise {quiet.noise:.0%}, a step of {LIMITS.step:.0%}"
    )
    print(simulate(quiet, LIMITS.step, 4000, seed=0))
