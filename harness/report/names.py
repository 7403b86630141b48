"""The names of directions, types, states of the cache and the like, in the order used everywhere."""

from __future__ import annotations

import pandas as pd

from harness.measuring import results

DIRECTIONS = {"forward": "Forward", "grad_image": "Gradient of the image", "grad_boxes": "Gradient of the boxes"}
# What is timed of a detector besides.
CALLS = {**DIRECTIONS, "inference": "Inference", "training": "Training step"}
SERIES = {"boxes": "boxes", "pixels": "pixels of the map"}
DTYPES = ("float32", "bfloat16", "float16", "float64")
CACHES = {"warm": "", "cold": ", cold cache", "hot": ", hot cache"}
LAUNCH_BOUND = "launch-bound"


def families(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of each operator in each of its settings, in the order of results.BENCHES; nothing else."""
    rows = table[table.subject == table.bench]
    parts = [part for _, part in rows.groupby(["bench", "setting"], sort=False)]
    return sorted(parts, key=lambda part: results.BENCHES.index(part.bench.iloc[0]))


def family(table: pd.DataFrame) -> str:
    """The name of a family: "roi_align, adaptive"."""
    return ", ".join(filter(None, (str(table.bench.iloc[0]), str(table.setting.iloc[0]))))


def views(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of a family by type and state of the cache: float32 first, cold before hot. A CPU has one view."""
    keys = [(dtype, cache) for dtype in DTYPES for cache in CACHES]
    parts = (table[(table.dtype == dtype) & (table.cache == cache)] for dtype, cache in keys)
    return [part for part in parts if len(part)]


def title(view: pd.DataFrame, direction: str) -> str:
    """The beginning of a caption: the direction, the type unless it is a CPU's float32, and the state of a GPU's cache.

    Before it the operator and its setting, where there are settings.
    """
    first = view.iloc[0]
    setting = f"{family(view)}. " if first.setting else ""
    dtype = "" if (first.cache, first["dtype"]) == ("warm", "float32") else f", {first['dtype']}"
    return f"{setting}{DIRECTIONS[direction]}{dtype}{CACHES[first.cache]}"


def peer(table: pd.DataFrame) -> str:
    """The title of the peer that ratios refer to."""
    return results.OTHERS[table.peer.iloc[0]]


def with_settings(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with their setting in the workload's name, for tables that show all settings."""
    settings = [f", {setting}" if setting else "" for setting in table.setting]
    result: pd.DataFrame = table.assign(workload=table.workload + settings)
    return result
