"""What a verdict is worth: whole comparisons of made-up processes, whose noise and whose difference are known.

`python -m harness.comparison.simulation` prints the figures that docs/comparing.md quotes. A run-to-run noise of 1 % is
that of a quiet machine; on another one the chance of a false alarm stays, for ranks do not see the size of noise, and
what is missed grows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.comparison.verdicts import LIMITS, PROCESSES, Thresholds, alarms
from harness.operators.arrays import Array


@dataclass(frozen=True)
class Setting:
    """rows in a comparison, processes a side, and by how much their medians scatter (log-normal, as a part)."""

    rows: int = 60
    processes: int = PROCESSES
    noise: float = 0.01


@dataclass(frozen=True)
class Figures:
    """Parts of the simulated comparisons.

    false   unchanged ones that raise any alarm, in either direction, before a rerun: FAST has none.
    found   those with a step in one row that say SLOW of it, and once more in the rerun.
    """

    false_alarms: float
    detections: float


def simulate(setting: Setting, step: float, comparisons: int, seed: int, rule: Thresholds = LIMITS) -> Figures:
    """The figures of so many unchanged comparisons, and of as many with one row slower by `step` (0.03 is 3 %)."""
    random = np.random.default_rng(seed)

    def medians(rows: int) -> Array:
        samples: Array = np.exp(random.normal(0, setting.noise, (comparisons, rows, setting.processes)))
        return samples

    flags = alarms(medians(setting.rows), medians(setting.rows), rule)
    slower = np.ones(setting.rows)
    slower[0] += step
    first = alarms(medians(setting.rows), medians(setting.rows) * slower[:, None], rule)[:, 0] == 1
    # The rerun is a comparison of this row alone, as long as no other was SLOW too.
    again = alarms(medians(1), medians(1) * (1 + step), rule)[:, 0] == 1
    return Figures(float(np.mean((flags != 0).any(axis=-1))), float(np.mean(first & again)))


if __name__ == "__main__":
    quiet = Setting()
    print(
        f"{quiet.rows} rows, {quiet.processes} processes a side, noise {quiet.noise:.0%}, a step of {LIMITS.step:.0%}"
    )
    print(simulate(quiet, LIMITS.step, 4000, seed=0))
