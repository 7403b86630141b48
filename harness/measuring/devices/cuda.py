"""CUDA as a measured device: timing a call, and the description of the device.

A launch returns before its kernel has run, and takes longer than a small kernel. So a spinning kernel goes first: while
it keeps the device busy, the host queues an event, the call and another event; the time between the events is the
call's device time, without the host's. If a call itself waits for the device, nothing can be queued ahead of it; the
clock detects that, and such rounds are counted. Before the spin the cache is flushed and cleaned, or left as the
previous call filled it. The host time of a call is measured separately.

Timing uses torch's events, and torch describes the device; torch is not the implementation under test here.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from functools import lru_cache

import torch

from harness.measuring import nvidia_smi
from harness.measuring.devices import cpu

CLOCK = "CUDA events behind a spinning kernel"
# The host time that the spin must cover beside the call: two events, and pytest-benchmark's own steps.
_HOST_SECONDS = 200e-6
_CALIBRATION_CYCLES = 2_000_000
# Times the cache's size: eviction is not strictly least-recently-used, so twice the size would leave some lines.
_FLUSH_FACTOR = 4


def why_not() -> str | None:
    """The reason why CUDA cannot be measured here, or None."""
    if torch.cuda.is_available():
        return None
    return "Measuring on CUDA needs a GPU, and torch.cuda.is_available() is False on this machine."


def name() -> str:
    """The name of this device in results, e.g. "cuda-nvidia-h200"."""
    words = re.findall(r"[a-z0-9]+", torch.cuda.get_device_properties().name.lower())
    return "-".join(["cuda", *words])


def describe() -> dict[str, object]:
    """The description of the device and its host, stored with the figures."""
    properties = torch.cuda.get_device_properties()
    host = cpu.describe()
    return {
        **host,
        "device": name(),
        "gpu": properties.name,
        "driver": driver(),
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "l2_bytes": properties.L2_cache_size,
        "gpu_memory_bytes": properties.total_memory,
        "event_pair_s": event_pair_seconds(),
        "versions": {**host["versions"], "cuda": torch.version.cuda, "torch": str(torch.__version__)},  # type: ignore[dict-item]
    }


def uuid() -> str:
    """The device's uuid for nvidia-smi; torch's numbers depend on CUDA_VISIBLE_DEVICES."""
    return f"GPU-{torch.cuda.get_device_properties().uuid}"


def driver() -> str:
    """The driver's version from nvidia-smi, "unknown" without it."""
    answer = nvidia_smi.ask("--query-gpu=driver_version", uuid())
    return answer[0][0] if answer else "unknown"


class Reading:
    """A moment on the current stream, as an event: `later - earlier` waits for both and gives seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self.event.record()

    def __sub__(self, earlier: Reading) -> float:
        # Everything is queued by now. If the device has passed the first event, the spin was too short.
        self._clock.exposed += bool(earlier.event.query())  # type: ignore[no-untyped-call]
        self.event.synchronize()
        return float(earlier.event.elapsed_time(self.event)) / 1e3


class Clock:
    """A timer for pytest-benchmark whose readings are events; exposed: the number of rounds that the spin did not
    cover."""

    def __init__(self) -> None:
        self.__name__ = CLOCK  # what pytest-benchmark stores as the timer
        self.exposed = 0

    def __call__(self) -> Reading:
        return Reading(self)


def get_ready(*, cold: bool, host_seconds: float) -> None:
    """Runs before each timed call: flushes the cache if `cold`, and keeps the device busy while the call is queued.

    host_seconds: the time the host needs to queue the call.
    """
    if cold:
        for_writing, for_reading = _flushing()
        for_writing.zero_()
        for_reading.sum()
    torch.cuda._sleep(int((2 * host_seconds + _HOST_SECONDS) * _cycles_per_second()))  # type: ignore[no-untyped-call]


@lru_cache(maxsize=1)
def _flushing() -> tuple[torch.Tensor, torch.Tensor]:
    """The buffers for flushing the second-level cache: one to write, one to read afterwards.

    Writing leaves the cache full of dirty lines, whose write-back would fall into the timed call; reading other memory
    evicts them first.
    """
    size = _FLUSH_FACTOR * torch.cuda.get_device_properties().L2_cache_size
    return tuple(torch.zeros(size // 4, dtype=torch.float32, device="cuda") for _ in range(2))  # type: ignore[return-value]


@lru_cache(maxsize=1)
def _cycles_per_second() -> float:
    """The cycles per second of the spinning kernel, the maximum over some rounds: an idle device raises its clocks
    slowly."""
    clock, seconds = Clock(), []
    for _ in range(10):
        begin = clock()
        torch.cuda._sleep(_CALIBRATION_CYCLES)  # type: ignore[no-untyped-call]
        seconds.append(clock() - begin)
    return _CALIBRATION_CYCLES / min(seconds)


def seconds_per_call(call: Callable[[], object], calls: int = 3) -> float:
    """Seconds of a warm call including its launches, the minimum over some calls; determines the number of rounds."""
    clock, seconds = Clock(), []
    for _ in range(calls):
        begin = clock()
        call()
        seconds.append(clock() - begin)
    return min(seconds)


def host_seconds(call: Callable[[], object], calls: int = 15) -> float:
    """The host time of a call: until it returns, with an idle device, median over some calls."""
    seconds = []
    for _ in range(calls):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - begin)
        del result
    torch.cuda.synchronize()
    return statistics.median(seconds)


def event_pair_seconds(rounds: int = 20) -> float:
    """The time between two events with nothing in between: the resolution of the clock."""
    clock, seconds = Clock(), []
    for _ in range(rounds):
        get_ready(cold=False, host_seconds=0)
        begin = clock()
        seconds.append(clock() - begin)
    return statistics.median(seconds)


def copy_gbps(megabytes: int = 1024, rounds: int = 10) -> float:
    """GB/s of a copy within the device's memory, reads and writes together, median over some rounds."""
    source = torch.ones(megabytes << 18, dtype=torch.float32, device="cuda")
    target = torch.zeros_like(source)
    clock, seconds = Clock(), []
    for _ in range(rounds + 1):
        get_ready(cold=False, host_seconds=0)
        begin = clock()
        target.copy_(source)
        seconds.append(clock() - begin)
    return 2 * source.nbytes / statistics.median(seconds[1:]) / 1e9


def peak_memory_bytes(call: Callable[[], object]) -> int:
    """The peak device memory of torch's allocator during a call beyond the memory held before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = call()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    del result
    return max(0, peak - before)
