"""What users' own code gains: a pyramid in one call, and detectors whose poolers are replaced, beside torchvision's."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.measuring.results import OURS
from harness.report import tags
from harness.report.names import CACHES, CALLS, peer
from harness.report.tables.table import Table, milliseconds

_CAPTIONS = {
    "multiscale_roi_align": "a pyramid's boxes in one call",
    "detector": "torchvision's detectors with its own poolers, and with this project's in their place",
}
# A detector's settings in words.
_PARTS = {"whole": "", "poolers": ", its poolers alone"}


def before_after(table: pd.DataFrame, device: str) -> list[Table]:
    """For each subject that is no operator: per call the peer's time and ours, and how many times as fast ours is."""
    of_subject = {str(name): part for name, part in table.groupby("subject", sort=False)}
    tables = (
        _table(of_subject[name], f"{device}: {caption}") for name, caption in _CAPTIONS.items() if name in of_subject
    )
    return [each for each in tables if each is not None]


def _table(part: pd.DataFrame, caption: str) -> Table | None:
    rows, of_rows, messages = [], [], []
    for (workload, setting, direction, cache), lines in part.groupby(
        ["workload", "setting", "direction", "cache"], sort=False
    ):
        before = lines[lines.backend == lines.peer]
        for after in lines[lines.backend != lines.peer].itertuples():
            if before.empty or not np.isfinite([before.median_s.iloc[0], after.median_s]).all():
                continue
            what = f"{workload}{_PARTS.get(str(setting), f', {setting}')}, {CALLS[str(direction)].lower()}"
            call = f"{what}{CACHES[str(cache)]}"
            rows.append((call, _spread(before.iloc[0]), _spread(after), f"{after.ratio_to_peer:.2f}x"))
            of_rows.append({"direction": str(direction)})
            if after.message:
                messages.append(f" {workload}: {after.message}.")
    if not rows:
        return None
    header = ("", *(f"{name}, ms (p05 to p95; calls)" for name in (peer(part), OURS["roi_align"])), "times as fast")
    remark = f". Compared before:{''.join(dict.fromkeys(messages))}" if messages else ""
    return Table(f"{caption}: median times{remark}", header, tuple(rows), tags.of(part), row_tags=tuple(of_rows))


def _spread(line: pd.Series) -> str:
    low, high = milliseconds(line.p05_s), milliseconds(line.p95_s)
    return f"{milliseconds(line.median_s)} ({low} to {high}; {int(line.samples)})"
