"""Made-up results whose figures are known beforehand, stored as a run stores them, and how tests look at tables."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from harness.measuring import results

BASE = {
    "schema": 4, "process": 0, "bench": "crop_and_resize", "setting": "",
    "run": "r1", "kind": "full", "device": "cpu-test", "allocator": "default", "threads": 2,
    "copy_gbps": 10.0, "workload": "w", "source": "made up", "series": "", "size": 0, "op": "crop_and_resize",
    "direction": "forward", "backend": "roi_align", "title": "t", "dtype": "float32", "layout": "contiguous",
    "cache": "warm", "clock": "time.perf_counter", "compared_with": "TensorFlow",
    "block": 0, "boxes": 100, "status": "EXACT", "message": "", "compared": 7, "differing": 0, "digest": "d",
    "peak_memory_bytes": 1_000_000, "compulsory_bytes": 2_000_000_000,
}  # fmt: skip


def measured(samples: list[float], **changes: Any) -> dict[str, Any]:
    return {"extra_info": {**BASE, **changes}, "stats": {"data": samples}}


def store(folder: Path, name: str, benchmarks: list[dict[str, Any]], unmeasured: list[dict[str, Any]] = []) -> None:  # noqa: B006
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"benchmarks": benchmarks, "unmeasured": unmeasured, "machine_info": {"roi_align": {"cpu": "a cpu"}}}
    path.write_text(json.dumps(content), encoding="utf-8")


def line(table: Any, **chosen: str) -> Any:
    for name, value in chosen.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def pooling(seconds: list[float], backend: str, **changes: Any) -> dict[str, Any]:
    """A row of roi_align, whose compulsory bytes nobody counts."""
    own = {"bench": "roi_align", "setting": "adaptive", "op": "roi_align", "backend": backend, "compulsory_bytes": None}
    return measured(seconds, **(own | changes))


# A copy of 1,000 GB/s: 20 MB take 20 µs and are work, 5 MB take 5 µs and are a launch.
CUDA = {
    "device": "cuda-test", "allocator": "cuda", "cache": "cold", "clock": "events", "copy_gbps": 1000.0,
    "backend": "roi_align_cuda", "compared_with": "the CPU", "host_s": 12e-6, "exposed": 0,
    "compulsory_bytes": 20_000_000,
}  # fmt: skip
LAUNCH = {"workload": "small", "compulsory_bytes": 5_000_000}
PEER = {"backend": "torchvision_cuda", "status": "OTHER_RULE", "op": "roi_align", "compared": 0}


def cuda(seconds: float, **changes: Any) -> dict[str, Any]:
    return measured([seconds], **{**CUDA, **changes})


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


def table_of(folder: Path, rows: list[dict[str, Any]]) -> Any:
    store(folder, "cuda-test/run/cuda.json", rows)
    return results.throughput(results.read(folder).blocks)


def cells(table: Any) -> list[tuple[str, ...]]:
    return [tuple(row) for row in table.rows]


def external(page: str) -> list[str]:
    """Addresses that a browser would fetch or follow; the names of XML's vocabularies are none."""
    page = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    return re.findall(r"""(?:https?:)?//[\w.-]+\.\w+[^\s"')]*""", page) + re.findall(r'(?:src|href)="(?!#)[^"]*"', page)
