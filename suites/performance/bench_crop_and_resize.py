"""How fast, for what was found right on the very same input.

The rows and their order are in measuring/columns.py; BENCH_DEVICE says of which device. Without `--benchmark-only` each
body runs once on a small workload. QUICK=1 measures the quick workloads only.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import pytest

from harness.backends import load
from harness.measuring import clocks, devices, gate
from harness.measuring.columns import COLUMNS, Column, Row, blocks, rows, selected
from harness.measuring.traffic import Traffic, traffic
from harness.measuring.workloads import SMOKE, WORKLOADS, Workload
from harness.operators.arrays import Array, Direction
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.crop_and_resize.reach import reach as crop_reach
from harness.operators.implementation import Backend
from harness.repository import MissingLibrary

QUICK = os.environ.get("QUICK") == "1"
DEVICE = devices.chosen()


def _selected() -> tuple[Workload, ...]:
    """The workloads of this process.

    The tuned allocator answers one question, what fresh memory costs: the scaling series and, in a quick run, the real
    input (whose making takes longest) run under the default one only.
    """
    if DEVICE.allocator() == "tuned":
        usual = [each for each in WORKLOADS if not QUICK or (each.quick and not each.real)]
        return tuple(each for each in selected(usual) if not each.series)
    return selected(each for each in WORKLOADS if each.quick or not QUICK)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "row" in metafunc.fixturenames:
        measuring = metafunc.config.getoption("benchmark_only")
        workloads = _selected() if measuring else (SMOKE,)
        found = rows(COLUMNS[DEVICE.kind], DEVICE.caches, workloads, blocks(measuring))
        metafunc.parametrize("row", list(found), ids=str)


@lru_cache(maxsize=1)
def _inputs_digest(workload: Workload) -> str:
    """Tells whether two machines were given the same: the pyramid, for one, is made by convolutions of their own."""
    inputs, digest = workload.inputs(), hashlib.blake2b(digest_size=16)
    for array in (inputs.image, inputs.boxes, inputs.box_indices, inputs.upstream):
        digest.update(array)
    return digest.hexdigest()


_NOTHING = Traffic(0, 0)


@dataclass(frozen=True)
class Measured:
    """What is found out about a row once, in its first block."""

    gate: gate.Gate
    traffic: Traffic = _NOTHING
    peak_memory_bytes: int | None = None
    host_s: float | None = None
    seconds: float = 0.0  # that a call took


@lru_cache(maxsize=1)  # the columns of a (workload, direction, type) follow each other
def _reference(workload: Workload, direction: Direction, dtype: str) -> Array | None:
    """What all others are compared with; None if it is not installed or cannot do it."""
    try:
        backend = load(DEVICE.reference[0])
    except MissingLibrary:
        return None
    inputs = workload.inputs(dtype=dtype)
    return None if backend.refuses(inputs, direction) else backend.run(inputs, direction)


def _measure(row: Row, backend: Backend, inputs: Inputs, call: Callable[[], Any], before: gate.Gate | None) -> Measured:
    """What is measured once of a row's call; what a backend raises is the status ERROR."""

    def reference() -> Array | None:
        return _reference(row.workload, row.direction, row.column.dtype)

    try:
        got = backend.to_numpy(call())
        found = gate.check(backend, inputs, row.direction, got, reference, before, DEVICE.reference[1])
        if not found.passed:
            return Measured(found)
        begin = time.perf_counter()
        peak = DEVICE.peak_memory_bytes(call)
        seconds = time.perf_counter() - begin
        host = DEVICE.host_seconds(call)
    except Exception as error:  # a row that breaks must not take the others with it
        return Measured(gate.Gate("ERROR", False, f"{type(error).__name__}: {error}"))
    moved = traffic(crop_reach(inputs), row.direction, row.column.layout, DEVICE.line_bytes)
    return Measured(found, moved, peak, host, seconds)


@dataclass(frozen=True)
class Prepared:
    """A row that may be timed: the call, and what is stored beside its samples."""

    call: Callable[[], Any]
    seconds: float
    record: dict[str, Any]


