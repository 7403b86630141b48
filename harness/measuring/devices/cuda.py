"""CUDA: how a call is timed there, and what the device is.

A launch returns before its kernel has run, and takes longer than a small kernel does. So a kernel that only spins goes
first: while it keeps the device busy the host queues an event, the call and another event, and what lies between the
events is the call's own work, without the host's. Where a call waits for the device itself nothing can be queued ahead
of it; a reading notices that, and such rounds are counted. Before the spin the cache is flushed and cleaned, or left as
the call before filled it. What the host pays for a call is measured apart.

It times with torch's events and says what torch knows of the device: it is no implementation under test.
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
# What must hide behind the spin beside the call itself: two events, and pytest-benchmark's own steps.
_HOST_SECONDS = 200e-6
_CALIBRATION_CYCLES = 2_000_000
# Of the cache's size. It does not evict what was used longest ago first, so twice its size would leave something.
_FLUSH_FACTOR = 4


def why_not() -> str | None:
    """Why nothing can be measured on CUDA here, or None if it can."""
    if torch.cuda.is_available():
        return None
    return "Measuring on CUDA needs a GPU, and torch.cuda.is_available() is False on this machine."


def name() -> str:
    """The name that results of this device are filed under, e.g. "cuda-nvidia-h200"."""
    words = re.findall(r"[a-z0-9]+", torch.cuda.get_device_properties().name.lower())
    return "-".join(["cuda", *words])


def describe() -> dict[str, object]:
    """The device and its host, as they are stored beside the figures."""
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
    """What nvidia-smi knows the device by: torch numbers those alone that CUDA_VISIBLE_DEVICES leaves it."""
    return f"GPU-{torch.cuda.get_device_properties().uuid}"


def driver() -> str:
    """The driver's version as nvidia-smi gives it, "unknown" where there is none."""
    answer = nvidia_smi.ask("--query-gpu=driver_version", uuid())
    return answer[0][0] if answer else "unknown"


class Reading:
    """A moment on the current stream, as an event: `later - earlier` waits for both and gives seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self.event.record()

    def __sub__(self, earlier: Reading) -> float:
        # All has been queued by now. If the device is past the first event already, it has not been kept busy.
        self._clock.exposed += bool(earlier.event.query())  # type: ignore[no-untyped-call]
        self.event.synchronize()
        return float(earlier.event.elapsed_time(self.event)) / 1e3


class Clock:
    """A timer for pytest-benchmark whose readings are events; exposed counts rounds that no spin has hidden."""

    def __init__(self) -> None:
        self.__name__ = CLOCK  # what pytest-benchmark stores as the timer
        self.exposed = 0

    def __call__(self) -> Reading:
        return Reading(self)


def get_ready(*, cold: bool, host_seconds: float) -> None:
    """Before each timed call: the cache flushed if it is to be cold, and the device kept busy while the call is queued.

    host_seconds: how long the host takes to make the call.
    """
    if cold:
        for_writing, for_reading = _flushing()
        for_writing.zero_()
        for_reading.sum()
    torch.cuda._sleep(int((2 * host_seconds + _HOST_SECONDS) * _cycles_per_second()))  # type: ignore[no-untyped-call]


@lru_cache(maxsize=1)
def _flushing() -> tuple[torch.Tensor, torch.Tensor]:
    """What is written over everything that the second-level cache holds, and what is read afterwards.

    Writing leaves the cache full of lines that differ from memory. They would be written back as the timed call takes
    their places, in its time: reading other memory takes them first.
    """
    size = _FLUSH_FACTOR * torch.cuda.get_device_properties().L2_cache_size
    return tuple(torch.zeros(size // 4, dtype=torch.float32, device="cuda") for _ in range(2))  # type: ignore[return-value]


@lru_cache(maxsize=1)
def _cycles_per_second() -> float:
    """How fast the spinning kernel counts, the most of some: an idle device takes a while to raise its clocks."""
    clock, seconds = Clock(), []
    for _ in range(10):
        begin = clock()
        torch.cuda._sleep(_CALIBRATION_CYCLES)  # type: ignore[no-untyped-call]
        seconds.append(clock() - begin)
    return _CALIBRATION_CYCLES / min(seconds)


def seconds_per_call(call: Callable[[], object], calls: int = 3) -> float:
    """Seconds that a call takes once warm, the least of some, its launches included: for choosing the rounds."""
    clock, seconds = Clock(), []
    for _ in range(calls):
        begin = clock()
        call()
        seconds.append(clock() - begin)
    return min(seconds)


def host_seconds(call: Callable[[], object], calls: int = 15) -> float:
    """What a call costs the host: the time until it returns, the device idle before it, median of some."""
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
    """What two events with nothing between them read: no time is known more closely than this."""
    clock, seconds = Clock(), []
    for _ in range(rounds):
        get_ready(cold=False, host_seconds=0)
        begin = clock()
        seconds.append(clock() - begin)
    return statistics.median(seconds)


def copy_gbps(megabytes: int = 1024, rounds: int = 10) -> float:
    """GB/s that a copy from the device's memory to itself reads and writes together, median of some rounds."""
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
    """The most device memory that torch's allocator held during a call beyond what it held before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = call()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    del result
    return max(0, peak - before)
