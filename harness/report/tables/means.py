"""The tables that put all columns of a family together: every layout and type, every state of the cache.

There is no ratio where the peer has no time: torchvision, for one, has no bfloat16 and no gradient of the boxes.
Launch-bound work has a table of its own: every backend's time there is a launch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from harness.report import tags
from harness.report.names import CACHES, DIRECTIONS, DTYPES, LAUNCH_BOUND, families, family, peer
from harness.report.tables.table import Table, columns, geomean


def means(table: pd.DataFrame, device: str) -> list[Table]:
    """Per column, direction and state of the cache how many times as fast as the peer: work first, launches apart."""
    tables = []
    for part in families(table):
        others = part[(part.series == "") & part.ratio_to_peer.notna() & (part.backend != part.peer)]
        for bound in (False, True):
            rows = others[others.launch_bound == bound]
            if rows.empty:
                continue
            which = f"the {LAUNCH_BOUND} workloads" if bound else _work(others)
            caption = (
                f"{device}: times as fast as {peer(rows)} in the same run, {family(rows)}: geometric mean of "
                f"{which} (least, most; how many)"
            )
            tables.append(_by_column(rows, caption, _mean))
    return tables


def _mean(lines: pd.DataFrame) -> str:
    ratios = lines.ratio_to_peer
    return f"{geomean(lines):.2f}x ({ratios.min():.2f}, {ratios.max():.2f}; {len(ratios)})" if len(ratios) else ""


def roofs(table: pd.DataFrame, device: str) -> list[Table]:
    """Per column, direction and state of the cache at what part of the copy bandwidth compulsory bytes are moved."""
    tables = []
    for part in families(table):
        rows = part[(part.series == "") & ~part.launch_bound & part.roof_fraction.notna()]
        if rows.empty:
            continue
        caption = (
            f"{device}: compulsory bytes per second as a part of the copy bandwidth, {family(rows)}: geometric mean "
            f"of {_work(part)}"
        )
        tables.append(_by_column(rows, caption, _roof))
    return tables


def _work(lines: pd.DataFrame) -> str:
    return "the workloads" + (f" that are not {LAUNCH_BOUND}" if lines.launch_bound.any() else "")


def _roof(lines: pd.DataFrame) -> str:
    fraction = geomean(lines, "roof_fraction")
    return f"{fraction:.0%}" if np.isfinite(fraction) else ""


def _by_column(part: pd.DataFrame, caption: str, cell: Callable[[pd.DataFrame], str]) -> Table:
    """One row per column and type, one column per direction and state of the cache that the part has."""
    states = [
        (direction, cache)
        for direction in DIRECTIONS
        for cache in CACHES
        if ((part.direction == direction) & (part.cache == cache)).any()
    ]
    rows, of_rows = [], []
    for dtype in DTYPES:
        of_dtype = part[part.dtype == dtype]
        for name, own in columns(of_dtype).items():
            lines = of_dtype[of_dtype.column == name]
            cells = (
                cell(lines[(lines.direction == direction) & (lines.cache == cache)]) for direction, cache in states
            )
            rows.append((f"{name}, {dtype}", *cells))
            of_rows.append({"dtype": dtype, **own})
    header = ("", *(f"{DIRECTIONS[direction]}{CACHES[cache]}" for direction, cache in states))
    of_columns = ({}, *({"direction": direction} for direction, _ in states))
    return Table(caption, header, tuple(rows), tags.of(part), of_columns, tuple(of_rows))
