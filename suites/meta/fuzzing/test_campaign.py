"""Campaigns of the fuzzer find, shrink and store planted faults, even if interrupted."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.__main__ import app
from harness.backends import load
from harness.fuzzing import campaign, finds, worker
from harness.fuzzing import totals as fuzz_totals
from harness.fuzzing.campaign import Catch, Count, LostTask, Schedule, Task
from harness.fuzzing.finds import Find
from harness.fuzzing.totals import Totals
from harness.operators.sheet import OperatorName
from harness.operators.verdict import Status, Verdict

ROOT = Path(__file__).resolve().parents[3]
TASK = Task(3, "roi_align", "crop_and_resize", "within bound, normalized boxes", "forward", seed=1, examples=40)
FIND = Find(TASK.operator, TASK.property, TASK.direction, "Case()", "out", "It is wrong.", "roi_align", "ours")


def hunt(name: str, folder: Path, cases: int, seed: int = 1, operator: OperatorName = "crop_and_resize") -> Totals:
    """A campaign in this process."""
    answer = worker.about(name, (operator,))
    assert not answer.missing
    assert list(answer.sheets) == [operator]
    totals = Totals(folder)
    for result in campaign.catches(Schedule(name, answer.sheets, seed, cases), totals.hear):
        totals.add(result)
    return totals


def fail_in_calls(monkeypatch: pytest.MonkeyPatch, status: Status, reason: str, *numbers: int) -> list[int]:
    """Every property holds except in the calls with these numbers; returns the numbers of all calls, from 1."""
    calls: list[int] = []

    def holds(*_: object) -> Verdict:
        calls.append(len(calls) + 1)
        return Verdict(status, reason=reason) if calls[-1] in numbers else Verdict(Status.EXACT)

    monkeypatch.setattr("harness.properties.Property.holds", holds)
    return calls


@pytest.mark.parametrize(("fault", "cases"), [("box_gradient_sign", 110), ("roi_edge_sign", 120)])
def test_a_planted_fault_is_found_shrunk_and_replayed(tmp_path: Path, fault: str, cases: int) -> None:
    operator: OperatorName = "roi_align" if fault.startswith("roi_") else "crop_and_resize"
    totals = hunt(f"fault:{fault}", tmp_path, cases, operator=operator)
    stored_finds, problems = finds.read(tmp_path)
    assert stored_finds
    assert not problems
    # The original failures have been removed: only the shrunk finds remain.
    assert sorted(totals.stored.values(), key=Find.file_name) == stored_finds
    for find in stored_finds:
        call = (find.parse_case(), find.direction)
        of = [load(name, find.operator) for name in (find.backend, "roi_align")]
        fails, passes = (find.definition().holds(backend, *call) for backend in of)
        assert (fails.status.value, passes.passed) == (find.status, True), find
        case = find.parse_case()
        assert len(case.boxes) == case.shape[0] == case.shape[1] == 1, find


def test_the_same_seed_gives_the_same_campaign(tmp_path: Path) -> None:
    hunt("fault:open_upper_border", tmp_path / "warm", 1)  # imports all modules in advance: see campaign.py
    one, same, other = (
        hunt("fault:open_upper_border", tmp_path / name, 25, seed)
        for name, seed in (("one", 5), ("same", 5), ("other", 6))
    )
    assert one.stored
    assert sorted(path.name for path in one.stored) == sorted(path.name for path in same.stored)
    assert one.rows() == same.rows() != other.rows()


def test_the_reference_has_no_finds(tmp_path: Path) -> None:
    totals = hunt("reference", tmp_path, 90)
    assert totals.is_empty()
    assert not list(tmp_path.iterdir())
    assert totals.cases.total() >= 90
    assert 0 < totals.largest() <= 1


def test_an_intermittent_failure_is_a_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_in_calls(monkeypatch, Status.OUT, "It raced.", 5)
    totals = hunt("reference", tmp_path, 40)
    (find,) = totals.stored.values()
    assert find.reason.startswith("It raced. (Asked again it did not fail in this way")


def test_a_failure_of_the_judge_is_no_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "harness.properties.Property.holds", lambda *_: Verdict(Status.JUDGE, reason="The judge itself failed.")
    )
    answer = worker.about("reference", ("crop_and_resize",))
    totals = Totals(tmp_path)
    source = campaign.catches(Schedule("reference", answer.sheets, 1, 1), totals.hear)
    assert "The judge itself failed. The case: Case(" in totals.add(next(source))
    assert not totals.stored
    assert not totals.is_empty()


def test_a_hang_is_not_shrunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fail_in_calls(monkeypatch, Status.HANG, "It did not return.", *range(7, 1000))
    schedule = Schedule("reference", worker.about("reference", ("crop_and_resize",)).sheets, 1, 1)
    totals = Totals(tmp_path)
    totals.add(next(campaign.catches(schedule, totals.hear)))
    assert [find.status for find in totals.stored.values()] == ["hang"]
    assert len(calls) == 7


def test_properties_with_enough_failures_or_only_refusals_are_dropped() -> None:
    sheet = load("reference").sheet
    schedule = Schedule("reference", {"crop_and_resize": sheet}, 1, None)
    for count, task in enumerate(iter(schedule.next, None), 1):
        silent = task.property == "no side effect"
        own = {"property": task.property, "direction": task.direction, "case": f"Case({count})"}
        find = None if silent else replace(FIND, **own)
        schedule.record_result(Catch(task, () if silent else (Count("float32", 1, None),), 0, find))
    turns = schedule.turns["crop_and_resize"][0]
    silent_turns = [turn for turn in turns if turn[0].name == "no side effect"]
    assert len(silent_turns) == 3
    assert count == campaign.ENOUGH * (len(turns) - 3) + 3


def test_operators_take_turns_and_each_gets_its_cases() -> None:
    sheets = {name: load("reference", name).sheet for name in ("crop_and_resize", "roi_align")}
    schedule = Schedule("reference", sheets, 1, 200)
    tasks = list(iter(schedule.next, None))
    assert [task.operator for task in tasks[:4]] == ["crop_and_resize", "roi_align"] * 2
    assert len({task.seed for task in tasks}) == len(tasks)
    for name in sheets:
        assert sum(task.examples for task in tasks if task.operator == name) >= 200
    schedule.record_result(
        Catch(tasks[0], (Count("float32", 1, None),), 39, None)
    )  # most were refused: there is room for more
    assert schedule.next().operator == tasks[0].operator


def test_a_find_is_stored_before_shrinking_and_survives_a_lost_task(tmp_path: Path) -> None:
    totals = Totals(tmp_path)
    totals.hear(3, FIND)
    assert len(list(tmp_path.iterdir())) == 1
    assert totals.add(LostTask(TASK, "Its workers ended.")).startswith("lost    task 3 (crop_and_resize, within bound")
    assert list(totals.stored.values()) == [FIND]
    assert not totals.is_empty()


def test_only_a_smaller_case_of_the_same_status_replaces_a_find(tmp_path: Path) -> None:
    smaller = replace(FIND, case="Case(1)")
    for status, remaining in (("out", {"Case(1)"}), ("broken", {"Case()", "Case(1)"})):
        totals = Totals(tmp_path / status)
        totals.hear(3, FIND)
        totals.add(Catch(TASK, (), 0, replace(smaller, status=status)))
        assert {find.case for find in totals.stored.values()} == remaining
        assert len(list((tmp_path / status).iterdir())) == len(remaining)
    # Finds of an earlier campaign are never removed.
    finds.store(FIND, tmp_path)
    totals = Totals(tmp_path)
    totals.hear(3, FIND)
    totals.add(Catch(TASK, (), 0, smaller))
    assert (tmp_path / FIND.file_name()).exists()


def test_each_new_find_is_reported_once(tmp_path: Path) -> None:
    """Including one that could not be shrunk, but not one that existed before."""
    totals = Totals(tmp_path)
    totals.hear(3, FIND)
    assert FIND.file_name() in totals.add(Catch(TASK, (), 0, FIND))
    assert totals.add(Catch(TASK, (), 0, FIND)) == ""
    assert Totals(tmp_path).add(Catch(TASK, (), 0, FIND)) == ""


def test_a_record_has_a_row_for_each_dtype(tmp_path: Path) -> None:
    totals = Totals(tmp_path / "finds")
    totals.add(Catch(TASK, (Count("float16", 4, 0.5), Count("uint8", 3, None)), 2, None))
    totals.add(Catch(TASK, (Count("float16", 6, 0.25),), 0, None))
    origin = fuzz_totals.Origin("20261125T000000Z", "cpu-x", "roi_align", {"crop_and_resize": "ours 1"}, 7, "numpy 2")
    path = fuzz_totals.record(totals, origin, 1.26, 1, tmp_path / "campaigns")
    assert [each.name for each in path.parent.iterdir()] == ["cpu-x-20261125T000000Z.csv"]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["dtype"], row["cases"], row["largest_fraction"], row["title"], row["seconds"]) for row in rows] == [
        ("float16", "10", "0.5", "ours 1", "1.3"),
        ("uint8", "3", "", "ours 1", "1.3"),
    ]
    assert totals.refused["crop_and_resize"] == 2


def test_an_interrupt_ends_a_campaign_and_keeps_its_finds(tmp_path: Path) -> None:
    """The interrupt comes when the first find is stored, most likely while it is shrunk."""
    command = [sys.executable, "-m", "harness", "fuzz", "--backend", "fault:open_upper_border", "--minutes", "60"]
    command += ["--finds", str(tmp_path), "--seed", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        while not list(tmp_path.glob("*.json")):
            assert process.poll() is None
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert "Interrupted; the finds so far are stored." in output
    assert "python -m harness judge --backend fault:open_upper_border" in output
    stored_finds, problems = finds.read(tmp_path)
    assert stored_finds
    assert not problems
    assert all(find.file_name() in output for find in stored_finds)


def test_a_lost_interrupt_ends_a_campaign_after_its_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python ignores an interrupt within a callback of its garbage collector."""
    add = Totals.add

    def lossy(self: Any, result: Any) -> Any:
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        return add(self, result)

    monkeypatch.setattr(Totals, "add", lossy)
    arguments = ["fuzz", "--backend", "reference", "--cases", "300", "--finds", str(tmp_path)]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 130
    assert "Interrupted; the finds so far are stored." in outcome.output


