"""torchvision's detectors from photograph to detections, and a training step, with its poolers and with this project's.

`python -m harness bench` measures it in a separate process, on the CPU only. Both models have the same weights and
input; they take turns, in reverse order in odd blocks. Before either is timed, their pooled features are compared
within the oracle's bound, and for training the oracle judges the gradients of their poolers: on the features and boxes
of the call that is timed, for a training step samples other boxes than an inference. Timing the poolers alone, on the
same features, shows their share of the whole.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest

pytest.importorskip("torchvision", reason="the detectors are torchvision's")
pytest.importorskip("skimage", reason="the photographs are scikit-image's")

import torch

from harness.backends import load
from harness.detectors import agreement, bounds, pyramid
from harness.detectors import models as detectors
from harness.measuring import clocks, devices, settings
from harness.measuring.columns import blocks
from harness.measuring.devices import cpu
from harness.measuring.gate import Gate
from harness.measuring.record import Record
from harness.operators.verdict import Verdict

SETTINGS = settings.read()
DEVICE = devices.load("cpu")
FULL_SIZE, SMALL = ("maskrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn"), ("small Mask R-CNN",)
PHOTOGRAPHS = ("coffee",)
# The timed part: "whole" is the user's call of the model, "poolers" the share of its poolers.
PARTS = ("whole", "poolers")
DIRECTIONS = ("inference", "training")
# Timed calls per block; the first call in a block finds memory given back and is not timed.
WHOLE = clocks.Rounds(2, "least")
POOLERS = replace(clocks.QUICK, least=WHOLE.count)
SIZE = "a small one of this project's for tests" if SETTINGS.quick else "at its default sizes"
SOURCE = (
    f"torchvision's model, {SIZE}, random weights, on scikit-image's photograph {' and '.join(PHOTOGRAPHS)}; a "
    "training step ends with the gradients, and its targets are the photograph's largest segments"
)


@dataclass(frozen=True)
class DetectorRow:
    """One of the two models, as a whole or its poolers only, in one block."""

    block: int
    model: str
    direction: str
    part: str
    backend: str

    def __str__(self) -> str:
        return f"{self.model}-{self.direction}-{self.part}-{self.backend}-{self.block}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    measuring = metafunc.config.getoption("benchmark_only")
    models = SMALL if SETTINGS.quick or not measuring else FULL_SIZE
    rows = [
        DetectorRow(block, model, direction, part, backend)
        for block in blocks(SETTINGS, measuring)
        for model, direction, part in product(models, DIRECTIONS, PARTS)
        for backend in (("torchvision", "roi_align") if block % 2 == 0 else ("roi_align", "torchvision"))
    ]
    metafunc.parametrize("detector_row", rows if devices.current().type == "cpu" or not measuring else [], ids=str)


@functools.lru_cache(maxsize=2)  # the two of one kind
def model_of(name: str, backend: str) -> Any:
    model = detectors.detector(name)
    return detectors.with_roi_align(model) if backend == "roi_align" else model


@functools.lru_cache(maxsize=1)
def theirs(name: str, direction: str) -> agreement.DetectorCall:
    """An inference or a training step of torchvision's model: what its poolers read and return, without a graph."""
    model, photographs = model_of(name, "torchvision"), detectors.images(PHOTOGRAPHS)
    targets = detectors.targets(PHOTOGRAPHS) if direction == "training" else None
    _, branches = detectors.run(model, photographs, targets)
    alone = {part: branch.detached() for part, branch in branches.items()}
    return agreement.DetectorCall(model, photographs, None, alone, {})


