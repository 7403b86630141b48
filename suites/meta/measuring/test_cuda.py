"""CUDA's clock and the measurements of a device, on a stream with simulated time."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.measuring import devices
from harness.measuring.devices import cuda
from suites.meta.measuring import fake_cuda


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Any:
    fake = fake_cuda.install(monkeypatch.setattr)
    monkeypatch.setattr(cuda.time, "perf_counter", lambda: fake.host)
    yield fake
    cuda._cycles_per_second.cache_clear()


def kernel(stream: Any, seconds: float, host_seconds: float) -> Callable[[], None]:
    return lambda: stream.queue("call", seconds, host_seconds)


def time_of(clock: Any, call: Callable[[], None]) -> float:
    begin = clock()
    call()
    return clock() - begin


def test_a_time_behind_the_spin_excludes_the_launch(stream: Any) -> None:
    clock, call = cuda.Clock(), kernel(stream, 5e-6, host_seconds=30e-6)
    cuda.get_ready(cold=False, host_seconds=30e-6)
    assert time_of(clock, call) == pytest.approx(5e-6)
    assert clock.exposed == 0
    # Without it the time includes the launch, and the clock detects that.
    stream.synchronize()
    assert time_of(clock, call) == pytest.approx(35e-6)
    assert clock.exposed == 1


def test_a_call_that_waits_for_the_device_is_counted_as_exposed(stream: Any) -> None:
    clock = cuda.Clock()

    def waits() -> None:
        stream.queue("call", 5e-6, 30e-6)
        stream.synchronize()
        stream.queue("call", 5e-6, 30e-6)

    cuda.get_ready(cold=False, host_seconds=60e-6)
    assert time_of(clock, waits) == pytest.approx(40e-6)
    assert clock.exposed == 1


def test_only_a_cold_cache_is_flushed_before_the_spin(stream: Any) -> None:
    cuda._cycles_per_second()
    for cold, expected in ((True, ["flush", "read", "spin"]), (False, ["spin"])):
        stream.trace.clear()
        cuda.get_ready(cold=cold, host_seconds=0.0)
        assert stream.trace == expected


def test_the_spin_lasts_longer_than_the_host_needs(stream: Any) -> None:
    cuda._cycles_per_second()
    stream.synchronize()
    before = stream.device
    cuda.get_ready(cold=False, host_seconds=1e-3)
    assert stream.device - before > 2e-3


def test_the_spins_rate_is_measured_at_raised_clocks(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = iter([2e8] * 5 + [2e9] * 5)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: stream.queue("spin", cycles / next(rates)))
    assert cuda._cycles_per_second() == pytest.approx(2e9)


def test_flushing_uses_two_buffers_larger_than_twice_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """And different memory: reading the freshly written memory would hit the cache, and flush nothing."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: fake_cuda.PROPERTIES)
    zeros = torch.zeros
    devices_used = []

    def on_the_host(size: int, dtype: torch.dtype, device: str) -> torch.Tensor:
        devices_used.append(device)
        return zeros(size, dtype=dtype)

    monkeypatch.setattr(torch, "zeros", on_the_host)
    cuda._flushing.cache_clear()
    flush, clean = cuda._flushing()
    cuda._flushing.cache_clear()
    assert devices_used == ["cuda", "cuda"]
    assert min(flush.nbytes, clean.nbytes) > 2 * fake_cuda.PROPERTIES.L2_cache_size
    assert flush.data_ptr() != clean.data_ptr()


def test_host_seconds_exclude_the_kernel_and_the_wait(stream: Any) -> None:
    assert cuda.host_seconds(kernel(stream, 1e-3, host_seconds=30e-6)) == pytest.approx(30e-6)
    assert stream.trace == ["synchronize", "call"] * 15 + ["synchronize"]


def test_an_empty_pair_of_events_takes_no_time(stream: Any) -> None:
    assert cuda.event_pair_seconds() == 0


def test_seconds_per_call_ignores_the_first_call(stream: Any) -> None:
    first = iter([9e-3])
    seconds = cuda.seconds_per_call(lambda: stream.queue("call", next(first, 1e-3), 0.0))
    assert seconds == pytest.approx(1e-3)


def test_copy_bandwidth_counts_reads_and_writes(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def tensor(count: int, **_: Any) -> Any:
        nbytes = count * 4
        return SimpleNamespace(nbytes=nbytes, copy_=lambda source: stream.queue("copy", 2 * source.nbytes / 3e12))

    monkeypatch.setattr(torch, "ones", tensor)
    monkeypatch.setattr(torch, "zeros_like", lambda other: tensor(other.nbytes // 4))
    assert cuda.copy_gbps() == pytest.approx(3000)


def test_peak_memory_excludes_memory_held_before_the_call(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(now=700, most=9999)

    def call() -> None:
        memory.most = max(memory.most, memory.now + 300)

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: setattr(memory, "most", memory.now))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: memory.now)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: memory.most)
    assert cuda.peak_memory_bytes(call) == 300


def test_a_device_has_a_name_and_a_description(stream: Any) -> None:
    assert cuda.name() == "cuda-nvidia-fake-1"
    description = cuda.describe()
    assert description["device"] == "cuda-nvidia-fake-1"
    assert description["multiprocessors"] == 4
    assert description["l2_bytes"] == 1 << 20
    assert description["capability"] == "9.0"
    assert description["driver"]


def test_nvidia_smi_is_queried_by_torchs_uuid(stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By uuid: nvidia-smi's indices are the machine's and ignore CUDA_VISIBLE_DEVICES."""
    commands = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "580.65.06\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert cuda.driver() == "580.65.06"
    assert f"--id=GPU-{fake_cuda.PROPERTIES.uuid}" in commands[0]
    assert devices.load("cuda").gpu() == f"GPU-{fake_cuda.PROPERTIES.uuid}"
    assert devices.load("cpu").gpu() == ""


def test_an_unknown_device_raises_a_clear_error() -> None:
    with pytest.raises(ValueError, match=r"There is no device 'tpu' to measure; there are cpu, cuda\."):
        devices.load("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="about a machine without a GPU")
def test_measuring_cuda_without_a_gpu_is_refused_with_a_reason() -> None:
    assert "needs a GPU" in str(devices.load("cuda").why_not())
    assert devices.load("cpu").why_not() is None