def test_a_crash_is_a_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that crashes is not the campaign's."""
    (tmp_path / "crashing_fuzzed.py").write_text(
        "import os\n\n\n"
        "def pool(input, boxes, output_size, spatial_scale, sampling_ratio, aligned):\n"
        "    os.abort()\n\n\n"
        'pool.sheet = {"operator": "roi_align"}\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(campaign, "SHRINKS", 20)
    totals = hunt("crashing_fuzzed:pool", tmp_path / "finds", 1, operator="roi_align")
    assert {find.status for find in totals.stored.values()} == {"crash"}
    assert all("SIGABRT" in find.reason for find in totals.stored.values())


@pytest.mark.parametrize("written", [True, False])
def test_an_interrupt_at_any_moment_loses_no_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    """Including between the writing of the file and its registration."""
    totals = Totals(tmp_path)
    with monkeypatch.context() as patched:
        store = finds.store

        def interrupted(find: Find, folder: Path) -> None:
            if written:
                store(find, folder)
            raise KeyboardInterrupt

        patched.setattr(finds, "store", interrupted)
        with pytest.raises(KeyboardInterrupt):
            totals.hear(TASK.number, FIND)
    totals.settle()
    assert [each.name for each in totals.stored] == [FIND.file_name()]
    assert [each.name for each in tmp_path.iterdir()] == [FIND.file_name()]
