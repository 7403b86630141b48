"""Made-up results whose figures are known beforehand, stored as a run stores them, and how tests look at tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from harness.measuring import record, results

# The fields of a header and of a row together; store() parts them.
BASE = {
    "run": "r1", "kind": "full", "device": "cpu-test", "allocator": "default", "process": 0, "threads": 2,
    "clock": "time.perf_counter", "copy_gbps": 10.0,
    "bench": "crop_and_resize", "setting": "", "workload": "w", "source": "made up", "op": "crop_and_resize",
    "direction": "forward", "backend": "roi_align", "title": "t", "dtype": "float32", "layout": "contiguous",
    "cache": "warm", "block": 0, "boxes": 100, "status": "EXACT", "compared": 7, "differing": 0,
    "compared_with": "TensorFlow", "digest": "d", "compulsory_bytes": 2_000_000_000, "peak_memory_bytes": 1_000_000,
}  # fmt: skip
MACHINE = {"cpu": "a cpu"}


def timed_row(samples: Iterable[float], **changes: Any) -> dict[str, Any]:
    """A row with these samples, as BASE but for the changes."""
    return {**BASE, **changes, "samples": tuple(samples)}


def untimed_row(status: str, **changes: Any) -> dict[str, Any]:
    """A row without a time."""
    return timed_row((), status=status, **changes)


def store(
    folder: Path,
    name: str,
    rows: Iterable[Mapping[str, Any]],
    machine: Mapping[str, Any] = MACHINE,
    conditions: Mapping[str, Any] = {},
) -> None:
    """Writes folder/name, and name_1 and so on for rows that another process, run or device measured."""
    of_header = {each.name for each in fields(record.Header)}
    files: dict[record.Header, list[record.Record]] = {}
    for row in rows:
        header = record.Header(**{key: value for key, value in row.items() if key in of_header})
        own = {key: value for key, value in row.items() if key not in of_header}
        files.setdefault(header, []).append(record.Record(**own))
    path = folder / name
    for place, (header, records) in enumerate(files.items()):
        file = path.with_name(f"{path.stem}_{place}.json") if place else path
        record.write(file, record.Measurements(header, dict(machine), tuple(records), dict(conditions)))


def line(table: Any, **values: str) -> Any:
    for name, value in values.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def roi_align(seconds: list[float], backend: str, **changes: Any) -> dict[str, Any]:
    """A row of roi_align, whose compulsory bytes nobody counts."""
    own = {"bench": "roi_align", "setting": "adaptive", "op": "roi_align", "backend": backend, "compulsory_bytes": None}
    return timed_row(seconds, **(own | changes))


# A copy of 1,000 GB/s: 20 MB take 20 µs and are work, 5 MB take 5 µs and are a launch.
CUDA = {
    "device": "cuda-test", "allocator": "cuda", "cache": "cold", "clock": "events", "copy_gbps": 1000.0,
    "backend": "roi_align_cuda", "compared_with": "the CPU", "host_s": 12e-6, "exposed": 0,
    "compulsory_bytes": 20_000_000,
}  # fmt: skip
LAUNCH = {"workload": "small", "compulsory_bytes": 5_000_000}
PEER = {"backend": "torchvision_cuda", "status": "OTHER_RULE", "op": "roi_align", "compared": 0}


def cuda(seconds: float, **changes: Any) -> dict[str, Any]:
    return timed_row([seconds], **{**CUDA, **changes})


def cuda_rows() -> list[dict[str, Any]]:
    """roi_align twice as fast as the peer on cold data, eight times on hot, four times where all is a launch."""
    return [
        cuda(50e-6),
        cuda(100e-6, **PEER),
        cuda(10e-6, cache="hot"),
        cuda(80e-6, cache="hot", **PEER),
        cuda(5e-6, **LAUNCH),
        cuda(20e-6, **LAUNCH, **PEER),
        cuda(40e-6, dtype="bfloat16", compulsory_bytes=10_000_000),
    ]


def table_of(folder: Path, rows: Iterable[Mapping[str, Any]] = (), name: str = "cuda-test/run/cuda.json") -> Any:
    """The table of these rows and of all that is in the folder already."""
    store(folder, name, rows)
    return results.throughput(results.read(folder).blocks)


def texts_of(report: Any) -> tuple[str, str]:
    """A report's page and its Markdown."""
    return report.html.read_text(encoding="utf-8"), report.markdown.read_text(encoding="utf-8")


def cells(table: Any) -> list[tuple[str, ...]]:
    return [tuple(row) for row in table.rows]


def external(page: str) -> list[str]:
    """Addresses that a browser would fetch or follow; the names of XML's vocabularies are none."""
    page = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    return re.findall(r"""(?:https?:)?//[\w.-]+\.\w+[^\s"')]*""", page) + re.findall(r'(?:src|href)="(?!#)[^"]*"', page)
