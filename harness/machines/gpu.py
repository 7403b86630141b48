"""`make gpu`: all that needs a GPU, step by step, on a machine that may have little else and is lent for minutes.

A step is some child processes with one limit of time and one log. One that fails keeps none of the others from running
and is told by name and by the exit code. What the steps leave, logs, JUnit files and results, is packed into an archive
that unpacks into results/ of any checkout. Nothing is fetched: the machine's own Python, torch and compiler are used.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from harness.repository import RESULTS, ROOT, stamp

FOLDER = ROOT / "build" / "gpu"
# Below the ten minutes after which a lent machine's call is ended, whatever it is doing.
LIMIT_S = 540.0
# How long a process that was interrupted has to write what it knows.
_GRACE_S = 20.0
# How long a question to the machine may take before it counts as refused.
_PROBE_S = 120.0
_SANITIZER = "compute-sanitizer"
_FOUND = 86  # the exit code that it is told to give when it found something
_BAD = ("failed", "out of time")


@dataclass(frozen=True)
class Step:
    """One thing to do on the GPU machine.

    commands     child processes, one after another; all of them run, and all must pass.
    environment  what they have in their environment beside what is there, asked for when the step's turn has come.
    why_not      why the step is skipped, or None if it is not, likewise.
    makes        a folder of results: what it has as DEVICE/RUN afterwards and had not before is kept for the archive.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    limit_s: float = LIMIT_S
    environment: Callable[[], dict[str, str]] = field(default=dict)
    why_not: Callable[[], str | None] = lambda: None
    makes: Path | None = None


@dataclass(frozen=True)
class StepResult:
    """The end of a step: "passed", "failed", "skipped" or "out of time", and a sentence where it did not pass."""

    step: str
    status: str
    seconds: float = 0.0
    message: str = ""

    @property
    def bad(self) -> bool:
        return self.status in _BAD

    def __str__(self) -> str:
        return f"{self.step:10}{self.status:12}{self.seconds:5.0f} s  {self.message}".rstrip()


def bad_steps(outcomes: str) -> list[str]:
    """The steps that did not pass when they were done last, by the text of logs/steps.txt: a line an outcome."""
    last = {line[:10].rstrip(): line[10:22].rstrip() for line in outcomes.splitlines()}
    return [step for step, status in last.items() if status in _BAD]


