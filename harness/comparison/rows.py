"""The rows of a comparison: this project's operators, or a function, on named workloads, as the benchmarks' turns."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from harness.measuring import devices, foreign
from harness.measuring.columns import Column, Turn, turns, workloads_of
from harness.measuring.record import Record
from harness.measuring.workloads import WORKLOADS
from harness.operators import OPERATORS

# The quick workloads, without those of real input, which every process would have to compute again.
USUAL = tuple(workload.name for workload in WORKLOADS if workload.quick and not workload.real)
# All settings of the operators.
SETTINGS = tuple(setting for operator in OPERATORS.values() for setting in operator.settings)
_OURS: tuple[Column, ...] = (Column("roi_align", "contiguous"), Column("roi_align", "channels_last"))


def rows(workloads: Iterable[str], function: str = "", settings: Collection[str] = ()) -> dict[str, Turn]:
    """All rows of these workloads by name.

    settings  only these of the operators' settings, such as "maximum"; () for the first of each operator.
    function  a function outside this project, as module:function: gives the rows that its sheet declares, on a GPU with
              a cold cache. Raises the errors of foreign.apart.
    ValueError for a name that no workload has, and for a setting that no operator has.
    """
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        raise ValueError(f"There is no setting {unknown[0]!r}; there are {', '.join(filter(None, SETTINGS))}.")
    columns = dict.fromkeys(OPERATORS, _OURS)
    caches: tuple[str, ...] = ("warm",)
    if function:
        sheet = foreign.apart(function).sheet
        caches = devices.load(sheet.device.partition(":")[0]).caches[:1]
        columns = {sheet.operator: foreign.columns_of(function, sheet, series=sheet.operator == "crop_and_resize")}
    all_turns = turns(columns, caches, workloads_of(workloads), (0,))
    return {
        name_of(turn.record()): turn for turn in all_turns if turn.setting in (settings or turn.operator.settings[:1])
    }


def name_of(record: Record) -> str:
    """A row's name in tables."""
    dtype = "" if record.dtype == "float32" else f" {record.dtype}"
    setting = f" {record.setting}" if record.setting else ""
    return f"{record.bench}{setting} {record.workload} {record.direction} {record.layout}{dtype}"
