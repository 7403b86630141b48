"""Times multiscale_roi_align beside torchvision's gather and scatter per level, on four levels of real features.

The oracle judges a sample of every level's pooled boxes, and of every map's gradient, before either is timed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torchvision", reason="the poolers' peer is torchvision's")
pytest.importorskip("skimage", reason="the photographs are scikit-image's")

import torch
from torchvision.ops import MultiScaleRoIAlign  # type: ignore[import-untyped, unused-ignore]

from harness.backends import load
from harness.detectors.pyramid import judge_levels, levels
from harness.measuring import devices, settings
from harness.measuring.columns import blocks
from harness.measuring.gate import Gate
from harness.measuring.record import Record
from harness.measuring.workloads import pyramid_inputs
from harness.operators.arrays import Direction
from roi_align import TorchvisionMultiScaleRoIAlign

SETTINGS = settings.read()
DEVICE = devices.current()
DIRECTIONS: tuple[Direction, ...] = ("forward", "grad_image")
POOLERS = ("roi_align", "torchvision")
SOURCE = "levels P2 to P5 of the photographs' pyramid in one call, 7x7: each segment's box from its level"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    own = blocks(SETTINGS, metafunc.config.getoption("benchmark_only"))
    order = [(block, pooler) for block in own for pooler in POOLERS[:: 1 if block % 2 == 0 else -1]]
    metafunc.parametrize(("block", "pooler"), order)
    metafunc.parametrize("cache", DEVICE.caches)
    metafunc.parametrize("direction", DIRECTIONS)


def backend_of(pooler: str) -> str:
    """The name of the pooler's backend on the measured device."""
    return pooler if DEVICE.type == "cpu" else f"{pooler}_{DEVICE.type}"


def call_of(pooler: str, direction: Direction) -> tuple[Callable[[], Any], Any]:
    """The call to time, and the upstream gradient of its pooled boxes."""
    maps, boxes, shapes = pyramid_inputs()
    on_device = {name: torch.from_numpy(each).to(DEVICE.type) for name, each in maps.items()}
    for each in on_device.values():
        each.requires_grad_(direction != "forward")
    rows = [torch.from_numpy(each).to(DEVICE.type) for each in boxes]
    module = (TorchvisionMultiScaleRoIAlign if pooler == "roi_align" else MultiScaleRoIAlign)(list(maps), 7, 2)
    pooled = module(on_device, rows, shapes)
    upstream = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(0)).to(DEVICE.type)
    if direction == "forward":
        return lambda: module(on_device, rows, shapes), upstream
    return lambda: torch.autograd.grad(pooled, list(on_device.values()), upstream, retain_graph=True), upstream


@functools.cache
def gate_of(pooler: str, direction: Direction) -> Gate:
    """Whether the result may be timed: the oracle's verdict, level by level."""
    maps, boxes, _ = pyramid_inputs()
    call, upstream = call_of(pooler, direction)
    scales = [2.0 ** -(2 + k) for k in range(len(maps))]
    of = levels(list(maps.values()), scales, boxes, upstream.cpu().numpy(), 2)
    if direction == "forward":
        pooled = call().detach().cpu().numpy()
        results = [pooled[level.rows] for level in of]
    else:
        results = [each.cpu().numpy() for each in call()]
    pinned = direction in load(backend_of(pooler), "roi_align").sheet.pinned
    verdict = judge_levels(of, direction, results, pinned=pinned)
    return Gate(verdict.status.name, verdict.passed, "" if verdict.passed else str(verdict))


@pytest.mark.benchmark(disable_gc=True, timer=DEVICE.timer)
def bench_multiscale(block: int, pooler: str, cache: str, direction: Direction, benchmark: Any, ledger: Any) -> None:
    gate, (call, upstream) = gate_of(pooler, direction), call_of(pooler, direction)
    backend = backend_of(pooler)
    record = Record(
        bench="roi_align", setting="sampling_ratio 2", workload="pyramid", source=SOURCE, op="multiscale_roi_align",
        direction=direction, backend=backend, title=backend, layout="contiguous", cache=cache, block=block,
        boxes=len(upstream), host_s=DEVICE.host_seconds(call), **gate.stored(),
    )  # fmt: skip
    if not gate.passed:
        ledger.records.append(record)
        pytest.fail(f"The pyramid in {pooler} may not be timed: {gate.message}", pytrace=False)
    rounds = DEVICE.budget[SETTINGS.quick].rounds(DEVICE.settle(call, 0.0))
    ledger.records.append(devices.measure_row(DEVICE, benchmark, record, call, rounds))