def steps(logs: Path, python: str = sys.executable) -> tuple[Step, ...]:
    """What `make gpu` does before it packs the archive."""

    def pytest(name: str, *arguments: str) -> tuple[str, ...]:
        return (python, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={logs / name}.xml", *arguments)

    def sanitized(tool: str, backend: str, tests: str) -> tuple[str, ...]:
        # Only this project's kernels are watched: torch's own are many, and not ours to mend.
        return (
            *(_SANITIZER, "--tool", tool, "--error-exitcode", str(_FOUND), "--report-api-errors", "no"),
            *("--kernel-name", "kernel_substring=roi_align"),
            *pytest(f"sanitize-{tool}-{backend}", "suites/correctness/shared/test_properties.py"),
            *("-k", tests, "--backend", backend, "-q"),
        )

    verbose = ("-rs", "--durations=25")
    every, gathered = "within_bound or every_layout", "grad_image and (within_bound or every_layout)"
    pip = (python, "-m", "pip", "install", "-v", "--no-index", "--no-build-isolation", "--no-deps", "--editable", ".")
    return (
        Step("build", (pip,), environment=lambda: {"ROI_ALIGN_CUDA": "1", **_own_architecture(python)}),
        Step(
            "test",
            # All of suites/, in the order of what only a GPU can say: the harness's own tests have run elsewhere.
            (
                pytest("test", "suites/correctness", "suites/performance", "--backend", "roi_align_cuda", *verbose),
                pytest(
                    "test-deterministic", "suites/correctness", "--backend", "roi_align_cuda_deterministic", *verbose
                ),
                pytest("test-meta", "suites/meta", "--backend", "roi_align_cuda", *verbose),
            ),
            environment=lambda: {"BENCH_DEVICE": "cuda"},
        ),
        Step(
            "sanitize",
            tuple(
                sanitized(tool, backend, tests)
                for backend, tests in (("roi_align_cuda", every), ("roi_align_cuda_deterministic", gathered))
                for tool in ("memcheck", "racecheck")
            ),
            # Torch's cache hands out parts of large blocks: an access past the end of one would not be seen.
            environment=lambda: {"HYPOTHESIS_PROFILE": "sanitize", "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
            why_not=lambda: why_no_sanitizer(python),
        ),
        Step("bench", ((python, "-m", "harness", "bench", "--device", "cuda"),), makes=RESULTS),
    )


def _own_architecture(python: str) -> dict[str, str]:
    """What makes the build compile for this machine's GPU alone: for all that the package supports it takes minutes."""
    program = "import torch; print('{}.{}'.format(*torch.cuda.get_device_capability()))"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False, timeout=_PROBE_S)
    return {"TORCH_CUDA_ARCH_LIST": done.stdout.strip()} if done.returncode == 0 else {}


def why_no_sanitizer(python: str) -> str | None:
    """Why compute-sanitizer cannot be used here, or None if it can: it refuses some virtual machines."""
    if shutil.which(_SANITIZER) is None:
        return f"{_SANITIZER} is not installed; it comes with the CUDA toolkit."
    program = "import torch; torch.ones(1, device='cuda').sum().item()"
    try:
        done = subprocess.run(
            [_SANITIZER, "--report-api-errors", "no", python, "-c", program], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=_PROBE_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{_SANITIZER} had not watched a sum of torch's to its end after {_PROBE_S:.0f} seconds."
    if done.returncode == 0:
        return None
    lines = [line.strip("= ") for line in done.stdout.splitlines() if line.startswith("=========") and line.strip("= ")]
    return f"{_SANITIZER} cannot watch a sum of torch's here; it says: {'; '.join(lines[1:4]) or done.stdout[-200:]}"


def run(chosen: tuple[Step, ...], parts: Path, tell: Callable[[StepResult], None]) -> list[StepResult]:
    """Does the steps in their order, all of them; `tell` hears of each outcome."""
    logs = parts / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for step in chosen:
        before = _runs(step.makes)
        try:
            outcome = _do(step, logs / f"{step.name}.log")
        except (OSError, subprocess.SubprocessError) as error:
            outcome = StepResult(step.name, "failed", message=f"{type(error).__name__}: {error}")
        if step.makes is not None:
            _keep(step.makes, _runs(step.makes) - before, parts / "runs")
        with (logs / "steps.txt").open("a", encoding="utf-8") as file:
            file.write(f"{outcome}\n")
        tell(outcome)
        outcomes.append(outcome)
    return outcomes


def _do(step: Step, log: Path) -> StepResult:
    """One step, from its start to its end or its limit."""
    reason = step.why_not()
    if reason is not None:
        log.write_text(f"skipped: {reason}\n", encoding="utf-8")
        return StepResult(step.name, "skipped", message=reason)
    begin = time.monotonic()
    environment = {**os.environ, **step.environment()}
    failed = []
    with log.open("wb") as output:
        for command in step.commands:
            output.write(f"$ {' '.join(command)}\n".encode())
            output.flush()
            code = _child(command, environment, output, begin + step.limit_s - time.monotonic())
            if code is None:
                message = f"It was stopped after its {step.limit_s:.0f} seconds; {log} ends with what it did last."
                return StepResult(step.name, "out of time", time.monotonic() - begin, message)
            if code:
                failed.append(f"exit code {code} of: {' '.join(command)}")
    seconds = time.monotonic() - begin
    if failed:
        return StepResult(step.name, "failed", seconds, f"{'; '.join(failed)}. Its log is {log}.")
    return StepResult(step.name, "passed", seconds)


def _child(command: tuple[str, ...], environment: dict[str, str], output: IO[bytes], seconds: float) -> int | None:
    """A process's exit code, None if it was stopped after these seconds, with all processes that it started."""
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
    """Interrupts a process and its own; those that do not end are ended."""
    for how, seconds in ((signal.SIGINT, _GRACE_S), (signal.SIGKILL, None)):
        os.killpg(child.pid, how)
        try:
            child.wait(seconds)
            return
        except subprocess.TimeoutExpired:
            continue


def _runs(results: Path | None) -> set[Path]:
    """The runs in a folder of results, as DEVICE/RUN."""
    if results is None:
        return set()
    return {path.relative_to(results) for path in results.glob("*/*") if path.is_dir()}


def _keep(results: Path, made: set[Path], runs: Path) -> None:
    """Copies of these runs, in the place of those that were kept before."""
    shutil.rmtree(runs, ignore_errors=True)
    for run_folder in made:
        shutil.copytree(results / run_folder, runs / run_folder)


def archive(parts: Path, folder: Path) -> Path:
    """Packs what the steps left: the kept run with the logs beside it, as it is to lie in results/.

    FileNotFoundError if no step has left anything.
    """
    if not (parts / "logs").is_dir():
        raise FileNotFoundError(f"There is nothing to pack under {parts}; `make gpu` does all steps, and packs.")
    kept = sorted(_runs(parts / "runs"))
    now = stamp()
    place = kept[-1] if kept else Path("cuda", f"{now}-without-results")
    target = folder / f"{'-'.join(place.parts)}.tar.gz"
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w:gz") as packed:
        for source, inside in ((parts / "runs" / place, place), (parts / "logs", place / "logs")):
            for path in sorted(source.glob("*")):
                packed.add(path, str(inside / path.name))
    return target
