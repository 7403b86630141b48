"""The interface of a measured device: one record for the CPU, one for CUDA.

A process measures one device; settings.py reads its type.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from harness.measuring import clocks, settings
from harness.measuring.devices import cpu
from harness.measuring.record import Record


@dataclass(frozen=True)
class Device:
    """One type of device.

    type        "cpu" or "cuda".
    why_not     the reason why it cannot be measured on this machine, or None.
    name        its name in results.
    describe    its description, stored with the figures.
    gpu         its uuid in nvidia-smi, "" for a CPU.
    allocator   the allocator of this process; each has columns of its own in the results.
    copy_gbps   GB/s of a copy, reads and writes together: the roof.
    peak_memory_bytes  the peak memory of a call beyond the memory held before, None if unknown.
    line_bytes  the unit of memory access: a cache line on a CPU, a sector on a GPU.
    reference   the backend to compare with where TensorFlow's bits are promised, and its title.
    clock       the name of the clock; timer: the clock as pytest-benchmark's timer.
    caches      the cache states in which a call is timed.
    budget      the budgets of a row in a full run and in a quick run.
    settle      runs before a row's first timed call; gives the seconds of a warm call from those of the judged call.
    get_ready   runs before every timed call, with the cache state and the host seconds of the call.
    host_seconds  the host time of a call, None if the host is the device.
    exposed     the number of timed calls so far that included host time, None if the host is the device.
    """

    type: str
    why_not: Callable[[], str | None]
    name: Callable[[], str]
    describe: Callable[[], dict[str, object]]
    gpu: Callable[[], str]
    allocator: Callable[[], str]
    copy_gbps: Callable[[], float]
    peak_memory_bytes: Callable[[Callable[[], object]], int | None]
    line_bytes: int
    reference: tuple[str, str]
    clock: str
    timer: Callable[[], Any]
    caches: tuple[str, ...]
    budget: tuple[clocks.Budget, clocks.Budget]
    settle: Callable[[Callable[[], object], float], float]
    get_ready: Callable[[str, float], None]
    host_seconds: Callable[[Callable[[], object]], float | None]
    exposed: Callable[[], int | None]


def current() -> Device:
    """The device that this process measures; ValueError if BENCH_DEVICE is unknown."""
    return load(os.environ.get(settings.DEVICE, "cpu"))


def load(name: str) -> Device:
    """The device of this type."""
    if name not in TYPES:
        raise ValueError(f"There is no device {name!r} to measure; there are {', '.join(TYPES)}.")
    return TYPES[name]()


def _cpu() -> Device:
    def settle(call: Callable[[], object], seconds: float) -> float:
        cpu.give_back_memory()
        return seconds if seconds > clocks.LONG else clocks.warm_up(call)

    return Device(
        type="cpu",
        why_not=lambda: None,
        name=cpu.device,
        describe=cpu.describe,
        gpu=lambda: "",
        allocator=cpu.allocator,
        copy_gbps=cpu.copy_gbps,
        peak_memory_bytes=cpu.peak_memory_bytes,
        line_bytes=64,
        reference=("tensorflow", "TensorFlow"),
        clock="time.perf_counter",
        timer=time.perf_counter,
        caches=("warm",),
        budget=(clocks.FULL, clocks.QUICK),
        settle=settle,
        get_ready=lambda cache, host_seconds: None,
        host_seconds=lambda call: None,
        exposed=lambda: None,
    )


def _cuda() -> Device:
    from harness.measuring.devices import cuda

    clock = cuda.Clock()

    def get_ready(cache: str, host_seconds: float) -> None:
        cuda.get_ready(cold=cache == "cold", host_seconds=host_seconds)

    return Device(
        type="cuda",
        why_not=cuda.why_not,
        name=cuda.name,
        describe=cuda.describe,
        gpu=cuda.uuid,
        allocator=lambda: "cuda",
        copy_gbps=cuda.copy_gbps,
        peak_memory_bytes=cuda.peak_memory_bytes,
        line_bytes=32,
        # A GPU machine has no TensorFlow; this project's CPU operator has the same bits.
        reference=("roi_align", "this project's operator on the CPU"),
        clock=cuda.CLOCK,
        timer=clock,
        caches=("cold", "hot"),
        budget=(clocks.FULL_CUDA, clocks.QUICK_CUDA),
        settle=lambda call, seconds: cuda.seconds_per_call(call),
        get_ready=get_ready,
        host_seconds=cuda.host_seconds,
        exposed=lambda: clock.exposed,
    )


TYPES: dict[str, Callable[[], Device]] = {"cpu": _cpu, "cuda": _cuda}


def measure_row(
    device: Device,
    benchmark: Any,
    record: Record,
    call: Callable[[], Any],
    rounds: clocks.Rounds,
    renew: Callable[[], object] = lambda: None,
    judge_last: Callable[[Record, Any], Record] = lambda row, result: row,
) -> Record:
    """Times a call with pytest-benchmark and returns the row with its samples and counts.

    A result is freed before the next call, so every call finds the memory of the previous one released.
    pytest-benchmark's own JSON also has the row, under extra_info. Without --benchmark-only there are no samples.

    renew       called before each timed call, untimed.
    judge_last  called with the row and the last result; returns the row.
    """
    result: list[Any] = []

    def between() -> None:
        result.clear()
        renew()
        device.get_ready(record.cache, record.host_s or 0.0)

    exposed, interrupted = device.exposed(), clocks.interruptions()
    benchmark.pedantic(lambda: result.append(call()), setup=between, rounds=rounds.count)
    row = replace(
        record,
        stopped=rounds.stopped,
        interruptions=clocks.interruptions() - interrupted,
        exposed=None if exposed is None else (device.exposed() or 0) - exposed,
        samples=() if benchmark.disabled else tuple(benchmark.stats.stats.data),
    )
    row = judge_last(row, result[-1])
    benchmark.extra_info |= {name: value for name, value in asdict(row).items() if name != "samples"}
    return row
