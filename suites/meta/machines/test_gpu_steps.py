"""`make gpu` without a GPU: small steps in place of its own, and their outcomes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("typer", reason="the command line needs typer")

from typer.testing import CliRunner, Result

from harness.__main__ import app
from harness.machines import gpu, preflight, step
from harness.machines.preflight import Lacks
from harness.machines.step import Step, StepResult
from suites import programs

COMPLETE = Lacks({})

Command = Callable[..., Result]


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


def members(file: Path) -> list[str]:
    with tarfile.open(file) as archive:
        return sorted(archive.getnames())


def run(parts: Path, *steps: Step) -> list[StepResult]:
    reports: list[StepResult] = []
    outcomes = step.run(steps, parts, reports.append)
    assert reports == outcomes
    return outcomes


def test_steps_run_in_order_and_a_failure_stops_no_other(tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    def ends(name: str, code: int = 0) -> Step:
        return Step(name, (python(f"open({str(trace)!r}, 'a').write({name!r}); raise SystemExit({code})"),))

    outcomes = run(tmp_path, ends("a"), ends("b", code=3), ends("c"))
    assert trace.read_text() == "abc"
    assert [outcome.status for outcome in outcomes] == ["passed", "failed", "passed"]
    assert "exit code 3" in outcomes[1].message
    assert str(tmp_path / "logs" / "b.log") in outcomes[1].message
    assert [outcome.bad for outcome in outcomes] == [False, True, False]
    steps = (tmp_path / "logs" / "steps.txt").read_text().splitlines()
    assert [line.split()[:2] for line in steps] == [["a", "passed"], ["b", "failed"], ["c", "passed"]]


def test_a_step_runs_all_its_commands_and_logs_their_output(tmp_path: Path) -> None:
    (outcome,) = run(tmp_path, Step("a", (python("print('one'); raise SystemExit(1)"), python("print('two')"))))
    assert outcome.status == "failed"
    log = (tmp_path / "logs" / "a.log").read_text()
    assert log.index("\none\n") < log.index("\ntwo\n")
    assert log.startswith(f"$ {sys.executable} -c print('one')")


def test_a_step_without_its_tools_is_skipped_with_the_reason(tmp_path: Path) -> None:
    (outcome,) = run(tmp_path, Step("a", (python("raise SystemExit(1)"),), why_not=lambda: "there is no such tool"))
    assert (outcome.status, outcome.bad, outcome.message) == ("skipped", False, "there is no such tool")
    assert "there is no such tool" in (tmp_path / "logs" / "a.log").read_text()


def test_a_missing_program_fails_the_step(tmp_path: Path) -> None:
    outcomes = run(tmp_path, Step("a", (("no-such-program",),)), Step("b", (python("pass"),)))
    assert [outcome.status for outcome in outcomes] == ["failed", "passed"]
    assert "no-such-program" in (tmp_path / "logs" / "a.log").read_text()


def test_an_error_in_the_environment_fails_the_step(tmp_path: Path) -> None:
    def environment() -> dict[str, str]:
        raise OSError("no such device")

    outcomes = run(tmp_path, Step("a", (python("pass"),), environment=environment), Step("b", (python("pass"),)))
    assert [outcome.status for outcome in outcomes] == ["failed", "passed"]
    assert "no such device" in outcomes[0].message


def test_a_step_has_its_own_environment_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARED", "yes")
    show = python("import os; print(os.environ.get('SHARED'), os.environ.get('OWN'))")
    run(tmp_path, Step("a", (show,), environment=lambda: {"OWN": "a"}), Step("b", (show,)))
    assert "yes a" in (tmp_path / "logs" / "a.log").read_text()
    assert "yes None" in (tmp_path / "logs" / "b.log").read_text()


def test_a_step_past_its_limit_is_interrupted_with_its_children(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    beat = f"pathlib.Path({str(alive)!r}).touch()"
    grandchild = f"import time, pathlib\nfor _ in range(600):\n    {beat}\n    time.sleep(0.1)"
    parent = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {grandchild!r}])\n"
        "try:\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    print('told what it knew')"
    )
    begin = time.monotonic()
    outcomes = run(tmp_path, Step("a", (python(parent), python("print('never')")), limit_s=4), Step("b", ()))
    assert time.monotonic() - begin < 300, "the step was left to end by itself"
    assert [outcome.status for outcome in outcomes] == ["out of time", "passed"]
    assert outcomes[0].bad
    log = (tmp_path / "logs" / "a.log").read_text()
    assert "told what it knew" in log
    assert "never" not in log
    last = alive.stat().st_mtime_ns
    time.sleep(1)
    assert alive.stat().st_mtime_ns == last, "what the step started is still there"


def test_a_step_that_ignores_the_interrupt_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "_GRACE_S", 0.5)
    stubborn = python("import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)")
    begin = time.monotonic()
    (outcome,) = run(tmp_path, Step("a", (stubborn,), limit_s=1))
    assert outcome.status == "out of time"
    assert time.monotonic() - begin < 300, "the step was left to end by itself"


def make_run(results: Path, name: str) -> Step:
    program = (
        f"import pathlib; run = pathlib.Path({str(results)!r}, 'cuda-test', {name!r}); run.mkdir(parents=True)\n"
        "(run / 'cuda.json').write_text('{}')"
    )
    return Step("bench", (python(program),), makes=results)


def test_the_archive_unpacks_into_results(tmp_path: Path) -> None:
    results, parts = tmp_path / "results", tmp_path / "parts"
    (results / "cuda-test" / "old-full").mkdir(parents=True)
    run(parts, Step("test", (python("print('tested')"),)), make_run(results, "r1-full"))
    file = gpu.archive(parts, tmp_path / "out")
    assert file.name == "cuda-test-r1-full.tar.gz"
    names = ("cuda.json", "logs/bench.log", "logs/steps.txt", "logs/test.log")
    assert members(file) == [f"cuda-test/r1-full/{name}" for name in names]


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    results, parts = tmp_path / "results", tmp_path / "parts"
    run(parts, make_run(results, "r1-full"))
    run(parts, make_run(results, "r2-full"))
    assert gpu.archive(parts, tmp_path / "out").name == "cuda-test-r2-full.tar.gz"


def test_logs_are_packed_without_results(tmp_path: Path) -> None:
    run(tmp_path / "parts", Step("build", (python("raise SystemExit(1)"),)))
    file = gpu.archive(tmp_path / "parts", tmp_path / "out")
    assert "without-results" in file.name
    assert [Path(name).name for name in members(file)] == ["build.log", "steps.txt"]


def test_nothing_to_pack_raises_an_error(tmp_path: Path) -> None:
    """Also if the command has made the folder of logs, for no step."""
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="There is nothing to pack"):
            gpu.archive(tmp_path / "parts", tmp_path / "out")
        assert step.run((), tmp_path / "parts", lambda _: None) == []


_REFUSAL = "echo '========= COMPUTE-SANITIZER'; echo '========= Error: Device not supported.'; exit 1"


@pytest.mark.parametrize(
    ("program", "message"), [("exit 0", None), (_REFUSAL, "Device not supp"), ("echo unheard-of; exit 3", "unheard-of")]
)
def test_why_no_sanitizer_reports_a_refusal_of_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, message: str | None
) -> None:
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(f"#!/bin/sh\n{program}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    reason = gpu.why_no_sanitizer(sys.executable)
    assert reason is None if message is None else message in str(reason)


def test_why_no_sanitizer_reports_a_missing_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "is not installed" in str(gpu.why_no_sanitizer(sys.executable))


SANITIZER_STEPS = [
    f"{tool}{backend}"
    for tool in ("memcheck", "racecheck", "initcheck", "synccheck")
    for backend in ("", "-deterministic")
]


def test_the_real_steps_are_known_and_end_within_ten_minutes(tmp_path: Path) -> None:
    """Each process has its own limit: a hanging one takes no time from the next."""
    steps = {each.name: each for each in gpu.steps(tmp_path, COMPLETE)}
    tests = ["test", "test-deterministic", "test-meta"]
    assert list(steps) == ["build", "smoke", *tests, *SANITIZER_STEPS, "bench"]
    assert all(len(each.commands) == 1 for each in steps.values())
    assert all(each.limit_s + step._GRACE_S < 600 for each in steps.values())
    assert steps["smoke"].limit_s == 30
    # If two commands wrote one JUnit file, only the second would remain.
    junit = [word for each in steps.values() for word in each.commands[0] if "junitxml" in word]
    assert len(junit) == len(set(junit)) == 3 + 8
    # Nothing is installed or downloaded.
    assert not any("pip" in word for each in steps.values() for word in each.commands[0])
    assert gpu.names_of("sanitize", steps) == SANITIZER_STEPS
    assert gpu.names_of("memcheck", steps) == ["memcheck"]


def test_every_sanitizer_tool_runs_both_gradients(tmp_path: Path) -> None:
    for each in gpu.steps(tmp_path, COMPLETE):
        if each.name in SANITIZER_STEPS:
            (command,) = each.commands
            assert command[command.index("--tool") + 1] == each.name.partition("-")[0]
            assert command[command.index("--backend") + 1].endswith("_deterministic") == ("-" in each.name)
            assert each.environment()["PYTORCH_NO_CUDA_MEMORY_CACHING"] == "1"


def test_the_steps_are_targets_of_the_makefile(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """And run the code of `make gpu`, which needs only the standard library."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    names = [*(each.name for each in gpu.steps(tmp_path, COMPLETE)), "sanitize", "archive"]
    for target in ("gpu", *(f"gpu-{name}" for name in names)):
        command = ["make", "--no-print-directory", "--dry-run", target, "GPU_PYTHON=its-python"]
        process = subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, text=True, check=True)
        assert process.stdout.strip() == f"its-python -m harness.machines {target[4:]}".strip()


