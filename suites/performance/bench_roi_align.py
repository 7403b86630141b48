"""roi_align and multiscale_roi_align beside torchvision's, on the same arrays, each result judged before it is timed.

`BENCH_OPERATOR=roi_align pytest suites/performance/bench_roi_align.py --benchmark-only --benchmark-json=FILE` measures,
on a GPU with BENCH_DEVICE=cuda; a plain run puts a small workload through every body once. The backends of a row follow
each other, in odd blocks in reverse, and calls are timed as in bench_crop_and_resize.py; the table that is printed at
the end has the ratios.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest

from harness import devices, machine
from harness.backends import MissingLibrary
from harness.case import Direction
from harness.columns import BLOCKS
from harness.roi_backends import load
from harness.roi_judge import judge
from harness.roi_workloads import RATIOS, pyramid_inputs, roi_inputs
from harness.workloads import SMOKE, WORKLOADS, Layout, Workload

QUICK = os.environ.get("QUICK") == "1"
MEASURING = os.environ.get("BENCH_OPERATOR") == "roi_align"
DEVICE = devices.chosen()
# The peer in the layout that it works in: any other it copies first.
COLUMNS: dict[str, tuple[tuple[str, Layout], ...]] = {
    "cpu": (("roi_align", "contiguous"), ("roi_align", "channels_last"), ("torchvision", "contiguous")),
    "cuda": (("roi_align_cuda", "contiguous"), ("roi_align_cuda", "channels_last"), ("torchvision_cuda", "contiguous")),
}
DIRECTIONS: tuple[Direction, ...] = ("forward", "grad_image")
# Outputs that go to the oracle: it is plain Python, and a pixel's gradient looks at every box.
PLACES = {"forward": 48, "grad_image": 6}


@dataclass(frozen=True)
class RoiRow:
    """One backend in one layout on one workload, in one state of the cache, in one block."""

    block: int
    workload: Workload
    setting: str
    direction: Direction
    backend: str
    layout: Layout
    cache: str

    def __str__(self) -> str:
        column = f"{self.backend}-{self.layout}-{self.cache}"
        return f"{self.workload.name}-{self.setting}-{self.direction}-{column}-{self.block}"


def rows(workloads: tuple[Workload, ...], blocks: int) -> Iterator[RoiRow]:
    """Blocks outermost, so that a slow minute hits every backend."""
    for block in range(blocks):
        columns = COLUMNS[DEVICE.kind][:: 1 if block % 2 == 0 else -1]
        for workload, setting, direction in product(workloads, RATIOS, DIRECTIONS):
            for (backend, layout), cache in product(columns, DEVICE.caches):
                yield RoiRow(block, workload, setting, direction, backend, layout, cache)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    measuring = metafunc.config.getoption("benchmark_only")
    if measuring and not MEASURING:
        chosen: tuple[Workload, ...] = ()  # a run of crop_and_resize's benchmarks: its files hold nothing else
    elif measuring:
        chosen = tuple(each for each in WORKLOADS if not each.series and (each.quick or not QUICK))
    else:
        chosen = (SMOKE,)
    blocks = BLOCKS if measuring else 1
    if "roi_row" in metafunc.fixturenames:
        metafunc.parametrize("roi_row", list(rows(chosen, blocks)), ids=str)
    if "pooler" in metafunc.fixturenames:
        poolers = ("roi_align", "torchvision")
        names = [poolers[:: 1 - 2 * (block % 2)][k] for block in range(blocks) for k in (0, 1)]
        metafunc.parametrize("pooler", names if MEASURING and measuring else [])
        metafunc.parametrize("cache", DEVICE.caches)


# Seconds by (workload and setting, direction, column): conftest.py prints them as ratios.
Times = dict[tuple[str, str, str], list[float]]


@pytest.fixture(scope="session")
def passed() -> set[RoiRow]:
    """Rows that were judged right in the first block and cache: in those after them they are timed at once."""
    return set()


def _judged(row: RoiRow, got: Any, pinned: bool) -> None:
    inputs = roi_inputs(row.workload, RATIOS[row.setting], row.layout)
    random = np.random.default_rng(0)
    flat = random.integers(0, got.size, PLACES[row.direction])
    places = [tuple(int(axis) for axis in np.unravel_index(place, got.shape)) for place in flat]
    verdict = judge(inputs, row.direction, got, pinned=pinned, places=places)
    if not verdict.passed:
        pytest.fail(f"{row} may not be timed: {verdict}", pytrace=False)


def _timed(benchmark: Any, call: Callable[[], Any], cache: str) -> list[float]:
    """The samples of a call; each result is freed before the next call, for every backend alike."""
    result: list[Any] = []
    seconds, host_s = DEVICE.settle(call, 0.0), DEVICE.host_seconds(call) or 0.0

    def get_ready() -> None:
        result.clear()
        DEVICE.get_ready(cache, host_s)

    rounds = DEVICE.budget[QUICK].rounds(seconds)
    benchmark.extra_info["cache"] = cache
    benchmark.pedantic(lambda: result.append(call()), setup=get_ready, rounds=rounds)
    return [] if benchmark.disabled else list(benchmark.stats.stats.data)


def _work(name: str, cache: str) -> str:
    """What a line of the table is about; a device with one state of its cache need not name it."""
    return name if len(DEVICE.caches) == 1 else f"{name}, {cache}"


@pytest.mark.benchmark(disable_gc=True, timer=DEVICE.timer)
def bench_roi_align(roi_row: RoiRow, benchmark: Any, times: Times, passed: set[RoiRow]) -> None:
    try:
        backend = load(roi_row.backend)
    except MissingLibrary as missing:
        pytest.skip(str(missing))
    inputs = roi_inputs(roi_row.workload, RATIOS[roi_row.setting], roi_row.layout)
    call = backend.prepare(inputs, roi_row.direction)
    first = RoiRow(**{**vars(roi_row), "block": 0, "cache": ""})
    if first not in passed:
        _judged(roi_row, backend.to_numpy(call()), roi_row.direction in backend.pinned)
        passed.add(first)
    benchmark.extra_info.update({"row": str(roi_row), "title": backend.title, "threads": machine.threads()})
    column = f"{roi_row.backend} {roi_row.layout}"
    key = _work(f"{roi_row.workload.name}, {roi_row.setting}", roi_row.cache), roi_row.direction, column
    times.setdefault(key, []).extend(_timed(benchmark, call, roi_row.cache))


@pytest.mark.benchmark(disable_gc=True, timer=DEVICE.timer)
@pytest.mark.parametrize("direction", DIRECTIONS)
def bench_multiscale_roi_align(pooler: str, cache: str, direction: Direction, benchmark: Any, times: Times) -> None:
    """Four levels of real photographs' features: ours against torchvision's gather and scatter for each level."""
    import torch
    from torchvision.ops import MultiScaleRoIAlign  # type: ignore[import-untyped, unused-ignore]

    from roi_align import TorchvisionMultiScaleRoIAlign, roi_align

    levels, boxes, shapes = pyramid_inputs()
    names = list(levels)
    maps = {name: torch.from_numpy(level).to(DEVICE.kind) for name, level in levels.items()}
    for each in maps.values():
        each.requires_grad_(direction != "forward")
    rows = [torch.from_numpy(each).to(DEVICE.kind) for each in boxes]
    ours = TorchvisionMultiScaleRoIAlign(names, 7, 2)
    module = ours if pooler == "roi_align" else MultiScaleRoIAlign(names, 7, 2)
    pooled = module(maps, rows, shapes)
    # Each box is what roi_align, judged above, makes of some level, to the bit; torchvision's as near as sums can be.
    alone = torch.stack([roi_align(maps[name], rows, 7, 2.0 ** -(2 + k), 2) for k, name in enumerate(names)])
    apart = (alone - pooled).abs().flatten(2).amax(dim=2).amin(dim=0).max()
    assert apart <= (0 if pooler == "roi_align" else 1e-5 * alone.abs().max())
    upstream = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(0)).to(DEVICE.kind)

    def call() -> Any:
        if direction == "forward":
            return module(maps, rows, shapes)
        return torch.autograd.grad(pooled, list(maps.values()), upstream, retain_graph=True)

    key = _work("multiscale", cache), direction, f"{pooler} contiguous"
    times.setdefault(key, []).extend(_timed(benchmark, call, cache))
