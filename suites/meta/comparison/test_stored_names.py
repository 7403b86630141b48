"""Names of stored runs and devices, matching of rows, and errors; on made-up files."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pandas", reason="reading results needs pandas")
pytest.importorskip("scipy", reason="ranks are SciPy's")

from typer.testing import CliRunner

from harness.__main__ import app
from harness.comparison import stored
from harness.measuring import record
from suites.meta.comparison.quiet_medians import AGAIN, QUIET
from suites.meta.comparison.stored_runs import GPU, ROW, Folder, results_folder, row, verdict
from suites.meta.report.made_results import store


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    return results_folder(tmp_path, monkeypatch)


def test_a_device_name_selects_its_newest_full_run(folder):
    folder.store("r1", row(QUIET))
    base = folder.store("r2", row(QUIET))
    folder.store("r3", row(AGAIN * 1.05))
    folder.store("r4", row(AGAIN), kind="quick")
    for name in ("cpu-test", str(folder.path / "cpu-test")):
        _, output = folder.compare(base, name)
        assert "cpu-test/r3 (full" in output
        assert verdict(output)[1] == "SLOW"


def test_any_path_names_a_run(folder, tmp_path, monkeypatch):
    folder.store("r1", row(QUIET))
    (folder.path / "cpu-test/r1-full").rename(tmp_path / "elsewhere")
    new = folder.store("r2", row(AGAIN))
    monkeypatch.chdir(tmp_path)
    for name in ("elsewhere", "./elsewhere/", str(tmp_path / "elsewhere")):
        code, output = folder.compare(name, new)
        assert code == 0
        assert verdict(output)[1] == "SAME"


def test_names_are_looked_up_as_run_then_device_then_revision(folder, tmp_path, monkeypatch):
    """The documented order of lookups: here a stored run hides this repository's branch main."""
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
    # "." is the working tree, never a run.
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


def test_the_workload_option_selects_rows(folder):
    base = folder.store("r1", row(QUIET), row(QUIET, workload="v"))
    new = folder.store("r2", row(AGAIN), row(AGAIN * 1.05, workload="v"))
    assert folder.compare(base, new, "--fail-on", "slow")[0] == 1
    code, output = folder.compare(base, new, "--fail-on", "slow", "--workload", "w")
    assert code == 0
    assert verdict(output)[1] == "SAME"
    assert " v " not in output


# Files and errors.


def test_broken_and_newer_files_are_named_and_the_others_compared(folder):
    base, new = folder.store("r1", row(QUIET)), folder.store("r2", row(AGAIN))
    (folder.path / new / "broken.json").write_text("{", encoding="utf-8")
    store(folder.path / base, "newer.json", row([1.0], schema=record.SCHEMA + 1))
    code, output = folder.compare(base, new)
    assert code == 0
    assert verdict(output)[1] == "SAME"
    assert "left out  broken.json was left out" in output
    assert "left out  newer.json was left out" in output
    for name in (base, new):
        for path in (folder.path / name).glob("default*.json"):
            path.unlink()
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
        (["cpu-test", "cpu-other", "--setting", "maximum"], "--setting is for revisions and functions; of stored runs"),
        (["cpu-test", "cpu-other", "--fail-on", "fast"], "--fail-on is 'fast'; it takes slow"),
        (["cpu-test", "cpu-other", "--workload", "v"], "No row has times of both runs"),
        (["nobodys", "nothing"], "or a run or device under results can be compared"),
    ],
)
def test_wrong_arguments_exit_with_2_and_a_message(folder, tmp_path, monkeypatch, arguments, says):
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


def test_help_has_an_example_of_each_kind():
    output = " ".join(CliRunner().invoke(app, ["compare", "--help"]).output.replace("│", " ").split())
    assert "compare main . --fail-on slow" in output
    assert "for a stored run against its device's newest one" in output
    assert "for two devices" in output
