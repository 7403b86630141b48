"""What was measured, as data frames.

The JSON files under results/ are the source of truth, written by pytest-benchmark and never by hand. A file says
itself which device and run it belongs to, so two machines' folders merge by copying. A file that cannot be read is
named and left out: one broken upload must not hide nine good ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.measuring.record import SCHEMA

# Together these name one line of the tables; its processes and blocks differ only in when they ran.
KEY = [
    "device", "run", "kind", "allocator", "bench", "setting", "workload", "op", "direction", "backend", "dtype",
    "layout", "cache",
]  # fmt: skip
# What else a row carries, the same in all its blocks.
CARRIED = [
    "title", "source", "series", "size", "boxes", "threads", "clock", "compulsory_bytes", "requested_bytes",
    "copy_gbps", "host_s", "peak_memory_bytes", "inputs_digest", "digest", "compared", "compared_with", "differing",
    "status", "message",
]  # fmt: skip
# What was counted while a block ran.
COUNTED = ["exposed", "interruptions"]
# throughput.csv's columns, in order. Times in seconds, rates per second, gbps in 10^9 bytes per second.
COLUMNS = [
    *KEY, "median_s", "p05_s", "p95_s", "samples", "processes", "spread", "stopped", *COUNTED, "boxes", "boxes_per_s",
    "compulsory_bytes", "requested_bytes", "gbps", "copy_gbps", "roof_fraction", "launch_bound", "peer",
    "ratio_to_peer", "host_s", "peak_memory_bytes", "inputs_digest", "digest", "compared", "compared_with", "differing",
    "clock", "threads", "status", "message",
]  # fmt: skip
# What a file of the first schema did not say, because there was one clock.
_SCHEMA_1 = {"cache": "warm", "clock": "time.perf_counter"}
# What a file of the second schema did not say, because there was one benchmark.
_SCHEMA_2 = {"bench": "crop_and_resize", "setting": ""}
# What a file of the third schema did not say, because a run was one process.
_SCHEMA_3 = {"process": 0}
# Whose times in the same run ratios are to, by benchmark and kind of device.
PEERS = {
    ("crop_and_resize", "cpu"): "tensorflow",
    ("crop_and_resize", "cuda"): "torchvision_cuda",
    ("roi_align", "cpu"): "torchvision",
    ("roi_align", "cuda"): "torchvision_cuda",
    ("detectors", "cpu"): "torchvision",
}
# Work that a GPU's memory could do in less than this takes as long as a launch does, whoever does it.
LAUNCH_S = 10e-6


@dataclass(frozen=True)
class Results:
    """The stored rows and what is known of where they come from.

    blocks     one line per row, process and block: KEY, CARRIED, `process`, `block`, `samples`, the raw seconds ([] if
               not measured), `stopped`, why there are no more of them (None in old files), and COUNTED: how many of
               them were not hidden from the host's own pace (NaN on a CPU), and how often the system interrupted the
               process meanwhile (NaN in old files).
    machines   (device, run) -> what the machine said of itself, and under "conditions" the state that each process
               found and left it in: [{"process", "before", "after"}], see conditions.py.
    problems   files that were left out, each as a sentence.
    """

    blocks: pd.DataFrame
    machines: dict[tuple[str, str], dict[str, Any]]
    problems: tuple[str, ...]


def read(folder: Path) -> Results:
    """All results under a folder; an empty frame if there are none."""
    lines: list[dict[str, Any]] = []
    machines: dict[tuple[str, str], dict[str, Any]] = {}
    problems: list[str] = []
    for path in sorted(folder.rglob("*.json")):
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            found = [_line(each["extra_info"], each["stats"]["data"]) for each in stored["benchmarks"]]
            found += [_line(each, []) for each in stored.get("unmeasured", [])]
            machine = dict(stored["machine_info"]["roi_align"])
            conditions = stored.get("conditions")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problems.append(f"{path.relative_to(folder)} was left out: {type(error).__name__}: {error}.")
            continue
        lines += found
        for place in {(line["device"], line["run"]) for line in found}:
            earlier = machines.get(place, {}).get("conditions", [])
            machines[place] = {**machine, "conditions": [*earlier, *([conditions] if conditions else [])]}
    columns = [*KEY, *CARRIED, "process", "block", "stopped", *COUNTED, "samples"]
    return Results(pd.DataFrame(lines, columns=columns), machines, tuple(problems))


def _line(record: dict[str, Any], samples: list[float]) -> dict[str, Any]:
    """One row of one block; ValueError if a newer version of this project wrote it."""
    if record["schema"] > SCHEMA:
        raise ValueError(f"its schema is {record['schema']}, newer than {SCHEMA}; update this checkout to read it")
    if record["schema"] == 1:
        record = {**record, **_SCHEMA_1, "compared_with": "TensorFlow" if record.get("compared") else ""}
    if record["schema"] <= 2:
        record = {**record, **_SCHEMA_2}
    if record["schema"] <= 3:
        record = {**record, **_SCHEMA_3}
    known = {name: record[name] for name in [*KEY, "process", "block"]}
    carried = {name: record.get(name) for name in [*CARRIED, "stopped", *COUNTED]}
    return known | carried | {"samples": list(samples)}


def kind(device: str) -> str:
    """The kind of a device by its name: "cpu" or "cuda"."""
    return device.partition("-")[0]


def throughput(blocks: pd.DataFrame) -> pd.DataFrame:
    """One line per row with its blocks merged: COLUMNS and the rest of CARRIED. A row that did not pass has no time.

    median_s is the median of the processes' medians, each over the raw samples of all its blocks; p05_s and p95_s are
    over all raw samples; spread is how far the processes' medians are apart, as a part of median_s, NaN for a single
    one; roof_fraction is gbps over the copy bandwidth of
    the same run, above 1 where the work stays in a cache; ratio_to_peer is how many times as fast as the peer on the
    same work in the same run; launch_bound says of a GPU's row that memory could do its work in less than LAUNCH_S, and
    is one answer for all columns of a (workload, direction, type).
    """
    merged = [_merged(group) for _, group in blocks.groupby(KEY, sort=False, dropna=False)]
    table: pd.DataFrame = pd.DataFrame(merged, columns=[*COLUMNS, *(name for name in CARRIED if name not in COLUMNS)])
    kinds = table.device.map(kind)
    table["peer"] = [PEERS.get(of) for of in zip(table.bench, kinds, strict=True)]
    same_work = ["device", "run", "allocator", "bench", "setting", "cache", "workload", "direction", "dtype"]
    peer = table[table.backend == table.peer].drop_duplicates(same_work).set_index(same_work).median_s
    of_peer = table[same_work].apply(lambda row: peer.get(tuple(row), float("nan")), axis=1) if len(table) else []
    table["ratio_to_peer"] = pd.Series(of_peer, dtype=float) / table.median_s
    floor_s = table.compulsory_bytes.astype(float) / (table.copy_gbps.astype(float) * 1e9)
    work = ["device", "run", "bench", "setting", "workload", "direction", "dtype"]
    longest = floor_s.groupby([table[name] for name in work])
    table["launch_bound"] = (kinds == "cuda") & (longest.transform("max") < LAUNCH_S)
    return table


def _merged(group: pd.DataFrame) -> dict[str, Any]:
    """The processes and blocks of one row as one."""
    failed = group[group.samples.map(len) == 0]
    line: dict[str, Any] = (group if failed.empty else failed).iloc[0].drop(["process", "block", "samples"]).to_dict()
    line |= {name: group[name].astype(float).sum(min_count=1) for name in COUNTED}
    samples = pd.Series([each for block in group.samples for each in block], dtype=float)
    line["samples"] = len(samples) if failed.empty else 0
    line["processes"] = group.process.nunique() if failed.empty else 0
    if failed.empty:
        medians = process_medians(group)
        median = float(np.median(medians))
        line["spread"] = (max(medians) - min(medians)) / median if len(medians) > 1 else float("nan")
        line |= {"median_s": median, "p05_s": samples.quantile(0.05), "p95_s": samples.quantile(0.95)}
        compulsory = float("nan") if line["compulsory_bytes"] is None else line["compulsory_bytes"]
        line |= {"boxes_per_s": line["boxes"] / median, "gbps": compulsory / median / 1e9}
        line["roof_fraction"] = line["gbps"] / line["copy_gbps"]
    return line


def process_medians(group: pd.DataFrame) -> list[float]:
    """Of one row's lines of `Results.blocks`: each process's median over the samples of all its blocks, in seconds."""
    of_process = group.groupby("process", sort=True).samples
    return [float(np.median([each for block in blocks for each in block])) for _, blocks in of_process]


def newest(table: pd.DataFrame) -> pd.DataFrame:
    """The lines of each device's newest full run; without one those of its newest of some workloads, or quick one."""
    runs = table[["device", "run", "kind"]].drop_duplicates().sort_values(["device", "kind", "run"])
    # "full" sorts before "part" and "quick": the last line of a device's first kind is the run to show.
    chosen = [of_device[of_device.kind == of_device.kind.iloc[0]].iloc[-1] for _, of_device in runs.groupby("device")]
    shown = pd.DataFrame(chosen, columns=["device", "run", "kind"])
    lines: pd.DataFrame = table.merge(shown, on=["device", "run", "kind"], how="inner")
    return lines
