"""What a comparison times: this project's operators or a function on named workloads, as the benchmarks' turns."""

from __future__ import annotations

from collections.abc import Iterable

from harness.measuring import devices, foreign
from harness.measuring.columns import Column, Turn, turns, workloads_of
from harness.measuring.record import Record
from harness.measuring.workloads import WORKLOADS
from harness.operators import OPERATORS

# The quick ones; but real input is made by skimage or a network, which each of many processes would do again.
USUAL = tuple(workload.name for workload in WORKLOADS if workload.quick and not workload.real)
_OURS: tuple[Column, ...] = (Column("roi_align", "contiguous"), Column("roi_align", "channels_last"))


def rows(workloads: Iterable[str], function: str = "") -> dict[str, Turn]:
    """All rows of these workloads, each in the first of its operator's settings, by what a table calls it.

    function  somebody else's, as module:function: the rows that its sheet declares, a GPU's with a cold cache. The
              errors of foreign.apart.
    ValueError for a name that no workload has.
    """
    columns = dict.fromkeys(OPERATORS, _OURS)
    caches: tuple[str, ...] = ("warm",)
    if function:
        sheet = foreign.apart(function).sheet
        caches = devices.load(sheet.device.partition(":")[0]).caches[:1]
        columns = {sheet.operator: foreign.columns_of(function, sheet, series=sheet.operator == "crop_and_resize")}
    all_turns = turns(columns, caches, workloads_of(workloads), (0,), every_setting=False)
    return {name_of(turn.record()): turn for turn in all_turns}


def name_of(record: Record) -> str:
    """What a table calls a row."""
    dtype = "" if record.dtype == "float32" else f" {record.dtype}"
    return f"{record.bench} {record.workload} {record.direction} {record.layout}{dtype}"
