"""Comparisons of stored runs and devices, on made-up files whose every verdict is known beforehand.

Nothing is timed or built. Verdicts on medians: test_verdicts.py; revisions: test_comparison.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pandas", reason="reading results needs pandas")
pytest.importorskip("scipy", reason="ranks are SciPy's")

from typer.testing import CliRunner

from harness import measure, results
from harness.__main__ import app
from harness.comparison import stored
from harness.verbs import console
from suites.meta.quiet_medians import AGAIN, QUIET
from suites.meta.test_results import BASE

CPU = {
    "cpu": "a cpu", "threads": 2, "versions": {"torch": "2.11.0"}, "revision": "0123456789abcdef", "dirty": False,
}  # fmt: skip
GPU = {**CPU, "gpu": "a gpu", "revision": "fedcba9876543210"}
ROW = "crop_and_resize w forward roi_align contiguous"


def row(medians: Sequence[float], **changes: Any) -> list[dict[str, Any]]:
    """A row of as many processes as there are medians, three equal samples each."""
    record = {**BASE, "schema": results.SCHEMA, "inputs_digest": "i", **changes}
    return [
        {"extra_info": {**record, "process": place}, "stats": {"data": [median] * 3}}
        for place, median in enumerate(medians)
    ]


def failed(status: str = "OUT", **changes: Any) -> dict[str, Any]:
    record = {**BASE, "schema": results.SCHEMA, "inputs_digest": "i", "process": 0}
    return {**record, "status": status, "message": "crops[0] is 2", **changes}


class Folder:
    """A folder of results, and the verb that reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def store(
        self,
        run: str,
        *rows: list[dict[str, Any]],
        unmeasured: Sequence[dict[str, Any]] = (),
        machine: dict[str, Any] = CPU,
        device: str = "cpu-test",
        kind: str = "full",
        load: float = 0.0,
    ) -> str:
        """Stores a run as a file for each process, and returns the name of its folder."""
        place = self.path / device / f"{run}-{kind}"
        place.mkdir(parents=True, exist_ok=True)
        of = {"run": run, "device": device, "kind": kind}
        benchmarks = [{**each, "extra_info": {**each["extra_info"], **of}} for lines in rows for each in lines]
        content = {
            "benchmarks": benchmarks,
            "unmeasured": [{**each, **of} for each in unmeasured],
            "machine_info": {"roi_align": machine},
            "conditions": {"process": 0, "before": {"load": load}, "after": {}},
        }
        (place / "default.json").write_text(json.dumps(content), encoding="utf-8")
        return f"{device}/{run}-{kind}"

    def compare(self, *arguments: str) -> tuple[int, str]:
        """The verb's exit code, and what it prints."""
        done = CliRunner().invoke(app, ["compare", *arguments])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
        return done.exit_code, done.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(measure, "FULL_RESULTS", tmp_path / "results")
    monkeypatch.setattr(console, "width", 200)  # or names are folded
    return Folder(tmp_path / "results")


def verdict(output: str, name: str = ROW) -> list[str]:
    """The cells of a row of the printed table."""
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if "│" in line]
    return next(cells for cells in lines if cells[0] == name)


# Verdicts.


@pytest.mark.parametrize(
    ("factor", "word", "options", "code"),
    [
        (1.0, "SAME", ["--fail-on", "slow"], 0),
        (1.05, "SLOW", ["--fail-on", "slow"], 1),
        (1.05, "SLOW", [], 0),
        (1 / 1.05, "FAST", ["--fail-on", "slow"], 0),
    ],
)
def test_a_step_is_seen_and_fails_where_it_is_asked_to(folder, factor, word, options, code):
    base, new = folder.store("r1", row(QUIET)), folder.store("r2", row(AGAIN * factor))
    found, output = folder.compare(base, new, *options)
    assert verdict(output)[1:3] == [word, f"{factor:.3f}"]
    assert found == code
    assert "10 processes" in output
    assert "not in turns, and no SLOW is confirmed by a rerun" in output
    assert ("No rerun has confirmed it." in output) == (word == "SLOW")


def test_one_process_a_side_is_no_answer_and_says_how_to_have_one(folder):
    base, new = folder.store("r1", row([1.0])), folder.store("r2", row([2.0]))
    code, output = folder.compare(base, new, "--fail-on", "slow")
    assert code == 0
    assert verdict(output)[1:] == ["AMBIGUOUS", "2.000", "-"]
    assert "1 process a side cannot be told from luck" in output
    assert "python -m harness bench --processes 10" in output


