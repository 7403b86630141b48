"""roi_align and multiscale_roi_align beside torchvision's, on the same arrays, each result judged before it is timed.

`python -m harness bench` measures it, in processes of its own; BENCH_OPERATOR=roi_align tells a process that it is
one, BENCH_DEVICE=cuda that it measures a GPU. A plain run puts a small workload through every body once. The backends
of a row follow each other, in odd blocks in reverse, and calls are timed as in bench_crop_and_resize.py. torchvision
and ONNX Runtime stand in NCHW alone: the one makes anything else contiguous first, the other knows nothing else. The
table that is printed at the end has the ratios.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from harness.backends import load
from harness.measuring import clocks, devices
from harness.measuring.columns import blocks, selected
from harness.measuring.gate import Gate
from harness.measuring.roi_workloads import RATIOS, pyramid_inputs, roi_inputs
from harness.measuring.traffic import Traffic, traffic
from harness.measuring.workloads import SMOKE, WORKLOADS, Layout, Workload
from harness.operators.arrays import Direction
from harness.operators.judgement import judge
from harness.operators.roi_align.reach import reach as roi_reach
from harness.repository import MissingLibrary

QUICK = os.environ.get("QUICK") == "1"
MEASURING = os.environ.get("BENCH_OPERATOR") == "roi_align"
DEVICE = devices.chosen()
_EVERY: tuple[Direction, ...] = ("forward", "grad_image", "grad_boxes")
COLUMNS: dict[str, tuple[tuple[str, Layout, tuple[Direction, ...]], ...]] = {
    "cpu": (
        ("roi_align", "contiguous", _EVERY),
        ("roi_align", "channels_last", _EVERY),
        ("torchvision", "contiguous", ("forward", "grad_image")),
        ("onnxruntime", "contiguous", ("forward",)),
    ),
    "cuda": (
        ("roi_align_cuda", "contiguous", _EVERY),
        ("roi_align_cuda", "channels_last", _EVERY),
        ("torchvision_cuda", "contiguous", ("forward", "grad_image")),
    ),
}
DIRECTIONS: tuple[Direction, ...] = ("forward", "grad_image")
# Outputs that go to the oracle: it is plain Python, a pixel's gradient looks at every box, a box's at all of its crop.
PLACES = {"forward": 48, "grad_image": 6, "grad_boxes": 1}
# A call of a slow peer is timed twice a block at least: it stands for a ratio too.
BUDGET = replace(DEVICE.budget[QUICK], least=max(2, DEVICE.budget[QUICK].least))


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


def rows(workloads: tuple[Workload, ...], settings: tuple[str, ...], blocks: Sequence[int]) -> Iterator[RoiRow]:
    """Blocks outermost, so that a slow minute hits every backend.

    The tuned allocator answers what fresh memory costs this project's operator; its slow peers run under the default.
    """
    for block in blocks:
        columns = COLUMNS[DEVICE.kind][:: 1 if block % 2 == 0 else -1]
        for workload, setting, direction in product(workloads, settings, PLACES):
            for (backend, layout, directions), cache in product(columns, DEVICE.caches):
                if direction in directions and (backend == "roi_align" or DEVICE.allocator() != "tuned"):
                    yield RoiRow(block, workload, setting, direction, backend, layout, cache)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    measuring = metafunc.config.getoption("benchmark_only")
    if measuring and not MEASURING:
        chosen: tuple[Workload, ...] = ()  # a run of crop_and_resize's benchmarks: its files hold nothing else
    elif measuring:
        # A quick run leaves the real input, whose making takes longest, to the default allocator.
        left_out = {each for each in WORKLOADS if QUICK and not each.quick}
        left_out |= {each for each in WORKLOADS if QUICK and each.real and DEVICE.allocator() == "tuned"}
        usual = (each for each in WORKLOADS if each not in left_out)
        chosen = tuple(each for each in selected(usual) if not each.series)
    else:
        chosen = (SMOKE,)
    own_blocks = blocks(measuring)
    if "roi_row" in metafunc.fixturenames:
        settings = tuple(RATIOS)[:1] if measuring and QUICK else tuple(RATIOS)
        metafunc.parametrize("roi_row", list(rows(chosen, settings, own_blocks)), ids=str)
    if "pooler" in metafunc.fixturenames:
        order = [
            (block, name)
            for block in own_blocks
            for name in (("roi_align", "torchvision") if block % 2 == 0 else ("torchvision", "roi_align"))
        ]
        everything = "BENCH_WORKLOADS" not in os.environ
        wanted = MEASURING and measuring and DEVICE.allocator() != "tuned" and everything
        metafunc.parametrize(("block", "pooler"), order if wanted else [])
        metafunc.parametrize("cache", DEVICE.caches)


# Seconds by (workload and setting, direction, column): conftest.py prints them as ratios.
Times = dict[tuple[str, str, str], list[float]]


@dataclass(frozen=True)
class Passed:
    """What was found out about a row in its first block."""

    gate: Gate
    peak_memory_bytes: int | None
    traffic: Traffic


@pytest.fixture(scope="session")
def passed() -> dict[RoiRow, Passed]:
    """Rows that were judged right in the first block and cache: in those after them they are timed at once."""
    return {}


def _check(row: RoiRow, got: Any, before: Gate | None, passed: dict[RoiRow, Passed]) -> Gate:
    """What the judge says of a result. Bits that it has passed, in another layout or process, are not judged again."""
    digest = hashlib.blake2b(np.ascontiguousarray(got).tobytes(), digest_size=16).hexdigest()
    same = passed.get(replace(row, layout="contiguous"))
    for earlier in (before, same and same.gate):
        if earlier is not None and earlier.digest == digest:
            return earlier
    inputs = roi_inputs(row.workload, RATIOS[row.setting], row.layout)
    flat = np.random.default_rng(0).integers(0, got.size, PLACES[row.direction])
    places = [tuple(int(axis) for axis in np.unravel_index(place, got.shape)) for place in flat]
    pinned = row.direction in load(row.backend, "roi_align").sheet.pinned
    verdict = judge(inputs, row.direction, got, pinned=pinned, places=places)
    return Gate(verdict.status.name, verdict.passed, "" if verdict.passed else str(verdict), digest=digest)


def _timed(benchmark: Any, call: Callable[[], Any], cache: str) -> list[float]:
    """The samples of a call."""
    seconds, host_s = DEVICE.settle(call, 0.0), DEVICE.host_seconds(call) or 0.0
    clocks.timed(benchmark, call, BUDGET.rounds(seconds), lambda: DEVICE.get_ready(cache, host_s))
    return [] if benchmark.disabled else list(benchmark.stats.stats.data)


def _work(name: str, cache: str) -> str:
    """What a line of the table is about; a device with one state of its cache need not name it."""
    return name if len(DEVICE.caches) == 1 else f"{name}, {cache}"


@pytest.mark.benchmark(disable_gc=True, timer=DEVICE.timer)
def bench_roi_align(
    roi_row: RoiRow,
    benchmark: Any,
    run: Any,
    judged: dict[tuple[str, ...], Gate],
    unmeasured: list[dict[str, Any]],
    times: Times,
    passed: dict[RoiRow, Passed],
) -> None:
    row, inputs = roi_row, roi_inputs(roi_row.workload, RATIOS[roi_row.setting], roi_row.layout)
    record = {
        **run.record, "cache": row.cache, "bench": "roi_align", "setting": row.setting, "workload": row.workload.name,
        "source": row.workload.source, "series": "", "size": 0, "op": "roi_align", "direction": row.direction,
        "backend": row.backend, "title": row.backend, "dtype": "float32", "layout": row.layout, "block": row.block,
        "boxes": len(inputs.boxes),
    }  # fmt: skip
    if run.is_over():
        if row.block == 0:  # or it has the samples of an earlier block or process
            unmeasured.append({**record, "status": "NO_TIME", "message": run.over})
        pytest.skip(run.over)
    try:
        backend = load(row.backend, "roi_align")
    except MissingLibrary as missing:
        unmeasured.append({**record, "status": "MISSING", "message": str(missing)})
        pytest.skip(str(missing))
    record["title"] = backend.title
    refusal = backend.refuses(inputs, row.direction)
    if refusal is not None:
        unmeasured.append({**record, "status": "REFUSED", "message": refusal})
        pytest.skip(refusal)
    call = backend.prepare(inputs, row.direction)
    first = replace(row, block=0, cache="")
    if first not in passed:
        before = judged.get((row.workload.name, row.setting, row.direction, row.backend, row.layout))
        gate = _check(first, backend.to_numpy(call()), before, passed)
        if not gate.passed:
            unmeasured.append({**record, **asdict(gate)})
            pytest.fail(f"{row} may not be timed: {gate.status}. {gate.message}", pytrace=False)
        own = row.backend.startswith("roi_align")
        moved = traffic(roi_reach(inputs), row.direction, row.layout, DEVICE.line_bytes)
        passed[first] = Passed(gate, DEVICE.peak_memory_bytes(call) if own else None, moved)
    found = passed[first]
    record |= {
        **asdict(found.gate), "peak_memory_bytes": found.peak_memory_bytes,
        "compulsory_bytes": found.traffic.compulsory, "requested_bytes": found.traffic.requested,
    }  # fmt: skip
    benchmark.extra_info.update(record)
    column = f"{row.backend} {row.layout}"
    key = _work(f"{row.workload.name}, {row.setting}", row.cache), row.direction, column
    times.setdefault(key, []).extend(_timed(benchmark, call, row.cache))


@pytest.mark.benchmark(disable_gc=True, timer=DEVICE.timer)
@pytest.mark.parametrize("direction", DIRECTIONS)
def bench_multiscale_roi_align(
    block: int, pooler: str, cache: str, direction: Direction, benchmark: Any, run: Any, times: Times
) -> None:
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

    backend = pooler if DEVICE.kind == "cpu" else f"{pooler}_{DEVICE.kind}"
    record = {
        **run.record, "cache": cache, "bench": "roi_align", "setting": "sampling_ratio 2", "workload": "pyramid",
        "source": "levels P2 to P5 of the photographs' pyramid in one call, 7x7: each segment's box from its level",
        "series": "", "size": 0, "op": "multiscale_roi_align", "direction": direction, "backend": backend,
        "title": backend, "dtype": "float32", "layout": "contiguous", "block": block, "boxes": len(pooled),
        **asdict(Gate("EXACT" if pooler == "roi_align" else "WITHIN", True)),
    }  # fmt: skip
    benchmark.extra_info.update(record)
    key = _work("pyramid", cache), direction, f"{pooler} contiguous"
    times.setdefault(key, []).extend(_timed(benchmark, call, cache))
