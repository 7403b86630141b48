"""A fake GPU: a stream with simulated time instead of torch.cuda's.

The host and the device each have a clock. A kernel begins when it is queued or when the previous one ends, and so do
events, so all measured times are known in advance. As a pytest plugin (`-p suites.meta.measuring.fake_cuda`) it puts
CPU kernels behind the names of the CUDA backends, and a small workload in place of all others: a complete run of the
CUDA benchmarks without a GPU.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

PROPERTIES = SimpleNamespace(
    name="NVIDIA Fake 1",
    major=9,
    minor=0,
    multi_processor_count=4,
    L2_cache_size=1 << 20,
    total_memory=1 << 30,
    uuid="1a2b3c4d-0000-0000-0000-000000000001",
)
CYCLES_PER_SECOND = 1e9


@dataclass
class Stream:
    """host and device: times in seconds, the device's being the end of the queue; trace: the operations, in order."""

    host: float = 0.0
    device: float = 0.0

    def __post_init__(self) -> None:
        self.trace: list[str] = []

    def queue(self, operation: str, seconds: float, host_seconds: float = 0.0) -> None:
        """Queues a kernel; its launch takes host_seconds."""
        self.trace.append(operation)
        self.host += host_seconds
        self.device = max(self.device, self.host) + seconds

    def synchronize(self) -> None:
        self.trace.append("synchronize")
        self.host = max(self.host, self.device)


class Event:
    """torch.cuda.Event on the latest installed stream."""

    stream = Stream()

    def __init__(self, enable_timing: bool = False) -> None:
        assert enable_timing
        self.at = -1.0

    def record(self) -> None:
        self.stream.trace.append("event")
        self.at = max(self.stream.device, self.stream.host)

    def query(self) -> bool:
        return self.stream.host >= self.at

    def synchronize(self) -> None:
        self.stream.host = max(self.stream.host, self.at)

    def elapsed_time(self, later: Event) -> float:
        return (later.at - self.at) * 1e3


def install(patch: Any) -> Stream:
    """Installs a new stream for measuring/devices/cuda.py; patch(object, name, value) sets an attribute."""
    import torch

    from harness.measuring.devices import cuda

    stream = Stream()
    patch(Event, "stream", stream)
    patch(torch.cuda, "is_available", lambda: True)
    patch(torch.cuda, "Event", Event)
    patch(torch.cuda, "synchronize", stream.synchronize)
    patch(torch.cuda, "get_device_properties", lambda: PROPERTIES)
    patch(torch.cuda, "_sleep", lambda cycles: stream.queue("spin", cycles / CYCLES_PER_SECOND))
    flushing = (
        SimpleNamespace(zero_=lambda: stream.queue("flush", 50e-6)),
        SimpleNamespace(sum=lambda: stream.queue("read", 50e-6)),
    )
    patch(cuda, "_flushing", lambda: flushing)
    cuda._cycles_per_second.cache_clear()
    return stream


def pytest_configure(config: Any) -> None:
    """The plugin: every call is a kernel of 50 µs."""
    import torch

    from harness import backends
    from harness.backends import grid_sample, package, torchvision
    from harness.measuring import columns, workloads
    from harness.measuring.devices import cuda

    stream = install(setattr)
    patched = {
        "reset_peak_memory_stats": lambda: None,
        "memory_allocated": lambda: 1000,
        "max_memory_allocated": lambda: 5000,
    }
    for name, function in patched.items():
        setattr(torch.cuda, name, function)
    cuda.copy_gbps = lambda: 3000.0

    def on_the_stream(backend: Any) -> Any:
        def prepare(inputs: Any, direction: Any) -> Any:
            call = backend.prepare(inputs, direction)

            def queued() -> Any:
                stream.queue("call", 50e-6, 10e-6)
                return call()

            return queued

        return replace(backend, prepare=prepare)

    atomics: Any = {
        "tensorflow_bits": ("forward",),
        "layout_bits": ("forward", "grad_image"),
        "unordered": ("grad_image",),
    }
    ours = package.make_crop_and_resize("roi_align_cuda", "cpu")
    fakes = {
        "crop_and_resize": (
            replace(ours, sheet=replace(ours.sheet, **atomics)),
            package.make_crop_and_resize("roi_align_cuda_deterministic", "cpu", deterministic=True),
            torchvision.make_crop_and_resize("torchvision_cuda", "cpu", ("float32",)),
            grid_sample.make_crop_and_resize("grid_sample_cuda", "cpu"),
            grid_sample.make_crop_and_resize("grid_sample_cuda_compiled", "cpu"),
        ),
        "roi_align": (
            package.make_roi_align("roi_align_cuda", "cpu"),
            torchvision.make_roi_align("torchvision_cuda", "cpu"),
        ),
    }
    for operator, those in fakes.items():
        for name, fake in {each.name: on_the_stream(each) for each in those}.items():
            backends.register(operator, name, lambda _, fake=fake: fake)
    columns.WORKLOADS = (
        replace(workloads.SMOKE, name="small"),
        replace(workloads.SMOKE, name="line", series="boxes", size=20),
    )


def pytest_runtest_setup(item: Any) -> None:
    """The run's time limit expires after FAKE_CUDA_ROWS rows."""
    item.config.fake_rows = getattr(item.config, "fake_rows", 0) + 1
    if item.config.fake_rows > float(os.environ.get("FAKE_CUDA_ROWS", "inf")):
        time.monotonic = lambda: float("inf")