def test_a_process_is_worth_one_number_whatever_its_samples(folder):
    """A thousand samples of one process are one observation of the run."""
    many = row([1.0])
    many[0]["stats"]["data"] = [1.0 + place * 1e-6 for place in range(1000)]
    slow = row([2.0])
    slow[0]["stats"]["data"] = [2.0 + place * 1e-6 for place in range(1000)]
    _, output = folder.compare(folder.store("r1", many), folder.store("r2", slow))
    assert verdict(output)[1] == "AMBIGUOUS"


def test_what_the_scheduler_has_timed_is_not_the_same(folder):
    often = row(AGAIN, interruptions=2)
    base, new = folder.store("r1", row(QUIET)), folder.store("r2", often, load=1000.0)
    _, output = folder.compare(base, new)
    assert verdict(output)[1] == "AMBIGUOUS"
    assert "new: In 1 of 1 rows a call in two was interrupted" in output
    # Where the load leaves room a process interrupts itself.
    _, output = folder.compare(base, folder.store("r3", often))
    assert verdict(output)[1] == "SAME"


# Rows that have no verdict, none of them silently.


def test_rows_that_one_side_lacks_are_counted_and_named(folder):
    base = folder.store("r1", row(QUIET), row(QUIET, workload="old"), row(QUIET, workload="older"))
    new = folder.store("r2", row(AGAIN), row(AGAIN, workload="w", layout="channels_last"))
    code, output = folder.compare(base, new, "--fail-on", "slow")
    assert code == 0
    assert verdict(output)[1] == "SAME"
    assert (
        "lacking   new: 2 rows (crop_and_resize old forward roi_align contiguous; "
        "crop_and_resize older forward roi_align contiguous)"
    ) in output
    assert "lacking   base: crop_and_resize w forward roi_align channels_last:" in output


@pytest.mark.parametrize(
    ("status", "backend", "code"), [("OUT", "roi_align", 1), ("NO_TIME", "roi_align", 0), ("ERROR", "tensorflow", 0)]
)
def test_a_row_without_a_time_is_named_and_fails_if_its_result_was_wrong(folder, status, backend, code):
    other = {"workload": "v", "backend": backend}
    base = folder.store("r1", row(QUIET), row(QUIET, **other))
    new = folder.store("r2", row(AGAIN), unmeasured=[failed(status, **other)])
    found, output = folder.compare(base, new, "--fail-on", "slow")
    assert found == code
    assert f"no time   crop_and_resize v forward {backend} contiguous: new: {status}: crops[0] is 2" in output


def test_a_row_that_failed_in_one_process_has_no_time_of_the_others(folder):
    base, new = folder.store("r1", row(QUIET)), folder.store("r2", row(AGAIN * 0.5), unmeasured=[failed()])
    code, output = folder.compare(base, new, "--fail-on", "slow")
    assert code == 2
    assert f"no time   {ROW}: new: OUT" in output
    assert "nothing can be said" in output


def test_rows_on_other_inputs_have_no_verdict(folder):
    base = folder.store("r1", row(QUIET), row(QUIET, workload="v"), row(QUIET, workload="u"))
    others = (row(AGAIN * 2, workload="v", inputs_digest="j"), row(AGAIN * 2, workload="u", boxes=101))
    code, output = folder.compare(base, folder.store("r2", row(AGAIN), *others), "--fail-on", "slow")
    assert code == 0
    assert "inputs    2 rows (crop_and_resize v forward" in output
    assert "│ SLOW" not in output
    # An old file does not say what its inputs were.
    code, output = folder.compare(folder.store("r0", row(QUIET, inputs_digest=None)), folder.store("r3", row(AGAIN)))
    assert verdict(output)[1] == "SAME"


def test_other_bits_are_told(folder):
    _, output = folder.compare(folder.store("r1", row(QUIET)), folder.store("r2", row(AGAIN, digest="e")))
    assert f"bits      {ROW}: both results are right" in output


# What changed between the runs.


