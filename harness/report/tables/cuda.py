"""The tables of a GPU that put all its columns together: every layout and type, cold and hot.

Its peer is torchvision, which computes another rule, has no bfloat16 and no gradient of the boxes: there is no ratio
where it has no time. Launch-bound work stands apart: there everybody's time is a launch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from harness.report.tables.times import (
    CACHES,
    DIRECTIONS,
    DTYPES,
    LAUNCH_BOUND,
    OURS,
    Table,
    about,
    column,
    columns,
    geomean,
    mean,
    peer,
)


def means(table: pd.DataFrame, device: str) -> list[Table]:
    """Per column, direction and state of the cache how many times as fast as the peer: work first, launches apart."""
    part = table[(table.series == "") & table.ratio_to_peer.notna()]
    others = part[part.backend != part.peer]
    made = []
    for bound in (False, True):
        shown = others[others.launch_bound == bound]
        if shown.empty:
            continue
        which = f"the {LAUNCH_BOUND} workloads" if bound else f"the workloads that are not {LAUNCH_BOUND}"
        caption = (
            f"{device}: times as fast as {peer(shown)} in the same run, geometric mean of {which} "
            "(least, most; how many)"
        )
        made.append(_by_column(shown, caption, _mean_of))
    return made


def _mean_of(lines: pd.DataFrame) -> str:
    count = int(lines.ratio_to_peer.notna().sum())
    return f"{mean(lines)[:-1]}; {count})" if count else ""


def roofs(table: pd.DataFrame, device: str) -> Table | None:
    """Per column, direction and state of the cache at what part of the copy bandwidth compulsory bytes are moved."""
    part = table[(table.series == "") & ~table.launch_bound & table.roof_fraction.notna()]
    if part.empty:
        return None
    caption = (
        f"{device}: compulsory bytes per second as a part of the copy bandwidth, geometric mean of the workloads that "
        f"are not {LAUNCH_BOUND}"
    )
    return _by_column(part, caption, _roof_of)


def _roof_of(lines: pd.DataFrame) -> str:
    fraction = geomean(lines, "roof_fraction")
    return f"{fraction:.0%}" if np.isfinite(fraction) else ""


def _by_column(part: pd.DataFrame, caption: str, cell: Callable[[pd.DataFrame], str]) -> Table:
    """One row per column and type, one column per direction and state of the cache that the part has."""
    kinds = [
        (direction, cache)
        for direction in DIRECTIONS
        for cache in CACHES
        if ((part.direction == direction) & (part.cache == cache)).any()
    ]
    rows, of_rows = [], []
    for dtype in DTYPES:
        of_dtype = part[part.dtype == dtype]
        for backend, layout in columns(of_dtype):
            lines = of_dtype[(of_dtype.backend == backend) & (of_dtype.layout == layout)]
            cells = (cell(lines[(lines.direction == direction) & (lines.cache == cache)]) for direction, cache in kinds)
            rows.append((f"{column(backend, layout)}, {dtype}", *cells))
            of_rows.append({"dtype": dtype, **({"layout": layout} if backend in OURS else {})})
    header = ("", *(f"{DIRECTIONS[direction]}{CACHES[cache]}" for direction, cache in kinds))
    of_columns = ({}, *({"direction": direction} for direction, _ in kinds))
    return Table(caption, header, tuple(rows), about(part), of_columns, tuple(of_rows))
