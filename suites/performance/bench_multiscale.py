"""Times multiscale_roi_align beside torchvision's gather and scatter per level, on four levels of real features.

Each box of ours must have the bits of roi_align (judged in bench_operators.py) on one of the levels; torchvision's must
agree within the bound of a sum.
"""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torchvision", reason="the poolers' peer is torchvision's")
pytest.importorskip("skimage", reason="the photographs are scikit-image's")

import torch
from torchvision.ops import MultiScaleRoIAlign  # type: ignore[import-untyped, unused-ignore]

from harness.measuring import devices, settings
from harness.measuring.columns import blocks
from harness.measuring.record import Record
from harness.measuring.workloads import pyramid_inputs
from harness.operators.arrays import Direction
from roi_align import TorchvisionMultiScaleRoIAlign, roi_align

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


@pytest.mark.benchmark(disable_gc=True, timer=DEVICE.timer)
def bench_multiscale(block: int, pooler: str, cache: str, direction: Direction, benchmark: Any, ledger: Any) -> None:
    levels, boxes, shapes = pyramid_inputs()
    names = list(levels)
    maps = {name: torch.from_numpy(level).to(DEVICE.type) for name, level in levels.items()}
    for each in maps.values():
        each.requires_grad_(direction != "forward")
    rows = [torch.from_numpy(each).to(DEVICE.type) for each in boxes]
    module = (TorchvisionMultiScaleRoIAlign if pooler == "roi_align" else MultiScaleRoIAlign)(names, 7, 2)
    pooled = module(maps, rows, shapes)
    alone = torch.stack([roi_align(maps[name], rows, 7, 2.0 ** -(2 + k), 2) for k, name in enumerate(names)])
    apart = (alone - pooled).abs().flatten(2).amax(dim=2).amin(dim=0).max()
    assert apart <= (0 if pooler == "roi_align" else 1e-5 * alone.abs().max())
    upstream = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(0)).to(DEVICE.type)

    def call() -> Any:
        if direction == "forward":
            return module(maps, rows, shapes)
        return torch.autograd.grad(pooled, list(maps.values()), upstream, retain_graph=True)

    backend = pooler if DEVICE.type == "cpu" else f"{pooler}_{DEVICE.type}"
    record = Record(
        bench="roi_align", setting="sampling_ratio 2", workload="pyramid", source=SOURCE, op="multiscale_roi_align",
        direction=direction, backend=backend, title=backend, layout="contiguous", cache=cache, block=block,
        boxes=len(pooled), status="EXACT" if pooler == "roi_align" else "WITHIN", host_s=DEVICE.host_seconds(call),
    )  # fmt: skip
    rounds = DEVICE.budget[SETTINGS.quick].rounds(DEVICE.settle(call, 0.0))
    ledger.records.append(devices.measure_row(DEVICE, benchmark, record, call, rounds))
