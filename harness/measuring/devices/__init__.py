"""What a run of the benchmarks asks of the device that it measures: one record for the CPU, one for CUDA.

A process measures one device, whose type settings.py reads.
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
    """One type of device, in torch's word for it.

    type        "cpu" or "cuda".
    why_not     why it cannot be measured on this machine, or None if it can.
    name        what its results are filed under.
    describe    what is known of it, as it is stored beside the figures.
    gpu         the uuid that nvidia-smi knows it by, "" of a CPU.
    allocator   which allocator this process runs with: one column of the results each.
    copy_gbps   GB/s that a copy reads and writes together: the roof.
    peak_memory_bytes  the most memory held during a call beyond what was held before, None if it cannot be told.
    line_bytes  the unit in which its memory is read: a line of a CPU's cache, a sector of a GPU's.
    reference   the backend whose bits a result must have where TensorFlow's bits are promised, and what it is called.
    clock       the name of the clock, and timer, its readings as pytest-benchmark takes them.
    caches      in which states of the cache a call is timed.
    budget      how long a row may take, in a full run and in a quick one.
    settle      before a row's first timed call: seconds that a call takes once warm, given what the judged one took.
    get_ready   before every timed call: in this state of the cache, for a call that costs the host this long.
    host_seconds  what a call costs the host, None where the host is the device.
    exposed     how many timed calls so far were not hidden from the host's own pace, None likewise.
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


def chosen() -> Device:
    """The device that this process measures; ValueError if BENCH_DEVICE names none."""
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
        # A GPU machine has no TensorFlow. What has TensorFlow's bits on the CPU has them to give.
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
    """Times a call with pytest-benchmark: the row with its samples, why there are no more, and what was counted.

    A result is freed before the next call, so that every call finds the memory of the one before it given back.
    pytest-benchmark's own JSON has the row too, under extra_info. Where it only tries a body out there are no samples.

    renew   called before each timed call, outside of its time.
    judged  the row after a look at the last result.
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