def test_another_machine_or_software_is_told_first_and_is_no_verdict(folder):
    newer = {**CPU, "threads": 4, "versions": {"torch": "2.12.0"}}
    base, new = folder.store("r1", row(QUIET)), folder.store("r2", row(AGAIN, threads=4), machine=newer)
    _, output = folder.compare(base, new)
    assert output.startswith("changed   threads 2 -> 4, torch 2.11.0 -> 2.12.0\n")
    assert "a difference may be theirs alone" in output
    assert f"1 rows were measured with other numbers of threads ({ROW}: 2 -> 4)" in output
    same = folder.store("r3", row(AGAIN), machine={**CPU, "revision": "another", "dirty": True})
    _, output = folder.compare(base, same)
    assert "changed" not in output.split("warning")[0]
    assert "theirs alone" not in output
    assert "revision another+" in output


def test_others_code_that_slows_down_as_well_is_told_and_fails_nothing(folder):
    base = folder.store("r1", row(QUIET), row(QUIET, backend="tensorflow"))
    new = folder.store("r2", row(AGAIN), row(AGAIN * 1.05, backend="tensorflow"))
    code, output = folder.compare(base, new, "--fail-on", "slow")
    assert verdict(output, ROW.replace("roi_align", "tensorflow"))[1] == "SLOW"
    assert code == 0
    assert "took 1.050 times as long (geometric mean of 1 rows)" in output
    steady = folder.store("r3", row(AGAIN * 1.05), row(AGAIN, backend="tensorflow"))
    code, output = folder.compare(base, steady, "--fail-on", "slow")
    assert code == 1
    assert "Others' backends" not in output


# Names.


def test_a_device_is_its_newest_full_run(folder):
    folder.store("r1", row(QUIET))
    base = folder.store("r2", row(QUIET))
    folder.store("r3", row(AGAIN * 1.05))
    folder.store("r4", row(AGAIN), kind="quick")
    for name in ("cpu-test", str(folder.path / "cpu-test")):
        _, output = folder.compare(base, name)
        assert "cpu-test/r3 (full" in output
        assert verdict(output)[1] == "SLOW"


def test_a_run_is_named_by_any_path(folder, tmp_path, monkeypatch):
    folder.store("r1", row(QUIET))
    (folder.path / "cpu-test/r1-full").rename(tmp_path / "elsewhere")
    new = folder.store("r2", row(AGAIN))
    monkeypatch.chdir(tmp_path)
    for name in ("elsewhere", "./elsewhere/", str(tmp_path / "elsewhere")):
        code, output = folder.compare(name, new)
        assert code == 0
        assert verdict(output)[1] == "SAME"


def test_a_name_is_a_run_before_it_is_a_device_before_it_is_a_revision(folder, tmp_path, monkeypatch):
    """The order that stored.py and docs/comparing.md give: so the branch main of this repository is hidden here."""
    folder.store("r1", row(QUIET), device="main")
    assert str(stored.find("main", folder.path)).startswith("main/r1")
    assert stored.find("refs/heads/main", folder.path) is None
    assert stored.find("HEAD", folder.path) is None
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "notes.txt").write_text("no run")
    monkeypatch.chdir(tmp_path)
    assert str(stored.find("main", folder.path)).startswith("main/r1")
    (folder.path / "main/r1-full/default.json").rename(tmp_path / "main/default.json")
    folder.store("r2", row(QUIET), device="main")
    assert str(stored.find("main", folder.path)).startswith("main/r1")
    # The working tree is no run, whatever lies in it.
    monkeypatch.chdir(tmp_path / "main")
    assert stored.find(".", folder.path) is None


def test_devices_of_different_kinds_are_matched_by_operator_and_by_the_cold_cache(folder):
    peer = {"backend": "torchvision", "op": "roi_align"}
    folder.store("r1", row(QUIET), row(QUIET, **peer), row(QUIET, allocator="tuned"))
    gpu = {"allocator": "cuda", "backend": "roi_align_cuda", "clock": "events"}
    rows = [
        row(AGAIN / 20, **gpu, cache="cold"),
        row(AGAIN / 90, **gpu, cache="hot"),
        row(AGAIN / 10, **{**gpu, **peer, "backend": "torchvision_cuda"}, cache="cold"),
        row(AGAIN / 20, **{**gpu, "backend": "roi_align_cuda_deterministic"}, cache="cold"),
    ]
    folder.store("r2", *rows, device="cuda-test", machine=GPU)
    code, output = folder.compare("cpu-test", "cuda-test", "--fail-on", "slow")
    assert code == 0
    assert output.startswith("changed   gpu none -> a gpu")
    assert verdict(output)[1:3] == ["FAST", "0.050"]
    assert verdict(output, "roi_align in crop_and_resize w forward torchvision contiguous")[1:3] == ["FAST", "0.100"]
    assert "lacking   base: 2 rows" in output
    assert "roi_align contiguous, hot" in output
    assert "roi_align_cuda_deterministic" in output
    assert f"lacking   new: {ROW}, tuned:" in output
    assert "Others' backends" not in output
    code, output = folder.compare("cuda-test", "cpu-test", "--fail-on", "slow")
    assert code == 1
    assert verdict(output)[1] == "SLOW"


