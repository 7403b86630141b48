"""How fast, for what was found right on the very same input.

Blocks are the outermost parameter and run through all rows, so that a slow minute of the machine hits every backend;
within a block the backends of one (workload, direction) follow each other, in odd blocks in reverse: ABBA. Without
`--benchmark-only` each body runs once on a small workload. QUICK=1 measures the quick workloads only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import pytest

from harness import clocks, gate, machine
from harness.backends import Backend, MissingLibrary, load
from harness.case import DIRECTIONS, Array, Direction, Inputs
from harness.traffic import compulsory_bytes
from harness.workloads import SMOKE, WORKLOADS, Layout, Workload

SCHEMA = 1
BLOCKS = 2
QUICK = os.environ.get("QUICK") == "1"
COLUMNS: tuple[tuple[str, Layout], ...] = (
    ("roi_align", "contiguous"),
    ("roi_align", "channels_last"),
    ("tensorflow", "channels_last"),
    ("torchvision", "contiguous"),
)


@dataclass(frozen=True)
class Row:
    """One column of one line of the table, in one block."""

    block: int
    workload: Workload
    direction: Direction
    backend: str
    layout: Layout

    def __str__(self) -> str:
        return f"{self.workload.name}-{self.direction}-{self.backend}-{self.layout}-{self.block}"


def rows(measuring: bool) -> Iterator[Row]:
    """All rows in the order in which they run."""
    for block in range(BLOCKS if measuring else 1):
        for workload in _selected() if measuring else (SMOKE,):
            for direction in DIRECTIONS:
                for backend, layout in COLUMNS if block % 2 == 0 else reversed(COLUMNS):
                    if (backend, direction) != ("torchvision", "grad_boxes"):  # it has none
                        yield Row(block, workload, direction, backend, layout)


def _selected() -> tuple[Workload, ...]:
    """The workloads of this process.

    The tuned allocator answers one question, what fresh memory costs: the scaling series and, in a quick run, the real
    input (whose making takes longest) run under the default one only.
    """
    if machine.allocator() == "tuned":
        return tuple(each for each in WORKLOADS if not each.series and (not QUICK or (each.quick and not each.real)))
    return tuple(each for each in WORKLOADS if each.quick or not QUICK)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "row" in metafunc.fixturenames:
        metafunc.parametrize("row", list(rows(metafunc.config.getoption("benchmark_only"))), ids=str)


@dataclass(frozen=True)
class Measured:
    """What is found out about a row once, in its first block."""

    gate: gate.Gate
    compulsory_bytes: int = 0
    peak_memory_bytes: int | None = None
    seconds: float = 0.0  # that a call took


@lru_cache(maxsize=1)  # the columns of a (workload, direction) follow each other
def _tensorflow(workload: Workload, direction: Direction) -> Array | None:
    """TensorFlow's result, for all others to be compared with; None if it is not installed or cannot do it."""
    try:
        backend = load("tensorflow")
    except MissingLibrary:
        return None
    inputs = workload.inputs()
    return None if backend.refuses(inputs, direction) else backend.run(inputs, direction)


def _measure(row: Row, backend: Backend, inputs: Inputs, call: Callable[[], Any], before: gate.Gate | None) -> Measured:
    """Gate, compulsory bytes, peak memory and length of a row's call; what a backend raises is the status ERROR."""

    def tensorflow() -> Array | None:
        return _tensorflow(row.workload, row.direction)

    try:
        found = gate.check(backend, inputs, row.direction, backend.to_numpy(call()), tensorflow, before)
        if not found.passed:
            return Measured(found)
        begin = time.perf_counter()
        peak = machine.peak_memory_bytes(call)
        seconds = time.perf_counter() - begin
    except Exception as error:  # a row that breaks must not take the others with it
        return Measured(gate.Gate("ERROR", False, f"{type(error).__name__}: {error}"))
    return Measured(found, compulsory_bytes(inputs, row.direction, row.layout), peak, seconds)


@dataclass(frozen=True)
class Prepared:
    """A row that may be timed: the call, and what is stored beside its samples."""

    call: Callable[[], Any]
    seconds: float
    record: dict[str, Any]


@pytest.fixture(scope="session")
def measured() -> dict[tuple[Workload, Direction, str, Layout], Measured]:
    """What the first block found out, for the blocks after it."""
    return {}


@pytest.fixture
def prepared(
    row: Row,
    run: Any,
    judged: dict[tuple[str, ...], gate.Gate],
    measured: dict[Any, Measured],
    unmeasured: list[dict[str, Any]],
) -> Prepared:
    """The row's call, gate passed. Otherwise the row is filed with its status and the test is skipped or fails."""
    try:
        inputs = row.workload.inputs(row.layout)
    except ModuleNotFoundError as missing:
        pytest.skip(
            f"Workload {row.workload.name} needs {missing.name}, which is not installed; `make env` installs it."
        )
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "run": run.name,
        "kind": run.kind,
        "device": machine.device(),
        "allocator": machine.allocator(),
        "threads": machine.threads(),
        "copy_gbps": run.copy_gbps,
        "workload": row.workload.name,
        "source": row.workload.source,
        "series": row.workload.series,
        "size": row.workload.size,
        "op": "crop_and_resize",
        "direction": row.direction,
        "backend": row.backend,
        "title": row.backend,
        "dtype": inputs.image.dtype.name,
        "layout": row.layout,
        "block": row.block,
        "boxes": len(inputs.boxes),
    }
    try:
        backend: Backend = load(row.backend)
    except MissingLibrary as missing:
        unmeasured.append({**record, "status": "MISSING", "message": str(missing)})
        pytest.skip(str(missing))
    record |= {"title": backend.title, "op": "crop_and_resize" if backend.same_rule else "roi_align"}
    refusal = backend.refuses(inputs, row.direction)
    if refusal is not None:
        unmeasured.append({**record, "status": "REFUSED", "message": refusal})
        pytest.skip(refusal)
    key = (row.workload, row.direction, row.backend, row.layout)
    try:
        call = backend.prepare(inputs, row.direction)
    except Exception as error:  # torchvision's graph, for one, is built here
        unmeasured.append({**record, "status": "ERROR", "message": f"{type(error).__name__}: {error}"})
        raise
    if key not in measured:
        before = judged.get((row.workload.name, row.direction, row.backend, row.layout))
        measured[key] = _measure(row, backend, inputs, call, before)
    found = measured[key]
    record |= asdict(found.gate) | {
        "peak_memory_bytes": found.peak_memory_bytes,
        "compulsory_bytes": found.compulsory_bytes,
    }
    if not found.gate.passed:
        unmeasured.append(record)
        pytest.fail(f"{row} may not be timed: {found.gate.status}. {found.gate.message}", pytrace=False)
    return Prepared(call, found.seconds, record)


@pytest.mark.benchmark(disable_gc=True)
def bench_crop_and_resize(prepared: Prepared, benchmark: Any) -> None:
    result: list[Any] = []

    def call() -> None:
        result.append(prepared.call())

    machine.give_back_memory()
    seconds = prepared.seconds if prepared.seconds > clocks.LONG else clocks.warm_up(prepared.call)
    benchmark.extra_info.update(prepared.record)
    # Cleared between the rounds, so that every call finds the memory of the one before it given back.
    benchmark.pedantic(call, setup=result.clear, rounds=(clocks.QUICK if QUICK else clocks.FULL).rounds(seconds))