@pytest.fixture(scope="session")
def measured() -> dict[tuple[Workload, Direction, Column], Measured]:
    """What the first block found out, for the blocks after it."""
    return {}


@pytest.fixture(scope="session")
def held() -> dict[tuple[Workload, Direction, Column], Callable[[], Any]]:
    """The call that the next row takes too, in another state of the cache; at most one."""
    return {}


@pytest.fixture
def prepared(
    row: Row,
    run: Any,
    judged: dict[tuple[str, ...], gate.Gate],
    measured: dict[Any, Measured],
    held: dict[Any, Callable[[], Any]],
    unmeasured: list[dict[str, Any]],
) -> Prepared:
    """The row's call, gate passed. Otherwise the row is filed with its status and the test is skipped or fails."""
    key = (row.workload, row.direction, row.column)
    record: dict[str, Any] = {
        **run.record,
        "bench": "crop_and_resize",
        "setting": "",
        "cache": row.cache,
        "workload": row.workload.name,
        "source": row.workload.source,
        "series": row.workload.series,
        "size": row.workload.size,
        "op": "crop_and_resize",
        "direction": row.direction,
        "backend": row.column.backend,
        "title": row.column.backend,
        "dtype": row.column.dtype,
        "layout": row.column.layout,
        "block": row.block,
    }
    if run.is_over():
        if row.block == 0:  # or it has the samples of an earlier block or process
            unmeasured.append({**record, "status": "NO_TIME", "message": run.over})
        pytest.skip(run.over)
    try:
        inputs = row.workload.inputs(row.column.layout, row.column.dtype)
    except ModuleNotFoundError as missing:
        pytest.skip(
            f"Workload {row.workload.name} needs {missing.name}, which is not installed; `make env` installs it."
        )
    record |= {"boxes": len(inputs.boxes), "inputs_digest": _inputs_digest(row.workload)}
    try:
        backend: Backend = load(row.column.backend)
    except MissingLibrary as missing:
        unmeasured.append({**record, "status": "MISSING", "message": str(missing)})
        pytest.skip(str(missing))
    record |= {"title": backend.title, "op": "crop_and_resize" if backend.same_rule else "roi_align"}
    refusal = backend.refuses(inputs, row.direction)
    if refusal is not None:
        unmeasured.append({**record, "status": "REFUSED", "message": refusal})
        pytest.skip(refusal)
    try:
        call = held.pop(key, None) or backend.prepare(inputs, row.direction)
    except Exception as error:  # torchvision's graph, for one, is built here
        unmeasured.append({**record, "status": "ERROR", "message": f"{type(error).__name__}: {error}"})
        raise
    held.clear()
    if row.cache != DEVICE.caches[-1]:
        held[key] = call
    if key not in measured:
        before = judged.get((row.workload.name, "", row.direction, row.column.backend, row.column.layout))
        measured[key] = _measure(row, backend, inputs, call, before)
    found = measured[key]
    record |= asdict(found.gate) | {
        "peak_memory_bytes": found.peak_memory_bytes,
        "compulsory_bytes": found.traffic.compulsory,
        "requested_bytes": found.traffic.requested,
        "host_s": found.host_s,
    }
    if not found.gate.passed:
        unmeasured.append(record)
        pytest.fail(f"{row} may not be timed: {found.gate.status}. {found.gate.message}", pytrace=False)
    return Prepared(call, found.seconds, record)


@pytest.mark.benchmark(disable_gc=True, timer=DEVICE.timer)
def bench_crop_and_resize(prepared: Prepared, benchmark: Any) -> None:
    record = prepared.record

    def get_ready() -> None:
        DEVICE.get_ready(record["cache"], record["host_s"] or 0.0)

    seconds = DEVICE.settle(prepared.call, prepared.seconds)
    exposed = DEVICE.exposed()
    benchmark.extra_info.update(record)
    clocks.timed(benchmark, prepared.call, DEVICE.budget[QUICK].rounds(seconds), get_ready)
    if exposed is not None:
        benchmark.extra_info["exposed"] = (DEVICE.exposed() or 0) - exposed
