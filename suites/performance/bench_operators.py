"""Times both operators in the implementations whose results were judged correct on the very same input.

The columns and their order are in measuring/columns.py. BENCH_DEVICE and BENCH_SETTINGS (measuring/settings.py) select
the device and the options; `python -m harness bench` sets them. Without `--benchmark-only` each body runs once on a
small workload. Functions outside this project (measuring/foreign.py) have columns beside these.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytest

from harness.backends import is_foreign, load
from harness.measuring import devices, foreign, gate, settings
from harness.measuring.columns import Turn, blocks, columns_of, turns, workloads_for
from harness.measuring.record import Record
from harness.measuring.traffic import Traffic, traffic
from harness.measuring.workloads import SMOKE, Workload
from harness.operators import OPERATORS, Operator
from harness.operators.arrays import Array, Direction
from harness.operators.implementation import Backend
from harness.repository import MissingLibrary, digest

SETTINGS = settings.read()
DEVICE = devices.current()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "turn" in metafunc.fixturenames:
        measuring = metafunc.config.getoption("benchmark_only")
        allocator = DEVICE.allocator()
        workloads = workloads_for(SETTINGS, allocator) if measuring else (SMOKE,)
        every_setting = not (measuring and SETTINGS.quick)
        columns = columns_of(DEVICE.type, allocator)
        others = foreign.functions(SETTINGS, metafunc.config.getoption("backend"))
        if others:
            columns = foreign.beside(columns, others, DEVICE.type)
        all_turns = turns(columns, DEVICE.caches, workloads, blocks(SETTINGS, measuring), every_setting)
        metafunc.parametrize("turn", list(all_turns), ids=str)


@lru_cache(maxsize=len(OPERATORS))
def _inputs_digest(operator: Operator, workload: Workload) -> str:
    """Shows whether two machines had the same inputs: the pyramid, for example, comes from each machine's own
    convolutions."""
    inputs = operator.from_workload(workload.inputs(), operator.settings[0])
    return digest(*(np.ascontiguousarray(getattr(inputs, name)) for name in operator.arrays))


@lru_cache(maxsize=1)  # the columns of a (workload, direction, type) are consecutive
def _reference(operator: Operator, workload: Workload, setting: str, direction: Direction, dtype: str) -> Array | None:
    """The reference result for backends that promise its bits; None if the library is missing or does not support the
    call."""
    try:
        backend = load(DEVICE.reference[0], operator.name)
    except MissingLibrary:
        return None
    inputs = operator.from_workload(workload.inputs(dtype=dtype), setting)
    return None if backend.refuses(inputs, direction) else backend.run(inputs, direction)


_NOTHING = Traffic(0, 0)


@dataclass(frozen=True)
class Measurement:
    """The measurements of a call that its first block makes, once.

    seconds  the duration of a call.
    """

    gate: gate.Gate
    traffic: Traffic = _NOTHING
    peak_memory_bytes: int | None = None
    host_s: float | None = None
    seconds: float = 0.0


def _measure(
    turn: Turn, backend: Backend[Any], inputs: Any, call: Callable[[], Any], earlier: dict[str, gate.Gate]
) -> Measurement:
    """Measures a call once; an exception of the backend is the status ERROR."""

    def reference() -> Array | None:
        if inputs.boxes.dtype != np.float32:
            return None
        return _reference(turn.operator, turn.workload, turn.setting, turn.direction, turn.column.dtype)

    try:
        result = backend.to_numpy(call())
        verdict = gate.check(backend, inputs, turn.direction, result, reference, earlier, DEVICE.reference[1])
        if not verdict.passed:
            return Measurement(verdict)
        earlier[verdict.digest] = verdict
        begin = time.perf_counter()
        peak = DEVICE.peak_memory_bytes(call)
        seconds = time.perf_counter() - begin
        host = DEVICE.host_seconds(call)
    except Exception as error:  # a row that breaks must not take the others with it
        return Measurement(gate.Gate("ERROR", False, f"{type(error).__name__}: {error}"))
    bytes_moved = traffic(turn.operator.reach(inputs), turn.direction, turn.column.layout, DEVICE.line_bytes)
    return Measurement(verdict, bytes_moved, peak, host, seconds)


@pytest.fixture(scope="session")
def measurements() -> dict[Turn, Measurement]:
    """The first block's measurements of each call, for the later blocks."""
    return {}


@pytest.fixture(scope="session")
def held_calls() -> dict[Turn, Callable[[], Any]]:
    """The prepared call that the next row reuses, with another state of the cache; at most one."""
    return {}


