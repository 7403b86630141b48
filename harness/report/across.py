"""What several devices say of the same workloads: this project's times side by side, and whether the bits agree."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pandas as pd

from harness.report.tables import DIRECTIONS, DTYPES, OURS, Table, column, milliseconds


def side_by_side(table: pd.DataFrame) -> Table | None:
    """Per workload and direction each device's best median time in float32, and the column that has it."""
    part = table[table.backend.isin(OURS) & (table.dtype == "float32") & (table.series == "") & table.median_s.notna()]
    # On a GPU what counts is the time on data that has to be fetched.
    part = part[part.cache != "hot"]
    devices = sorted(set(part.device))
    best = part.loc[part.groupby(["workload", "direction", "device"], sort=False).median_s.idxmin()]
    rows = []
    for direction, name in DIRECTIONS.items():
        for workload, lines in best[best.direction == direction].groupby("workload", sort=False):
            cells = {line.device: _time(line) for line in lines.itertuples()}
            if len(cells) > 1:
                rows.append((str(workload), name, *(cells.get(device, "") for device in devices)))
    caption = "Devices side by side: roi_align's best median time in float32, a GPU's with a cold cache"
    return Table(caption, ("workload", "direction", *devices), tuple(rows)) if rows else None


def _time(line: Any) -> str:
    return f"{milliseconds(line.median_s)} ms ({column(line.backend, line.layout).removeprefix('roi_align, ')})"


def agreement(table: pd.DataFrame) -> Table | None:
    """Per pair of devices, direction and type on how many workloads all digests of this project's results are equal.

    Only of results whose bits are promised: those that were compared with a reference. Where the machines were given
    other inputs, as their own convolutions make them, nothing can be said.
    """
    part = table[table.backend.isin(OURS) & (table.compared.fillna(0) > 0) & table.digest.notna()]
    rows = []
    for devices in combinations(sorted(set(part.device)), 2):
        for direction, name in DIRECTIONS.items():
            for dtype in DTYPES:
                lines = part[part.device.isin(devices) & (part.direction == direction) & (part.dtype == dtype)]
                workloads = lines.groupby("workload", sort=False)
                shared = workloads.device.nunique() == 2
                same = shared & (workloads.inputs_digest.nunique() <= 1)  # an old file does not say
                digests = workloads.digest.nunique()
                if shared.any():
                    told = (_names(same & (digests > 1)), _names(shared & ~same))
                    equal = f"{int((same & (digests == 1)).sum())}"
                    rows.append((", ".join(devices), f"{name}, {dtype}", equal, *told))
    header = ("devices", "result", "workloads with equal bits", "with other bits", "with other inputs")
    return Table("Whether devices agree in every bit", header, tuple(rows)) if rows else None


def _names(chosen: pd.Series) -> str:
    return ", ".join(str(name) for name in chosen.index[chosen]) or "none"
