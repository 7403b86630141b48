"""How a run of the benchmarks is made of processes, blocks and rounds. No process is started, and nothing is timed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.measuring import clocks, columns, devices, fingerprint
from harness.measuring import cpu as machine
from harness.measuring import run as measure
from harness.measuring.clocks import Budget
from harness.measuring.run import Outcome, Process
from harness.measuring.workloads import WORKLOADS


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, str]]:
    """What measure.run asks of each process; they leave a file at once, and results lie under tmp_path."""
    found: list[dict[str, str]] = []

    def child(process: Process, replicate: int, settings: dict[str, str], scratch: Path, *rest: Any) -> Outcome:
        file = scratch / process.file(replicate)
        file.write_text(json.dumps({"machine_info": {"roi_align": {"device": "cpu-made-up"}}}))
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        found.append({"name": process.name, "cores": cores, "judged": str(rest[0] and rest[0].name), **settings})
        return Outcome(process, file, 0, "")

    monkeypatch.setattr(measure, "_child", child)
    for results in ("FULL_RESULTS", "QUICK_RESULTS"):
        monkeypatch.setattr(measure, results, tmp_path)
    return found


def test_processes_take_turns_there_and_back(asked: list[dict[str, str]], tmp_path: Path) -> None:
    outcomes = measure.run("cpu", False, 3, ("seed_test",), lambda name, event: None)
    kinds = ["default", "tuned", "default-roi_align", "tuned-roi_align"]
    assert [each["name"] for each in asked] == [*kinds, *kinds[::-1], *kinds]
    assert [each["BENCH_PROCESS"] for each in asked] == ["0"] * 4 + ["1"] * 4 + ["2"] * 4
    assert {each["BENCH_PROCESSES"] for each in asked} == {"3"}
    assert {each["BENCH_WORKLOADS"] for each in asked} == {"seed_test"}
    # Judged once by the oracle, in the first process of an operator; the others have its bits to give.
    assert [each["judged"] for each in asked[:5]] == ["None", "default.json", "None", *["default-roi_align.json"] * 2]
    (run,) = (tmp_path / "cpu-made-up").iterdir()
    assert run.name.endswith("-part")
    assert {file.name for file in run.iterdir()} == {
        f"{kind}{turn}.json" for kind in kinds for turn in ("", "-2", "-3")
    }
    assert all(outcome.file and outcome.file.parent == run for outcome in outcomes)


def test_a_block_of_its_own_in_each_process_and_two_in_a_single_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(columns.blocks(True)) == [0, 1]
    assert list(columns.blocks(False)) == [0]
    monkeypatch.setenv("BENCH_PROCESSES", "4")
    monkeypatch.setenv("BENCH_PROCESS", "3")
    assert list(columns.blocks(True)) == [3]
    cpu = columns.COLUMNS["cpu"]

    def order(block: int) -> list[str]:
        rows = columns.rows(cpu, ("warm",), WORKLOADS[:1], (block,))
        return [f"{row.column.backend} {row.column.layout}" for row in rows if row.direction == "forward"]

    assert order(3) == order(2)[::-1]  # odd blocks in reverse: with processes as blocks, ABBA


def test_only_named_workloads_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert columns.selected(WORKLOADS[2:4]) == WORKLOADS[2:4]
    monkeypatch.setenv("BENCH_WORKLOADS", f"{WORKLOADS[5].name} {WORKLOADS[0].name}")
    assert columns.selected(WORKLOADS[2:4]) == (WORKLOADS[0], WORKLOADS[5])


def test_a_run_of_some_workloads_is_no_full_one() -> None:
    assert [columns.kind(quick, named) for quick in (False, True) for named in (False, True)] == [
        "full", "part", "quick", "quick",
    ]  # fmt: skip


def test_processes_without_work_are_left_out() -> None:
    series = next(workload.name for workload in WORKLOADS if workload.series)
    assert measure.processes_of("cpu", ()) == measure.PROCESSES["cpu"]
    named = [process.name for process in measure.processes_of("cpu", ("seed_test",))]
    assert named == ["default", "tuned", "default-roi_align", "tuned-roi_align"]
    assert [process.name for process in measure.processes_of("cpu", (series,))] == ["default"]
    assert [process.name for process in measure.processes_of("cuda", ("seed_test",))] == ["cuda", "cuda-roi_align"]
    with pytest.raises(ValueError, match="There is no workload 'nope'; there are seed_test"):
        measure.processes_of("cpu", ("nope",))


def test_processes_are_kept_on_as_many_cores_as_they_have_threads(
    asked: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.sched_getaffinity(0)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    measure.run("cpu", True, 1, ("seed_test",), lambda name, event: None)
    assert {each["cores"] for each in asked} == {str(machine.spread(before)[0])}
    assert os.sched_getaffinity(0) == before


def test_cores_that_share_a_physical_one_come_last(monkeypatch: pytest.MonkeyPatch) -> None:
    siblings = {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}
    monkeypatch.setattr(Path, "exists", lambda path: True)
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: siblings[int(path.parts[5][3:])])
    assert machine.spread({0, 1, 2, 3}) == [0, 2, 1, 3]
    assert machine.spread({1, 2, 3}) == [1, 2, 3]


@pytest.mark.parametrize(
    ("seconds", "count", "stopped"), [(1.0, 2, "least"), (0.1, 3, "seconds"), (0.001, 30, "most"), (0.0, 30, "most")]
)
def test_why_there_are_no_more_rounds(seconds: float, count: int, stopped: str) -> None:
    found = Budget(seconds=0.35, least=2, most=30).rounds(seconds)
    assert (found.count, found.stopped) == (count, stopped)


def test_interruptions_and_the_reason_are_stored_beside_the_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, freed = iter([5, 12]), []
    monkeypatch.setattr(clocks, "interruptions", lambda: next(counts))

    class Benchmark:
        def __init__(self) -> None:
            self.extra_info: dict[str, object] = {"workload": "w"}

        def pedantic(self, call: Any, setup: Any, rounds: int) -> None:
            for _ in range(rounds):
                setup()
                call()

    class Result:
        def __del__(self) -> None:
            freed.append(len(ready))

    ready: list[int] = []
    benchmark = Benchmark()
    clocks.timed(benchmark, Result, clocks.Rounds(3, "most"), lambda: ready.append(1))
    assert benchmark.extra_info == {"workload": "w", "stopped": "most", "interruptions": 7}
    assert len(ready) == 3
    assert freed[:2] == [1, 2]  # each before the next call is made ready


def test_a_machine_is_known_by_what_times_hang_on() -> None:
    described = {**devices.load("cpu").describe(), "cpu": "a", "revision": "1", "dirty": False}
    same = {**described, "revision": "2", "dirty": True, "pinned": [7]}
    assert fingerprint.fingerprint(described) == fingerprint.fingerprint(same)
    assert fingerprint.changes(described, same) == []
    other = {**described, "cpu": "b", "versions": {"torch": "9.9"}}
    assert fingerprint.fingerprint(described) != fingerprint.fingerprint(other)
    found = fingerprint.changes({"cpu": "a", "versions": {"torch": "2.11.0"}}, {"cpu": "a", "versions": {"new": "1"}})
    assert found == ["torch 2.11.0 -> none", "new none -> 1"]
