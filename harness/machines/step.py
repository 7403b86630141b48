"""Steps on a GPU machine: child processes with a common time limit and log, one after the other."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from harness.repository import ROOT

# Below ten minutes, a common limit for one command on a borrowed machine.
LIMIT_S = 540.0
# The time for an interrupted process to write its results.
_GRACE_S = 20.0
_BAD = ("failed", "out of time")


@dataclass(frozen=True)
class Step:
    """One step on the GPU machine.

    commands     child processes, one after another; all of them run, and all must pass.
    environment  additional environment variables, evaluated when the step starts.
    why_not      the reason to skip the step, or None; evaluated when the step starts.
    makes        a folder of results; new DEVICE/RUN folders in it are copied for the archive.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    limit_s: float = LIMIT_S
    environment: Callable[[], dict[str, str]] = field(default=dict)
    why_not: Callable[[], str | None] = lambda: None
    makes: Path | None = None


@dataclass(frozen=True)
class StepResult:
    """The result of a step: "passed", "failed", "skipped" or "out of time", and a sentence unless it passed."""

    step: str
    status: str
    seconds: float = 0.0
    message: str = ""

    @property
    def bad(self) -> bool:
        return self.status in _BAD

    def __str__(self) -> str:
        return f"{self.step:24}{self.status:12}{self.seconds:5.0f} s  {self.message}".rstrip()


def bad_steps(outcomes: str) -> list[str]:
    """The steps that did not pass in their latest run, from the text of logs/steps.txt, one outcome per line."""
    last = {line[:24].rstrip(): line[24:36].rstrip() for line in outcomes.splitlines()}
    return [step for step, status in last.items() if status in _BAD]


def run(steps: tuple[Step, ...], parts: Path, tell: Callable[[StepResult], None]) -> list[StepResult]:
    """Runs all steps in order; calls `tell` with each outcome."""
    logs = parts / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for step in steps:
        before = runs_in(step.makes)
        try:
            outcome = _do(step, logs / f"{step.name}.log")
        except (OSError, subprocess.SubprocessError) as error:
            outcome = StepResult(step.name, "failed", message=f"{type(error).__name__}: {error}")
        if step.makes is not None:
            _keep(step.makes, runs_in(step.makes) - before, parts / "runs")
        with (logs / "steps.txt").open("a", encoding="utf-8") as file:
            file.write(f"{outcome}\n")
        tell(outcome)
        outcomes.append(outcome)
    return outcomes


def _do(step: Step, log: Path) -> StepResult:
    """Runs one step to its end or its time limit."""
    reason = step.why_not()
    if reason is not None:
        log.write_text(f"skipped: {reason}\n", encoding="utf-8")
        return StepResult(step.name, "skipped", message=reason)
    begin = time.monotonic()
    # The package is imported from the checkout, where it was built.
    python_path = os.pathsep.join(filter(None, [str(ROOT / "impl"), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": python_path, **step.environment()}
    failures = []
    with log.open("wb") as output:
        for command in step.commands:
            output.write(f"$ {' '.join(command)}\n".encode())
            output.flush()
            code = _child(command, environment, output, begin + step.limit_s - time.monotonic())
            if code is None:
                message = f"It was stopped after its {step.limit_s:.0f} seconds; {log} ends with what it did last."
                return StepResult(step.name, "out of time", time.monotonic() - begin, message)
            if code:
                failures.append(f"exit code {code} of: {' '.join(command)}")
    seconds = time.monotonic() - begin
    if failures:
        return StepResult(step.name, "failed", seconds, f"{'; '.join(failures)}. Its log is {log}.")
    return StepResult(step.name, "passed", seconds)


def _child(command: tuple[str, ...], environment: dict[str, str], output: IO[bytes], seconds: float) -> int | None:
    """A process's exit code, or None if it was stopped at the time limit, together with all its children."""
    try:
        child = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        output.write(f"{error}\n".encode())
        return 127
    try:
        return child.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        return None
    finally:
        if child.poll() is None:
            _stop(child)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Interrupts a process and its children; kills them if they do not end."""
    for signal_number, seconds in ((signal.SIGINT, _GRACE_S), (signal.SIGKILL, None)):
        os.killpg(child.pid, signal_number)
        try:
            child.wait(seconds)
            return
        except subprocess.TimeoutExpired:
            continue


def runs_in(results: Path | None) -> set[Path]:
    """The runs in a folder of results, as DEVICE/RUN."""
    if results is None:
        return set()
    return {path.relative_to(results) for path in results.glob("*/*") if path.is_dir()}


def _keep(results: Path, new: set[Path], runs: Path) -> None:
    """Copies these runs, replacing earlier copies."""
    shutil.rmtree(runs, ignore_errors=True)
    for run_folder in new:
        shutil.copytree(results / run_folder, runs / run_folder)
