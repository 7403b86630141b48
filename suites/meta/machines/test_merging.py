"""`make merge` on small made-up archives: the report has every archive that arrived, and names the missing ones."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("typer", reason="the command line needs typer")
pytest.importorskip("pandas", reason="a report needs pandas")
pytest.importorskip("jinja2", reason="a report needs jinja2")
pytest.importorskip("matplotlib", reason="a report needs matplotlib")

from typer.testing import CliRunner, Result

from harness.__main__ import app
from harness.machines import merging
from harness.machines.step import StepResult, bad_steps
from suites.meta.report.made_results import store, timed_row

Command = Callable[..., Result]
PASSED = (StepResult("build", "passed", 3.0), StepResult("bench", "passed", 4.0))


def run_of(device: str, outcomes: tuple[StepResult, ...] = PASSED) -> dict[str, str]:
    """The content of a runner's archive: names and texts."""
    steps = "".join(f"{outcome}\n" for outcome in outcomes)
    with tempfile.TemporaryDirectory() as folder:
        store(Path(folder), "cuda.json", [timed_row([1.0], device=device)])
        results = (Path(folder) / "cuda.json").read_text(encoding="utf-8")
    return {f"{device}/r1-full/cuda.json": results, f"{device}/r1-full/logs/steps.txt": steps}


