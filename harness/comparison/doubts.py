"""What makes the times of a comparison doubtful, whoever measured them, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.comparison.verdicts import Decision, Medians
from harness.conditions import SPREAD

_FEWER_THREADS = "stop that work, or set OMP_NUM_THREADS to the number of cores that it leaves free."


def is_interrupted(interruptions: float, calls: int) -> bool:
    """Whether a median call was interrupted: one in two. NaN interruptions are those that nobody counted."""
    return 2 * interruptions >= calls


def doubted(decisions: Sequence[Decision], interrupted: Sequence[str]) -> list[Decision]:
    """The decisions, none of them SAME on rows that the scheduler has timed: it hides what the kernels do, steadily."""
    reason = f"The median call was interrupted by other work, which takes as long on both sides: {_FEWER_THREADS}"
    return [
        replace(each, verdict="AMBIGUOUS", reason=reason)
        if each.verdict == "SAME" and each.row in interrupted
        else each
        for each in decisions
    ]


def warnings(medians: Mapping[str, Medians], interrupted: Sequence[str]) -> list[str]:
    """Sentences about the rows that were interrupted, and about those whose processes are far apart on one side."""
    said = []
    if interrupted:
        said.append(
            f"In {len(interrupted)} of {len(medians)} rows the median call was interrupted by other work "
            f"({interrupted[0]}, for one): {_FEWER_THREADS}"
        )
    spreads = {
        row: max((max(side) - min(side)) / float(np.median(side)) for side in sides) for row, sides in medians.items()
    }
    wide = [row for row, spread in spreads.items() if spread > SPREAD]
    if wide:
        widest = max(spreads, key=lambda row: spreads[row])
        said.append(
            f"In {len(wide)} of {len(spreads)} rows the processes of one side are more than {SPREAD:.0%} apart "
            f"(most in {widest}: {spreads[widest]:.0%}). Small differences cannot be seen so: have more "
            "--processes, or a machine to yourself with a fixed clock rate."
        )
    return said
