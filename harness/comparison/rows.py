"""What a comparison times: this project's operators on named workloads, as the turns that the benchmarks take."""

from __future__ import annotations

from collections.abc import Iterable

from harness.measuring.columns import Column, Turn, named, turns
from harness.measuring.record import Record
from harness.measuring.workloads import WORKLOADS
from harness.operators import OPERATORS

# The quick ones; but real input is made by skimage or a network, which each of many processes would do again.
USUAL = tuple(workload.name for workload in WORKLOADS if workload.quick and not workload.real)
_OURS = (Column("roi_align", "contiguous"), Column("roi_align", "channels_last"))


def rows(workloads: Iterable[str]) -> dict[str, Turn]:
    """All rows of these workloads, each in the first of its operator's settings, by what a table calls it.

    ValueError for a name that no workload has.
    """
    made = turns(dict.fromkeys(OPERATORS, _OURS), ("warm",), named(workloads), (0,), every_setting=False)
    return {name_of(turn.record()): turn for turn in made}


def name_of(record: Record) -> str:
    """What a table calls a row."""
    return f"{record.bench} {record.workload} {record.direction} {record.layout}"
