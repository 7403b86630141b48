"""The tables of roi_align, of its pyramids, and of detectors with it: beside torchvision, whose rule it is."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.report.tables import times as tables
from harness.report.tables.times import CALLS, DIRECTIONS, Table, about, column, column_marks, milliseconds, names

# What is timed of a detector, as a reader is told.
_PARTS = {"whole": "", "poolers": ", its poolers alone"}


def settings(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of roi_align itself by setting, in the order of the run."""
    rows = table[(table.bench == "roi_align") & (table.op == "roi_align")]
    return [part for _, part in rows.groupby("setting", sort=False)]


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with their setting in the workload's name, for tables that show all settings."""
    settings = [f", {setting}" if setting else "" for setting in table.setting]
    named: pd.DataFrame = table.assign(workload=table.workload + settings)
    return named


def means(table: pd.DataFrame, device: str) -> Table | None:
    """Per setting and direction the geometric mean of how many times as fast as torchvision each column is."""
    parts = settings(table)
    compared = [part[part.ratio_to_peer.notna() & (part.backend != part.peer)] for part in parts]
    if not any(len(part) for part in compared):
        return None
    every = pd.concat(compared)
    rows, of_rows = [], []
    for part in compared:
        for direction, name in DIRECTIONS.items():
            lines = part[part.direction == direction]
            if len(lines):
                each = (lines[(lines.backend == one) & (lines.layout == two)] for one, two in tables.columns(every))
                # A peer may refuse a workload in one setting and not in another.
                told = f"{name}, {part.setting.iloc[0]}, {lines.workload.nunique()} workloads"
                rows.append((told, *(tables.mean(of) for of in each)))
                of_rows.append({"direction": direction})
    caption = (
        f"{device}: roi_align, times as fast as {tables.peer(every)} in the same run, geometric means (least, most)"
    )
    of_columns = column_marks(tables.columns(every))
    return Table(caption, ("", *names(every)), tuple(rows), about(every), of_columns, tuple(of_rows))


def pyramids(table: pd.DataFrame, device: str) -> Table | None:
    """A pyramid in one call, before and after."""
    part = table[(table.bench == "roi_align") & (table.op != "roi_align")]
    return _before_and_after(part, f"{device}: a pyramid's boxes in one call")


def detectors(table: pd.DataFrame, device: str) -> Table | None:
    """torchvision's detectors with its own poolers and with this project's, before and after."""
    part = table[table.bench == "detectors"]
    caption = f"{device}: torchvision's detectors with its own poolers, and with this project's in their place"
    return _before_and_after(part, caption)


def _before_and_after(part: pd.DataFrame, caption: str) -> Table | None:
    """Per call the peer's median time and ours, how far samples spread, and how many times as fast ours is."""
    rows, of_rows, told = [], [], []
    for (workload, setting, direction), lines in part.groupby(["workload", "setting", "direction"], sort=False):
        before = lines[lines.backend == lines.peer]
        for after in lines[lines.backend != lines.peer].itertuples():
            if before.empty or not np.isfinite([before.median_s.iloc[0], after.median_s]).all():
                continue
            call = f"{workload}{_PARTS.get(str(setting), f', {setting}')}, {CALLS[str(direction)].lower()}"
            rows.append((call, _spread(before.iloc[0]), _spread(after), f"{after.ratio_to_peer:.2f}x"))
            of_rows.append({"direction": str(direction)})
            if after.message:
                told.append(f" {workload}: {after.message}.")
    if not rows:
        return None
    ours = column("roi_align", "contiguous").partition(",")[0]
    peer = tables.peer(part)
    header = ("", f"{peer}, ms (p05 to p95; calls)", f"{ours}, ms (p05 to p95; calls)", "times as fast")
    compared = f". Compared before:{''.join(dict.fromkeys(told))}" if told else ""
    return Table(f"{caption}: median times{compared}", header, tuple(rows), about(part), row_marks=tuple(of_rows))


def _spread(line: pd.Series) -> str:
    low, high = milliseconds(line.p05_s), milliseconds(line.p95_s)
    return f"{milliseconds(line.median_s)} ({low} to {high}; {int(line.samples)})"