def test_two_gpus_keep_their_own_names(folder):
    gpu = {"allocator": "cuda", "backend": "roi_align_cuda"}
    both = [("cuda-one", QUIET, 1.0), ("cuda-two", AGAIN, 1.05)]
    for device, medians, factor in both:
        rows = [row(medians * factor, **gpu, cache="cold"), row(medians, **gpu, cache="hot")]
        folder.store("r1", *rows, device=device, machine=GPU)
    _, output = folder.compare("cuda-one", "cuda-two")
    assert verdict(output, "crop_and_resize w forward roi_align_cuda contiguous, cold")[1] == "SLOW"
    assert verdict(output, "crop_and_resize w forward roi_align_cuda contiguous, hot")[1] == "SAME"


def test_only_the_workloads_that_are_asked_for(folder):
    base = folder.store("r1", row(QUIET), row(QUIET, workload="v"))
    new = folder.store("r2", row(AGAIN), row(AGAIN * 1.05, workload="v"))
    assert folder.compare(base, new, "--fail-on", "slow")[0] == 1
    code, output = folder.compare(base, new, "--fail-on", "slow", "--workload", "w")
    assert code == 0
    assert verdict(output)[1] == "SAME"
    assert " v " not in output


# Files, and what is refused.


def test_broken_and_newer_files_are_named_and_the_others_compared(folder):
    base, new = folder.store("r1", row(QUIET)), folder.store("r2", row(AGAIN))
    (folder.path / new / "broken.json").write_text("{", encoding="utf-8")
    newer = {"benchmarks": row([1.0], schema=results.SCHEMA + 1), "machine_info": {"roi_align": CPU}}
    (folder.path / base / "newer.json").write_text(json.dumps(newer), encoding="utf-8")
    code, output = folder.compare(base, new)
    assert code == 0
    assert verdict(output)[1] == "SAME"
    assert "left out  broken.json was left out" in output
    assert "left out  newer.json was left out" in output
    for name in (base, new):
        (folder.path / name / "default.json").unlink()
    code, output = folder.compare(base, new)
    assert code == 2
    assert "can be read as a run's. newer.json was left out" in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["HEAD", "cpu-test"], "cpu-test is a stored run, and HEAD is not"),
        (["cpu-test", "."], "cpu-test is a stored run, and . is not"),
        (["cpu-test/r1-full", "cpu-test"], "Both are cpu-test/r1"),
        (["cpu-test", "both"], "both holds 2 runs (cpu-other/r2, cpu-test/r1), and one is compared"),
        (["cpu-test", "cpu-other", "--workload", "x"], "Neither run has a workload 'x'; there are v, w."),
        (["cpu-test", "cpu-other", "--processes", "5"], "--processes is for revisions"),
        (["cpu-test", "cpu-other", "--fail-on", "fast"], "--fail-on is 'fast'; it takes slow"),
        (["cpu-test", "cpu-other", "--workload", "v"], "No row has times of both runs"),
        (["nobodys", "nothing"], "or a run or device under results can be compared"),
    ],
)
def test_the_verb_refuses_in_sentences(folder, tmp_path, monkeypatch, arguments, says):
    folder.store("r1", row(QUIET))
    folder.store("r2", row(AGAIN), row(AGAIN, workload="v"), device="cpu-other")
    (tmp_path / "both").mkdir()
    for name in ("cpu-test/r1-full", "cpu-other/r2-full"):
        copy = tmp_path / "both" / f"{name[:9].replace('/', '')}.json"
        copy.write_text((folder.path / name / "default.json").read_text())
    monkeypatch.chdir(tmp_path)
    code, output = folder.compare(*arguments)
    assert code == 2
    assert says in output


def test_help_has_an_example_of_each():
    output = " ".join(CliRunner().invoke(app, ["compare", "--help"]).output.replace("│", " ").split())
    assert "compare main . --fail-on slow" in output
    assert "for a stored run against its device's newest one" in output
    assert "for two devices" in output