def test_the_package_is_used_from_the_checkout(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    run(tmp_path, Step("a", (python("import os; print(os.environ['PYTHONPATH'])"),)))
    log = (tmp_path / "logs" / "a.log").read_text().splitlines()[-1]
    assert log.split(os.pathsep)[0] == str(pytestconfig.rootpath / "impl")


def test_the_sanitizers_selection_has_tests(pytestconfig: pytest.Config) -> None:
    """An empty selection would pass on every machine."""
    first = "suites/correctness/shared/test_properties.py"
    steps = [each for each in gpu.steps(Path("unused"), COMPLETE) if each.name in SANITIZER_STEPS]
    selections = {command[command.index(first) : -3] for each in steps for command in each.commands}
    assert len(selections) == 2
    for selection in selections:
        assert "-k" in selection
        process = programs.python("-m", "pytest", *selection, "--collect-only", "-q", cwd=pytestconfig.rootpath)
        assert process.returncode == 0, process.stdout
        tests = [line for line in process.stdout.splitlines() if "::" in line]
        assert any("within_bound" in test and "grad_image" in test for test in tests)
        assert any("every_layout" in test for test in tests)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`python -m harness gpu` with a step that passes, one that fails, and one that stores a run."""
    small = (
        Step("build", (python("print('built')"),)),
        Step("test", (python("raise SystemExit(1)"),)),
        make_run(tmp_path / "results", "r1-full"),
    )
    monkeypatch.setattr(preflight, "look", lambda: COMPLETE)
    monkeypatch.setattr(gpu, "steps", lambda logs, lacks: small)
    monkeypatch.setattr(gpu, "FOLDER", tmp_path / "gpu")
    return lambda *names: CliRunner().invoke(app, ["gpu", *names])


def test_the_command_runs_and_packs_every_step_and_fails_with_one(command: Command, tmp_path: Path) -> None:
    result = command()
    assert result.exit_code == 1
    steps = [line.split()[:2] for line in result.output.splitlines()[:3]]
    assert steps == [["build", "passed"], ["test", "failed"], ["bench", "passed"]]
    assert "cuda-test/r1-full/cuda.json" in members(tmp_path / "gpu" / "cuda-test-r1-full.tar.gz")


def test_steps_run_one_by_one_can_be_archived(command: Command, tmp_path: Path) -> None:
    assert command("bench").exit_code == 0
    assert command("build").exit_code == 0
    result = command("archive")
    assert result.exit_code == 0
    assert "cuda-test-r1-full.tar.gz" in result.output
    names = {"cuda-test/r1-full/cuda.json", "cuda-test/r1-full/logs/build.log"}
    assert names <= set(members(tmp_path / "gpu" / "cuda-test-r1-full.tar.gz"))


def test_an_unknown_step_exits_with_a_message(command: Command) -> None:
    result = command("biuld")
    assert result.exit_code == 2
    assert (
        "There is no step 'biuld'; there are build, test, bench, sanitize for all of its, and archive." in result.output
    )


def test_missing_tools_are_listed_first_and_fail_the_run(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other steps still run."""
    monkeypatch.setattr(preflight, "look", lambda: Lacks({"pandas": "The Python module pandas is missing."}, "Get it."))
    result = command("build")
    assert result.exit_code == 1
    assert result.output.splitlines()[:2] == ["preflight: The Python module pandas is missing.", "preflight: Get it."]
    assert result.output.splitlines()[2].split()[:2] == ["build", "passed"]


def test_without_a_gpu_no_step_runs(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    lacks = Lacks({preflight.GPU: "torch finds no GPU.", preflight.NVCC: "There is no nvcc here."})
    monkeypatch.setattr(preflight, "look", lambda: lacks)
    result = command()
    assert result.exit_code == 2
    assert result.output.splitlines() == [
        "preflight: torch finds no GPU.",
        "preflight: There is no nvcc here.",
        "Nothing was done: every step needs a GPU that torch can use.",
    ]