@dataclass(frozen=True)
class ReadyCall:
    """A row that may be timed: the call, its duration, and its record without samples.

    call  for a function outside this project, a call whose inputs are renewed.
    """

    call: Callable[[], Any] | foreign.RenewableCall
    seconds: float
    record: Record


@pytest.fixture
def ready_call(
    turn: Turn,
    ledger: Any,
    gates: dict[tuple[str, ...], dict[str, gate.Gate]],
    measurements: dict[Turn, Measurement],
    held_calls: dict[Turn, Callable[[], Any]],
) -> ReadyCall:
    """The row's call, which has passed the gate. Otherwise the row is recorded with its status and the test is skipped
    or fails."""
    operator, workload, column, record = turn.operator, turn.workload, turn.column, turn.record()

    def without_a_time(status: str, message: str) -> str:
        ledger.records.append(replace(record, status=status, message=message))
        return message

    def refuse(verdict: gate.Gate) -> None:
        ledger.records.append(replace(record, **verdict.stored()))
        pytest.fail(f"{turn} may not be timed: {verdict.status}. {verdict.message}", pytrace=False)

    if ledger.over:
        # After the first block, the samples of an earlier block or process exist.
        pytest.skip(without_a_time("NO_TIME", ledger.over) if turn.block == 0 else ledger.over)
    try:
        inputs = turn.inputs()
    except ModuleNotFoundError as missing:
        message = f"Workload {workload.name} needs {missing.name}, which is not installed; `make env` installs it."
        pytest.skip(without_a_time("MISSING", message))
    record = replace(record, boxes=len(inputs.boxes), inputs_digest=_inputs_digest(operator, workload))
    theirs = is_foreign(column.backend)
    try:
        # A foreign function runs in this process only after another process has judged it correct.
        backend: Backend[Any] = foreign.apart(column.backend) if theirs else load(column.backend, operator.name)
    except MissingLibrary as missing:
        pytest.skip(without_a_time("MISSING", str(missing)))
    inputs = foreign.fit_to_sheet(inputs, backend.sheet)
    # The other rule, timed for comparison, is roi_align's.
    record = replace(record, title=backend.title, op=operator.name if backend.same_rule else "roi_align")
    refusal = backend.refuses(inputs, turn.direction)
    if refusal is not None:
        pytest.skip(without_a_time("REFUSED", refusal))
    if theirs and turn.call not in measurements:
        verdict = foreign.judge_apart(column.backend, inputs, turn.direction)
        if not verdict.passed:
            measurements[turn.call] = Measurement(verdict)
    if turn.call in measurements and not measurements[turn.call].gate.passed:
        refuse(measurements[turn.call].gate)
    try:
        if theirs:
            backend = load(column.backend, operator.name)
        prepare = partial(foreign.RenewableCall, backend) if theirs else backend.prepare
        call = held_calls.pop(turn.call, None) or prepare(inputs, turn.direction)
    except Exception as error:  # builds torchvision's graph, for example
        without_a_time("ERROR", f"{type(error).__name__}: {error}")
        raise
    held_calls.clear()
    if turn.cache != DEVICE.caches[-1]:
        held_calls[turn.call] = call
    if turn.call not in measurements:
        key = (operator.name, workload.name, turn.setting, turn.direction, column.backend, column.dtype)
        measurements[turn.call] = _measure(turn, backend, inputs, call, gates[key])
    of = measurements[turn.call]
    record = replace(
        record, **of.gate.stored(), peak_memory_bytes=of.peak_memory_bytes, compulsory_bytes=of.traffic.compulsory,
        requested_bytes=of.traffic.requested, host_s=of.host_s,
    )  # fmt: skip
    if not of.gate.passed:
        refuse(of.gate)
    return ReadyCall(call, of.seconds, record)


@pytest.mark.benchmark(disable_gc=True, timer=DEVICE.timer)
def bench_operators(ready_call: ReadyCall, benchmark: Any, ledger: Any) -> None:
    call, record = ready_call.call, ready_call.record
    hooks = {"renew": call.renew, "judge_last": call.judge_last} if isinstance(call, foreign.RenewableCall) else {}
    try:
        rounds = DEVICE.budget[SETTINGS.quick].rounds(DEVICE.settle(call, ready_call.seconds))
        row = devices.measure_row(DEVICE, benchmark, record, call, rounds, **hooks)
    except Exception as error:
        ledger.records.append(replace(record, status="ERROR", message=f"{type(error).__name__}: {error}"))
        raise
    ledger.records.append(row)
    if row.status != record.status:
        pytest.fail(f"{row.backend} was timed and is not right: {row.status}. {row.message}", pytrace=False)
