"""The stored measurements as data frames.

The JSON files under results/ (record.py) are the source of truth and never edited by hand. An unreadable file is
reported and left out: one broken upload must not hide nine good ones.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.measuring import record
from harness.repository import FINDINGS

# These columns identify a row of the tables; its processes and blocks differ only in time.
KEY = [
    "device", "run", "kind", "allocator", "bench", "setting", "workload", "op", "direction", "backend", "dtype",
    "layout", "cache",
]  # fmt: skip
# Counts that are summed over blocks.
_COUNTS = ["exposed", "interruptions"]
# throughput.csv's columns, in order. Times in seconds, rates per second, gbps in 10^9 bytes per second.
CSV_COLUMNS = [
    *KEY, "median_s", "p05_s", "p95_s", "samples", "processes", "spread", "stopped", *_COUNTS, "boxes", "boxes_per_s",
    "compulsory_bytes", "requested_bytes", "gbps", "copy_gbps", "roof_fraction", "launch_bound", "peer",
    "ratio_to_peer", "host_s", "peak_memory_bytes", "inputs_digest", "digest", "compared", "compared_with", "differing",
    "clock", "threads", "status", "message",
]  # fmt: skip
# Further columns for the tables.
_DESCRIPTIONS = ["title", "source", "series", "size"]
# The denominator of ratios, by benchmark and type of device: this backend's time in the same run.
PEERS = {
    ("crop_and_resize", "cpu"): "tensorflow",
    ("crop_and_resize", "cuda"): "torchvision_cuda",
    ("roi_align", "cpu"): "torchvision",
    ("roi_align", "cuda"): "torchvision_cuda",
    ("detectors", "cpu"): "torchvision",
}
BENCHES = tuple(dict.fromkeys(bench for bench, _ in PEERS))
# This project's backends, with their names in tables.
OURS = {"roi_align": "roi_align", "roi_align_cuda": "roi_align", "roi_align_cuda_deterministic": "deterministic"}
# Other backends' names in tables, in order.
OTHERS = {
    "tensorflow": "TensorFlow",
    "torchvision": "torchvision",
    "torchvision_cuda": "torchvision",
    "onnxruntime": "ONNX Runtime",
    "grid_sample_cuda": "grid_sample",
    "grid_sample_cuda_compiled": "grid_sample, compiled",
}
LAYOUTS = {"contiguous": "NCHW", "channels_last": "channels_last"}
# Work that a GPU's memory could do in less than this is bound by the launch, on any backend.
LAUNCH_S = 10e-6


@dataclass(frozen=True)
class Results:
    """The stored rows and the machines that measured them.

    blocks     one line per row, process and block: the fields of record.Header and record.Record.
    machines   (device, run) -> the description of the machine, with its state before and after each process under
               "conditions": [{"process", "before", "after"}], see conditions.py.
    problems   a sentence for each file that was left out.
    """

    blocks: pd.DataFrame
    machines: dict[tuple[str, str], dict[str, Any]]
    problems: tuple[str, ...]


def read(folder: Path) -> Results:
    """All results under a folder; an empty frame if there are none."""
    lines: list[dict[str, Any]] = []
    machines: dict[tuple[str, str], dict[str, Any]] = {}
    problems: list[str] = []
    for path in sorted({*folder.rglob("*.json")} - {folder / FINDINGS}):
        try:
            measurements = record.read(path)
        except (OSError, ValueError) as error:
            problems.append(f"{path.relative_to(folder)} was left out: {error}.")
            continue
        lines += [{**vars(measurements.header), **vars(each)} for each in measurements.records]
        place = (measurements.header.device, measurements.header.run)
        state = [{"process": measurements.header.process, **measurements.conditions}] if measurements.conditions else []
        earlier = machines.get(place, {}).get("conditions", [])
        machines[place] = {**measurements.machine, "conditions": [*earlier, *state]}
    columns = [each.name for of in (record.Header, record.Record) for each in fields(of)]
    return Results(pd.DataFrame(lines, columns=columns), machines, tuple(problems))


def device_type(device: str) -> str:
    """The type of a device from its name: "cpu" or "cuda"."""
    return device.partition("-")[0]


def throughput(blocks: pd.DataFrame) -> pd.DataFrame:
    """One line per row, over all its blocks: CSV_COLUMNS, title, source, series, size, own, subject and column.

    A row that did not pass has no time.

    median_s is the median of the processes' medians, each over the raw samples of all its blocks; p05_s and p95_s are
    over all raw samples; spread is the range of the processes' medians relative to median_s, NaN for a single process;
    roof_fraction is gbps over the copy bandwidth of the same run, above 1 where the work stays in a cache;
    ratio_to_peer is how many times as fast as the peer on the same work in the same run; launch_bound is whether a
    GPU's memory could do the work in less than LAUNCH_S, the same for all columns of a (workload, direction, type); own
    is whether the backend is this project's; subject is the bench, or a further subject of the bench (a pyramid, a
    detector); column is the name of backend and layout, unique on a device.
    """
    lines = [_merge(group) for _, group in blocks.groupby(KEY, sort=False, dropna=False)]
    table: pd.DataFrame = pd.DataFrame(lines, columns=[*CSV_COLUMNS, *_DESCRIPTIONS])
    types = table.device.map(device_type)
    table["peer"] = [PEERS.get(of) for of in zip(table.bench, types, strict=True)]
    same_work = ["device", "run", "allocator", "bench", "setting", "cache", "workload", "direction", "dtype"]
    peer = table[table.backend == table.peer].drop_duplicates(same_work).set_index(same_work).median_s
    of_peer = table[same_work].apply(lambda row: peer.get(tuple(row), float("nan")), axis=1) if len(table) else []
    table["ratio_to_peer"] = pd.Series(of_peer, dtype=float) / table.median_s
    floor_s = table.compulsory_bytes.astype(float) / (table.copy_gbps.astype(float) * 1e9)
    work = ["device", "run", "bench", "setting", "workload", "direction", "dtype"]
    longest = floor_s.groupby([table[name] for name in work])
    table["launch_bound"] = (types == "cuda") & (longest.transform("max") < LAUNCH_S)
    table["own"] = table.backend.isin(OURS)
    table["subject"] = table.op.where(~table.op.isin(BENCHES), table.bench)
    # Functions outside this project are named by their titles, which may coincide.
    repeats = table.groupby("title").backend.transform("nunique") > 1
    titles = table.title.where(~repeats, table.title + ", " + table.backend)
    columns = zip(table.backend, titles, table.layout, table.subject != table.op, strict=True)
    table["column"] = [_column(*each) for each in columns]
    return table


def _column(backend: str, title: str, layout: str, another_rule: bool) -> str:
    if backend in OURS:
        return f"{OURS[backend]}, {LAYOUTS.get(layout, layout)}"
    return OTHERS.get(backend, f"{title}, {LAYOUTS.get(layout, layout)}") + (" (another rule)" if another_rule else "")


def _merge(group: pd.DataFrame) -> dict[str, Any]:
    """Merges the processes and blocks of one row."""
    failures = group[group.samples.map(len) == 0]
    first = (group if failures.empty else failures).iloc[0]
    line: dict[str, Any] = {str(name): value for name, value in first.items()}
    line |= {name: group[name].astype(float).sum(min_count=1) for name in _COUNTS}
    samples = np.array([each for block in group.samples for each in block], dtype=float)
    line["samples"] = len(samples) if failures.empty else 0
    line["processes"] = group.process.nunique() if failures.empty else 0
    if failures.empty:
        medians = process_medians(group)
        median = float(np.median(medians))
        line["spread"] = (max(medians) - min(medians)) / median if len(medians) > 1 else float("nan")
        line |= {"median_s": median, "p05_s": np.quantile(samples, 0.05), "p95_s": np.quantile(samples, 0.95)}
        compulsory = float("nan") if line["compulsory_bytes"] is None else line["compulsory_bytes"]
        line |= {"boxes_per_s": line["boxes"] / median, "gbps": compulsory / median / 1e9}
        line["roof_fraction"] = line["gbps"] / line["copy_gbps"]
    return line


def process_medians(group: pd.DataFrame) -> list[float]:
    """From one row's lines of `Results.blocks`: each process's median over all its samples, in seconds."""
    of_process: dict[int, list[float]] = {}
    for process, samples in zip(group.process, group.samples, strict=True):
        of_process.setdefault(process, []).extend(samples)
    return [float(np.median(of_process[process])) for process in sorted(of_process)]


def plain_calls(lines: pd.DataFrame) -> pd.DataFrame:
    """The lines of `throughput` for calls as users make them: timed, of the operator itself, with the default
    allocator, and on a GPU with cold caches. Scaling series and launch-bound work are left out."""
    selection: pd.DataFrame = lines[
        (lines.subject == lines.bench)
        & (lines.series == "")
        & lines.median_s.notna()
        & (lines.allocator != "tuned")
        & (lines.cache != "hot")
        & ~lines.launch_bound
    ]
    return selection


def newest(table: pd.DataFrame) -> pd.DataFrame:
    """The lines of each device's newest full run; without one, of its newest partial run, else of its newest quick
    run."""
    runs = table[["device", "run", "kind"]].drop_duplicates().sort_values(["device", "kind", "run"])
    # "full" sorts before "part" and "quick": the last line of a device's first kind is the run to show.
    latest = [of_device[of_device.kind == of_device.kind.iloc[0]].iloc[-1] for _, of_device in runs.groupby("device")]
    run_rows = pd.DataFrame(latest, columns=["device", "run", "kind"])
    lines: pd.DataFrame = table.merge(run_rows, on=["device", "run", "kind"], how="inner")
    return lines