def archive(folder: Path, runner: str, content: dict[str, str], more: tuple[tarfile.TarInfo, ...] = ()) -> Path:
    """An archive in the folder of a runner's artifact; `more` are members without content."""
    path = folder / "archives" / f"gpu-{runner}-12345" / "run.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as file:
        for name, text in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            file.addfile(member, io.BytesIO(text.encode()))
        for member in more:
            file.addfile(member)
    return path


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`python -m harness merge` with a temporary folder in place of build/merged."""
    monkeypatch.setattr(merging, "FOLDER", tmp_path / "merged")
    return lambda *arguments: CliRunner().invoke(app, ["merge", str(tmp_path / "archives"), *arguments])


def devices_in_the_report(folder: Path) -> set[str]:
    import pandas as pd

    assert "<svg" in (folder / "report.html").read_text(encoding="utf-8")
    return set(pd.read_csv(folder / "throughput.csv").device)


def test_all_archives_are_in_one_report(command: Command, tmp_path: Path) -> None:
    archive(tmp_path, "h100", run_of("cuda-a"))
    archive(tmp_path, "h200-of-a-friend", run_of("cuda-b"))
    result = command("--expect", "h100 h200-of-a-friend")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[:2] == ["h100: cuda-a/r1-full", "h200-of-a-friend: cuda-b/r1-full"]
    assert devices_in_the_report(tmp_path / "merged") == {"cuda-a", "cuda-b"}
    assert (tmp_path / "merged/cuda-a/r1-full/logs/steps.txt").is_file()
    # No unpacked files remain beside the runs.
    names = {path.name for path in (tmp_path / "merged").iterdir()}
    overviews = {"overview.svg", "overview-narrow.svg"}
    assert names == {"cuda-a", "cuda-b", "README.md", "report.html", "throughput.csv", "runners.md"} | overviews


def test_a_runner_without_an_archive_is_named_and_the_other_is_reported(command: Command, tmp_path: Path) -> None:
    archive(tmp_path, "h100", run_of("cuda-a"))
    result = command("--expect", "h100 h200")
    assert result.exit_code == 1
    assert "h200 left nothing" in result.output
    assert "h100 left nothing" not in result.output
    assert devices_in_the_report(tmp_path / "merged") == {"cuda-a"}
    assert "- h200 left nothing" in (tmp_path / "merged/runners.md").read_text(encoding="utf-8")


def test_a_runner_is_not_confused_with_one_of_the_same_prefix(tmp_path: Path) -> None:
    archive(tmp_path, "h100-b", run_of("cuda-a"))
    merged = merging.merge(tmp_path / "archives", ("h100",), tmp_path / "merged")
    assert [problem.partition(":")[0] for problem in merged.problems] == ["h100 left nothing"]
    assert merged.runs == ("h100-b: cuda-a/r1-full",)


@pytest.mark.parametrize("length", [0, 20, 200, -8])
def test_a_broken_archive_is_named_and_the_other_is_reported(command: Command, tmp_path: Path, length: int) -> None:
    archive(tmp_path, "h100", run_of("cuda-a"))
    broken = archive(tmp_path, "h200", run_of("cuda-b"))
    broken.write_bytes(broken.read_bytes()[:length])
    result = command("--expect", "h100 h200")
    assert result.exit_code == 1
    assert "h200: gpu-h200-12345/run.tar.gz was left out" in result.output
    assert devices_in_the_report(tmp_path / "merged") == {"cuda-a"}
    assert not (tmp_path / "merged/cuda-b").exists()


def test_corrupted_archives_are_named(tmp_path: Path) -> None:
    archive(tmp_path, "h100", {}).write_bytes(b"no archive at all")
    altered = archive(tmp_path, "h200", run_of("cuda-b"))
    content = bytearray(altered.read_bytes())
    content[len(content) // 2] ^= 0xFF
    altered.write_bytes(content)
    merged = merging.merge(tmp_path / "archives", (), tmp_path / "merged")
    assert not merged.runs
    of = [problem.partition(" was left out: ")[0] for problem in merged.problems]
    assert of == [f"{runner}: gpu-{runner}-12345/run.tar.gz" for runner in ("h100", "h200")]


@pytest.mark.parametrize(
    ("name", "kind", "target", "why"),
    [
        ("../outside/r1-full/a.json", tarfile.REGTYPE, "", "would leave the folder"),
        ("cuda-b/r1-full/../../../outside.json", tarfile.REGTYPE, "", "would leave the folder"),
        ("cuda-b/r1-full/logs/../../../report.html", tarfile.REGTYPE, "", "would leave the folder"),
        ("/tmp/outside/a.json", tarfile.REGTYPE, "", "would leave the folder"),
        ("report.html", tarfile.REGTYPE, "", "lies in no run"),
        ("campaigns/a.csv", tarfile.REGTYPE, "", "lies in no run"),
        ("cuda-c/r1-full/a.json", tarfile.REGTYPE, "", "it holds 2 runs in the place of one"),
        ("cuda-b/r1-full/a", tarfile.SYMTYPE, "../../..", "neither a file nor a folder"),
        ("cuda-b/r1-full/a", tarfile.LNKTYPE, "/etc/passwd", "neither a file nor a folder"),
        ("cuda-b/r1-full/a", tarfile.FIFOTYPE, "", "neither a file nor a folder"),
    ],
)
def test_an_archive_with_an_unsafe_member_is_refused_whole(
    tmp_path: Path, name: str, kind: bytes, target: str, why: str
) -> None:
    archive(tmp_path, "h100", run_of("cuda-a"))
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    archive(tmp_path, "h200", run_of("cuda-b"), (member,))
    merged = merging.merge(tmp_path / "archives", (), tmp_path / "inner" / "merged")
    assert merged.runs == ("h100: cuda-a/r1-full",)
    (problem,) = merged.problems
    assert problem.startswith("h200: ")
    assert why in problem
    names = {str(path.relative_to(tmp_path / "inner")) for path in (tmp_path / "inner").rglob("*") if path.is_file()}
    own = {"merged/runners.md", "merged/cuda-a/r1-full/cuda.json", "merged/cuda-a/r1-full/logs/steps.txt"}
    assert names == own
    assert {path.name for path in tmp_path.iterdir()} == {"archives", "inner"}


def test_an_archive_without_a_run_is_named(tmp_path: Path) -> None:
    archive(tmp_path, "h100", {})
    (problem,) = merging.merge(tmp_path / "archives", (), tmp_path / "merged").problems
    assert "it holds 0 runs" in problem


def test_a_run_does_not_replace_another_of_the_same_name(tmp_path: Path) -> None:
    archive(tmp_path, "one", run_of("cuda-a"))
    archive(tmp_path, "two", run_of("cuda-a") | {"cuda-a/r1-full/other.json": "{}"})
    merged = merging.merge(tmp_path / "archives", (), tmp_path / "merged")
    (problem,) = merged.problems
    assert problem.startswith("two: ")
    assert "cuda-a/r1-full is there already" in problem
    assert not (tmp_path / "merged/cuda-a/r1-full/other.json").exists()


def test_a_failed_step_is_named_and_its_runners_figures_are_reported(command: Command, tmp_path: Path) -> None:
    late = StepResult("sanitize", "out of time", 540.0, "It was stopped.")
    archive(tmp_path, "h100", run_of("cuda-a", (*PASSED, StepResult("test", "failed", 1.0, "exit code 1"), late)))
    result = command()
    assert result.exit_code == 1
    assert "h100: the step test did not pass; see cuda-a/r1-full/logs/test.log." in result.output
    assert "h100: the step sanitize did not pass" in result.output
    assert "step build" not in result.output
    assert devices_in_the_report(tmp_path / "merged") == {"cuda-a"}


def test_the_last_outcome_of_a_step_counts() -> None:
    outcomes = [StepResult("test", "failed"), StepResult("bench", "passed"), StepResult("test", "passed")]
    assert bad_steps("\n".join(map(str, outcomes))) == []
    assert bad_steps("\n".join(map(str, reversed(outcomes)))) == ["test"]


def test_logs_alone_are_no_results(command: Command, tmp_path: Path) -> None:
    logs = "cuda/r1-without-results/logs"
    archive(tmp_path, "h100", {f"{logs}/build.log": "", f"{logs}/test.log": ""})
    result = command("--expect", "h100")
    assert result.exit_code == 2
    for words in ("holds no results, only logs.", "has no logs/steps.txt"):
        assert f"h100: cuda/r1-without-results {words}" in result.output
    assert "There are no results under" in result.output


def test_a_broken_file_in_a_good_archive_fails_the_merge(command: Command, tmp_path: Path) -> None:
    archive(tmp_path, "h100", run_of("cuda-a") | {"cuda-a/r1-full/broken.json": "{"})
    result = command()
    assert result.exit_code == 1
    assert "broken.json was left out" in result.output


@pytest.mark.parametrize("place", ["run.tar.gz", "h100/run.tar.gz", "deeper/gpu-h100-1/run.tar.gz"])
def test_an_archive_outside_a_runners_folder_is_named(tmp_path: Path, place: str) -> None:
    misplaced = tmp_path / "archives" / place
    misplaced.parent.mkdir(parents=True)
    archive(tmp_path / "elsewhere", "h100", run_of("cuda-a")).rename(misplaced)
    merged = merging.merge(tmp_path / "archives", ("h100",), tmp_path / "merged")
    assert not merged.runs
    assert f"{place} was left out" in merged.problems[0]
    assert "h100 left nothing" in merged.problems[1]


def test_no_archive_exits_with_a_message(command: Command) -> None:
    result = command()
    assert result.exit_code == 2
    assert "There is no archive gpu-RUNNER-RUN" in result.output


def test_the_default_folder_is_replaced_and_an_explicit_one_is_added_to(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness import repository

    before: dict[str, Any] = {str(path): path.stat().st_mtime_ns for path in repository.RESULTS.rglob("*")}
    first = archive(tmp_path, "h100", run_of("cuda-a"))
    options = ("--output", str(tmp_path / "given"))
    assert command().exit_code == command(*options).exit_code == 0
    first.unlink()
    archive(tmp_path, "h200", run_of("cuda-b"))
    assert command().exit_code == command(*options).exit_code == 0
    assert devices_in_the_report(tmp_path / "merged") == {"cuda-b"}
    assert devices_in_the_report(tmp_path / "given") == {"cuda-a", "cuda-b"}
    assert {str(path): path.stat().st_mtime_ns for path in repository.RESULTS.rglob("*")} == before