@functools.cache
def gate_of(name: str, direction: str) -> Gate:
    """Whether both models' pooled features agree within the bound for two correct poolers, and the difference of their
    outputs; for training, the oracle's verdict on their poolers' gradients too."""
    if direction == "training":
        for backend, part in product(("roi_align", "torchvision"), theirs(name, direction).branches):
            verdict = _verdict_on_gradients(name, backend, part)
            if not verdict.passed:
                return Gate(verdict.status.name, False, f"{part} pooler of {backend}: {verdict}")
    call, ours = theirs(name, direction), model_of(name, "roi_align")
    branches = {part: detectors.again(ours, part, branch) for part, branch in call.branches.items()}
    fraction = max(agreement.pooled_fractions(call, branches).values())
    apart = max(
        float((mine - own).abs().max() / own.abs().max())
        for part, branch in call.branches.items()
        for mine, own in zip(branches[part].outputs, branch.outputs, strict=True)
    )
    message = (
        f"{fraction:.1%} of the bound of a pooled feature used; logits and deltas are {apart:.1e} of the largest apart"
    )
    return Gate("WITHIN" if fraction <= 1 else "OUT", fraction <= 1, message)


def _verdict_on_gradients(name: str, backend: str, part: str) -> Verdict:
    """The oracle's verdict on the gradients of the maps that a pooler computes from the model's features."""
    branch, pool = theirs(name, "training").branches[part], agreement.pooler(model_of(name, backend), part)
    maps = {level: branch.maps[level].detach().requires_grad_() for level in pool.featmap_names}
    pooled = pool(maps, branch.boxes, branch.shapes)
    (upstream,) = bounds.directions([pooled], 0)
    gradients = torch.autograd.grad(pooled, list(maps.values()), upstream, materialize_grads=True)
    scales = agreement.pooler(model_of(name, "torchvision"), part).scales
    of = pyramid.levels(
        [each.detach().numpy() for each in maps.values()],
        scales,
        [each.numpy() for each in branch.boxes],
        upstream.numpy(),
        pool.sampling_ratio,
    )
    pinned = "grad_image" in load(backend, "roi_align").sheet.pinned
    return pyramid.judge_levels(of, "grad_image", [each.numpy() for each in gradients], pinned=pinned)


def _whole(row: DetectorRow) -> Callable[[], Any]:
    model, photographs = model_of(row.model, row.backend), detectors.images(PHOTOGRAPHS)
    if row.direction == "inference":
        return lambda: detectors.run(model, photographs)[0]
    targets = detectors.targets(PHOTOGRAPHS)
    parameters = [each for each in model.parameters() if each.requires_grad]

    def step() -> Any:
        losses, _ = detectors.run(model, photographs, targets)
        return torch.autograd.grad(sum(losses.values()), parameters)

    return step


def _poolers(row: DetectorRow) -> Callable[[], Any]:
    """Both poolers on the model's features; in a training step with their gradients."""
    model, branches = model_of(row.model, row.backend), theirs(row.model, row.direction).branches
    training = row.direction == "training"

    def pool() -> Any:
        outputs = []
        for name, branch in branches.items():
            maps = {level: each.detach().requires_grad_(training) for level, each in branch.maps.items()}
            pooled = agreement.pooler(model, name)(maps, branch.boxes, branch.shapes)
            if training:
                pooled.backward(torch.ones_like(pooled))
            outputs.append(pooled)
        return outputs

    return pool


@pytest.mark.benchmark(disable_gc=True)
def bench_detector(detector_row: DetectorRow, benchmark: Any, ledger: Any) -> None:
    row, verdict = detector_row, gate_of(detector_row.model, detector_row.direction)
    record = Record(
        bench="detectors", setting=row.part, workload=row.model, source=SOURCE, op="detector", direction=row.direction,
        backend=row.backend, title=row.backend, layout="contiguous", cache=DEVICE.caches[0], block=row.block,
        boxes=sum(len(each) for each in theirs(row.model, row.direction).branches["box"].boxes), **verdict.stored(),
    )  # fmt: skip
    if not verdict.passed:
        ledger.records.append(record)
        pytest.fail(f"{row} may not be timed: {verdict.message}", pytrace=False)
    call = _whole(row) if row.part == "whole" else _poolers(row)
    cpu.give_back_memory()
    rounds = POOLERS.rounds(clocks.warm_up(call)) if row.part == "poolers" else WHOLE
    if row.part == "whole" and not benchmark.disabled:
        call()
    ledger.records.append(devices.measure_row(DEVICE, benchmark, record, call, rounds))
