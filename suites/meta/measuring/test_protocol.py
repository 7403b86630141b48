"""The processes, blocks and rounds of a run of the benchmarks. No process starts, and nothing is timed."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import roi_align  # noqa: F401 - it loads torch.ops.roi_align
from harness import repository
from harness.measuring import clocks, columns, devices, fingerprint, record, results, settings
from harness.measuring import run as measure
from harness.measuring.clocks import Budget
from harness.measuring.devices import cpu as machine
from harness.measuring.record import Header, Measurements, Record
from harness.measuring.run import Exit, Process
from harness.measuring.settings import Settings
from harness.measuring.workloads import WORKLOADS
from harness.operators import OPERATORS


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """The requests of measure.run to its fake processes, which write a file at once; results are under tmp_path."""
    requests: list[dict[str, Any]] = []

    def child(process: Process, device: str, of: Settings, tell: Any) -> Exit:
        file = Path(of.output)
        record.write(file, Measurements(Header("r", "full", "cpu-made-up", "default", 0, 2, "c", 1.0), {}, ()))
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        requests.append({"name": process.name, "device": device, "cores": cores, **asdict(of)})
        return Exit(process, file, 0, "")

    monkeypatch.setattr(measure, "_child", child)
    for folder in ("RESULTS", "QUICK_RESULTS"):
        monkeypatch.setattr(repository, folder, tmp_path)
    return requests


def test_the_order_of_processes_reverses_every_round(requests: list[dict[str, Any]], tmp_path: Path) -> None:
    exits = measure.run("cpu", False, 3, ("seed_test",), lambda name, event: None)
    sorts = ["default", "tuned"]
    assert [each["name"] for each in requests] == [*sorts, *sorts[::-1], *sorts]
    assert {each["device"] for each in requests} == {"cpu"}
    assert [each["process"] for each in requests] == [0] * 2 + [1] * 2 + [2] * 2
    assert {each["processes"] for each in requests} == {3}
    assert {each["workloads"] for each in requests} == {("seed_test",)}
    assert len({each["run"] for each in requests}) == 1
    # The oracle judges the first process; the others must have its bits.
    assert [Path(each["judged"]).name for each in requests] == ["", *["default.json"] * 5]
    (run,) = (tmp_path / "cpu-made-up").iterdir()
    assert run.name.endswith("-part")
    assert {file.name for file in run.iterdir()} == {
        f"{sort}{turn}.json" for sort in sorts for turn in ("", "-2", "-3")
    }
    assert all(each.file and each.file.parent == run for each in exits)


def test_the_detectors_are_judged_in_their_own_process(requests: list[dict[str, Any]]) -> None:
    measure.run("cpu", True, 2, (), lambda name, event: None)
    verdict_files = [(each["name"], Path(each["judged"]).name) for each in requests]
    assert verdict_files == [
        *[("default", ""), ("tuned", "default.json"), ("default-detectors", "")],
        *[("default-detectors", "default-detectors.json"), ("tuned", "default.json"), ("default", "default.json")],
    ]


def test_each_process_has_one_block_and_a_single_process_has_two() -> None:
    assert list(columns.blocks(Settings(), True)) == [0, 1]
    assert list(columns.blocks(Settings(), False)) == [0]
    assert list(columns.blocks(Settings(process=3, processes=4), True)) == [3]
    cpu = columns.COLUMNS["cpu"]

    def order(block: int, operator: str, setting: str) -> list[str]:
        turns = columns.turns(cpu, ("warm",), WORKLOADS[:1], (block,))
        own = [each for each in turns if (each.operator.name, each.setting) == (operator, setting)]
        return [f"{each.column.backend} {each.column.layout}" for each in own if each.direction == "forward"]

    for each in OPERATORS.values():
        for setting in each.settings:  # odd blocks in reverse: with processes as blocks, ABBA
            assert order(3, each.name, setting) == order(2, each.name, setting)[::-1]
            assert len(order(2, each.name, setting)) == 4


def test_only_named_workloads_are_measured() -> None:
    assert columns.workloads_for(Settings(), "default") == WORKLOADS
    settings_of_two = Settings(workloads=(WORKLOADS[5].name, WORKLOADS[0].name))
    assert columns.workloads_for(settings_of_two, "default") == (WORKLOADS[0], WORKLOADS[5])


def test_the_tuned_allocator_has_fewer_rows() -> None:
    """It measures the cost of fresh memory: no series, in a quick run no real input, no slow peer of roi_align."""
    assert set(columns.workloads_for(Settings(), "tuned")) == {each for each in WORKLOADS if not each.series}
    quick = {each for each in WORKLOADS if each.quick}
    assert set(columns.workloads_for(Settings(quick=True), "default")) == quick
    assert set(columns.workloads_for(Settings(quick=True), "tuned")) == {each for each in quick if not each.real}
    peers = {
        allocator: {
            name: {each.backend for each in own} - set(results.OURS)
            for name, own in columns.columns_of("cpu", allocator).items()
        }
        for allocator in ("default", "tuned")
    }
    everywhere = {"tensorflow", "torchvision"}
    assert peers["default"] == {"crop_and_resize": everywhere, "roi_align": {"torchvision", "onnxruntime"}}
    assert peers["tuned"] == {"crop_and_resize": everywhere, "roi_align": set()}


def test_the_scaling_series_are_crop_and_resizes() -> None:
    series = [workload for workload in WORKLOADS if workload.series]
    for device, of_device in columns.COLUMNS.items():
        turns = columns.turns(of_device, ("warm",), series, (0,))
        assert {each.operator.name for each in turns} == {"crop_and_resize"}, device


def test_a_quick_run_has_the_first_setting_of_each_operator() -> None:
    def settings_of(every: bool) -> list[tuple[str, str]]:
        turns = columns.turns(columns.COLUMNS["cpu"], ("warm",), WORKLOADS[:1], (0,), every)
        return list(dict.fromkeys((each.operator.name, each.setting) for each in turns))

    first = [("crop_and_resize", ""), ("roi_align", "sampling_ratio 2")]
    assert settings_of(False) == first
    assert settings_of(True) == [*first, ("roi_align", "adaptive"), ("roi_align", "maximum")]


def test_a_setting_is_measured_on_every_workload_before_the_next_one() -> None:
    turns = columns.turns(columns.COLUMNS["cpu"], ("warm",), WORKLOADS[:3], (0,))
    of_roi_align = [(each.setting, each.workload.name) for each in turns if each.operator.name == "roi_align"]
    names = [each.name for each in WORKLOADS[:3]]
    assert list(dict.fromkeys(of_roi_align)) == [(s, n) for s in OPERATORS["roi_align"].settings for n in names]


def test_settings_are_passed_in_one_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.read() == Settings()
    of = Settings("r1", 2, 3, ("seed_test",), True, 270.0, "/judged", "/output", 7)
    for name, value in settings.environment("cuda", of).items():
        monkeypatch.setenv(name, value)
    assert settings.read() == of
    assert os.environ[settings.DEVICE] == "cuda"
    for wrong in ("{", "[]", '{"colour": "red"}'):
        monkeypatch.setenv(settings.SETTINGS, wrong)
        with pytest.raises(ValueError, match="it is a JSON object with some of run, process"):
            settings.read()


def test_a_run_of_some_workloads_is_not_full() -> None:
    assert [columns.kind(quick, is_named) for quick in (False, True) for is_named in (False, True)] == [
        "full", "part", "quick", "quick",
    ]  # fmt: skip


def test_processes_without_work_are_left_out() -> None:
    series = next(workload.name for workload in WORKLOADS if workload.series)
    assert measure.processes_of("cpu", ()) == measure.PROCESSES["cpu"]
    names = [process.name for process in measure.processes_of("cpu", ("seed_test",))]
    assert names == ["default", "tuned"]
    # A pyramid is no workload that can be named.
    assert {process.benches for process in measure.processes_of("cpu", ("seed_test",))} == {("operators",)}
    assert [process.name for process in measure.processes_of("cpu", (series,))] == ["default"]
    assert [process.name for process in measure.processes_of("cuda", ("seed_test",))] == ["cuda"]
    with pytest.raises(ValueError, match="There is no workload 'nope'; there are seed_test"):
        measure.processes_of("cpu", ("nope",))


def test_processes_are_pinned_to_a_core_for_each_thread(
    requests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.sched_getaffinity(0)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    measure.run("cpu", True, 1, ("seed_test",), lambda name, event: None)
    assert {each["cores"] for each in requests} == {str(machine.one_per_core_first(before)[0])}
    assert os.sched_getaffinity(0) == before


def test_cores_that_share_a_physical_one_come_last(monkeypatch: pytest.MonkeyPatch) -> None:
    siblings = {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}
    monkeypatch.setattr(Path, "exists", lambda path: True)
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: siblings[int(path.parts[5][3:])])
    assert machine.one_per_core_first({0, 1, 2, 3}) == [0, 2, 1, 3]
    assert machine.one_per_core_first({1, 2, 3}) == [1, 2, 3]


@pytest.mark.parametrize(
    ("seconds", "count", "stopped"), [(1.0, 2, "least"), (0.1, 3, "seconds"), (0.001, 30, "most"), (0.0, 30, "most")]
)
def test_rounds_have_a_limit_and_its_reason(seconds: float, count: int, stopped: str) -> None:
    rounds = Budget(seconds=0.35, least=2, most=30).rounds(seconds)
    assert (rounds.count, rounds.stopped) == (count, stopped)


def test_interruptions_and_the_reason_are_stored_beside_the_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, freed = iter([5, 12]), []
    monkeypatch.setattr(clocks, "interruptions", lambda: next(counts))

    class Benchmark:
        disabled = False
        stats = SimpleNamespace(stats=SimpleNamespace(data=[1.0, 2.0, 3.0]))

        def __init__(self) -> None:
            self.extra_info: dict[str, object] = {}

        def pedantic(self, call: Any, setup: Any, rounds: int) -> None:
            for _ in range(rounds):
                setup()
                call()

    class Result:
        def __del__(self) -> None:
            freed.append(len(ready))

    ready: list[tuple[str, float]] = []
    exposures = iter([3, 5])
    device = replace(
        devices.load("cpu"),
        get_ready=lambda cache, host_s: ready.append((cache, host_s)),
        exposed=lambda: next(exposures),
    )
    turn = next(columns.turns(columns.COLUMNS["cpu"], ("warm",), WORKLOADS[:1], (0,)))
    before, benchmark = replace(turn.record(), host_s=0.5), Benchmark()
    row = devices.measure_row(device, benchmark, before, Result, clocks.Rounds(3, "most"))
    assert row == replace(before, stopped="most", interruptions=7, exposed=2, samples=(1.0, 2.0, 3.0))
    # pytest-benchmark's own file has the row beside its samples.
    assert Record(**benchmark.extra_info, samples=row.samples) == row
    assert ready == [("warm", 0.5)] * 3
    assert freed[:2] == [1, 2]  # each before the next call is prepared


def test_a_cpus_device_name_has_its_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.instruction_set() == torch.ops.roi_align.cpu_kernels()
    assert machine.device().split("-")[-2] == machine.instruction_set()
    before = machine.describe()
    monkeypatch.setenv("ROI_ALIGN_CPU", "portable")
    assert machine.device().split("-")[-2] == "portable"
    if before["instruction_set"] != "portable":
        assert f"instruction_set {before['instruction_set']} -> portable" in fingerprint.changes(
            before, machine.describe()
        )


@pytest.mark.parametrize(
    ("model_name", "family", "model", "words"),
    [
        ("AMD EPYC 9354 32-Core Processor", 25, 17, "amd-epyc-9354"),
        ("Intel(R) Xeon(R) Platinum 8480+", 6, 143, "intel-xeon-platinum-8480"),
        # Names of virtual machines, which hide the number: two generations must not share a history.
        ("AMD EPYC", 25, 1, "amd-epyc-25-1"),
        ("AMD EPYC", 25, 17, "amd-epyc-25-17"),
        ("Intel(R) Xeon(R) Processor @ 2.10GHz", 6, 143, "intel-xeon-6-143"),
    ],
)
def test_a_cpus_device_name_tells_generations_apart(
    model_name: str, family: int, model: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = (
        f"processor\t: {{}}\ncpu family\t: {family}\nmodel\t\t: {model}\n"
        f"model name\t: {model_name}\nflags\t\t: fpu avx2\n\n"
    )
    monkeypatch.setattr(machine, "_cpuinfo", lambda: core.format(0) + core.format(1))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("ROI_ALIGN_CPU", raising=False)
    machine.cpu_model.cache_clear()
    try:
        assert machine.device() == f"cpu-{words}-avx2-2t"
        monkeypatch.setattr(machine, "_cpuinfo", lambda: "processor\t: 0\nBogoMIPS\t: 50.00\n")  # an Arm's
        machine.cpu_model.cache_clear()
        assert re.fullmatch(r"cpu-[a-z0-9-]+-portable-2t", machine.device())
    finally:
        machine.cpu_model.cache_clear()


def test_the_fingerprint_has_only_what_times_depend_on() -> None:
    description = {**devices.load("cpu").describe(), "cpu": "a", "revision": "1", "dirty": False}
    same = {**description, "revision": "2", "dirty": True, "pinned": [7]}
    assert fingerprint.fingerprint(description) == fingerprint.fingerprint(same)
    assert fingerprint.changes(description, same) == []
    other = {**description, "cpu": "b", "versions": {"torch": "9.9"}}
    assert fingerprint.fingerprint(description) != fingerprint.fingerprint(other)
    changes = fingerprint.changes({"cpu": "a", "versions": {"torch": "2.11.0"}}, {"cpu": "a", "versions": {"new": "1"}})
    assert changes == ["torch 2.11.0 -> none", "new none -> 1"]
