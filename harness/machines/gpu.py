"""`make gpu`: everything that needs a GPU, in steps, on a machine that may be bare and available for minutes only.

A step is one or more child processes with a common time limit and log. A failed step does not stop the others; it is
reported by name and in the exit code. A step whose requirements are missing is skipped with the reason (preflight.py).
The logs, JUnit files and results of the steps are packed into an archive that unpacks into the results/ of any
checkout. Nothing is downloaded or installed: the machine's own Python, torch and compiler do the work, driven by the
standard library.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.machines import preflight
from harness.machines.preflight import BENCH, BUILD, COMPILER, GPU, NVCC, SANITIZER, TEST, Lacks, find
from harness.machines.step import Step, run, runs_in
from harness.repository import RESULTS, ROOT, stamp

FOLDER = ROOT / "build" / "gpu"
# The time limit of a probe of the machine.
_PROBE_S = 120.0
# A broken GPU is detected before any long step starts.
SMOKE_S = 30.0
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
_FINDING_EXIT = 86  # the exit code requested from the sanitizer for findings


def steps(logs: Path, lacks: Lacks, python: str = sys.executable) -> tuple[Step, ...]:
    """The steps of `make gpu` before the archive is packed, each with a time limit of its own."""

    def step(name: str, needs: Iterable[str], *command: str, **options: Any) -> Step:
        return Step(name, ((python, *command),), why_not=lambda: lacks.of(needs), **options)

    def pytest(name: str, *arguments: str, **options: Any) -> Step:
        junit = f"--junitxml={logs / name}.xml"
        return step(name, (GPU, *TEST), "-m", "pytest", "-p", "no:cacheprovider", junit, *arguments, **options)

    def sanitizer_step(tool: str, backend: str, tests: str) -> Step:
        name = f"{tool}{backend.removeprefix('roi_align_cuda').replace('_', '-')}"
        test_step = pytest(
            name, "suites/correctness/shared/test_properties.py", "-k", tests, "--backend", backend, "-q"
        )
        # Only this project's kernels are checked: torch's kernels are many, and not ours to fix.
        tool_itself = (
            *(find(SANITIZER) or SANITIZER, "--tool", tool, "--error-exitcode", str(_FINDING_EXIT)),
            *("--report-api-errors", "no", "--kernel-name", "kernel_substring=roi_align"),
        )
        return replace(
            test_step,
            commands=tuple((*tool_itself, *command) for command in test_step.commands),
            # Torch's cache allocates from large blocks, which would hide an access past the end of a tensor.
            environment=lambda: {"HYPOTHESIS_PROFILE": "sanitize", "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
            why_not=lambda: lacks.of((SANITIZER,)) or test_step.why_not() or why_refused(),
        )

    verbose = ("-rs", "--durations=25")
    every, gather_tests = "within_bound or every_layout", "grad_image and (within_bound or every_layout)"
    why_refused = functools.cache(lambda: why_no_sanitizer(python))
    on_gpu = {"environment": lambda: {"BENCH_DEVICE": "cuda"}}
    ours, deterministic = ("--backend", "roi_align_cuda"), ("--backend", "roi_align_cuda_deterministic")
    return (
        # Builds in place, because a Python managed by its distribution refuses installations.
        step(
            "build", (GPU, NVCC, COMPILER, *BUILD), "setup.py", "egg_info", "build_ext", "--inplace",
            environment=lambda: {"ROI_ALIGN_CUDA": "1", **_toolkit(), **_own_architecture(python)},
        ),
        step("smoke", (GPU, *TEST), "-m", "harness.machines.smoke", limit_s=SMOKE_S),
        # All of suites/, those that need a GPU most first: the harness's own tests have run elsewhere.
        pytest("test", "suites/correctness", "suites/performance", *ours, *verbose, **on_gpu),
        pytest("test-deterministic", "suites/correctness", *deterministic, *verbose, **on_gpu),
        pytest("test-meta", "suites/meta", *ours, *verbose, **on_gpu),
        *(
            sanitizer_step(tool, backend, tests)
            for tool in SANITIZERS
            for backend, tests in ((ours[1], every), (deterministic[1], gather_tests))
        ),
        step("bench", (GPU, *BENCH), "-m", "harness", "bench", "--device", "cuda", makes=RESULTS),
    )  # fmt: skip


def names_of(name: str, of: Iterable[str]) -> list[str]:
    """The steps of a name: the step itself, or for "sanitize" all steps of compute-sanitizer."""
    if name == "sanitize":
        return [each for each in of if each.partition("-")[0] in SANITIZERS]
    return [each for each in of if each == name]


def main(names: Sequence[str], say: Callable[[str], None]) -> int:
    """Runs the steps of these names, or all steps and the archive. Returns the exit code: 1 if one failed, 2 if none
    can run.

    say: prints one sentence.
    """
    parts = FOLDER / "parts"
    lacks = preflight.look()
    by_name = {step.name: step for step in steps(parts / "logs", lacks)}
    selection = [each for name in names for each in names_of(name, by_name)]
    unknown = [name for name in names if name != "archive" and not names_of(name, by_name)]
    if unknown:
        say(f"There is no step {unknown[0]!r}; there are {', '.join(by_name)}, sanitize for all of its, and archive.")
        return 2
    preflight.tell(lacks, say)
    if {GPU, "torch"} & set(lacks.sentences):
        say("Nothing was done: every step needs a GPU that torch can use.")
        return 2
    if not names:
        shutil.rmtree(parts, ignore_errors=True)
    outcomes = run(
        tuple(by_name[name] for name in selection or ([] if names else by_name)), parts, lambda one: say(str(one))
    )
    if not names or "archive" in names:
        try:
            say(f"archive   {archive(parts, FOLDER)}")
        except FileNotFoundError as nothing:
            say(str(nothing))
            return 2
    return int(lacks.bad or any(outcome.bad for outcome in outcomes))


def _toolkit() -> dict[str, str]:
    """Environment variables that make setup.py find an nvcc outside PATH."""
    compiler = find("nvcc")
    return {} if compiler is None or shutil.which("nvcc") else {"CUDA_HOME": str(Path(compiler).parents[1])}


def _own_architecture(python: str) -> dict[str, str]:
    """Environment variables that limit the build to this machine's GPU; building for all architectures takes
    minutes."""
    program = "import torch; print('{}.{}'.format(*torch.cuda.get_device_capability()))"
    process = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False, timeout=_PROBE_S)
    return {"TORCH_CUDA_ARCH_LIST": process.stdout.strip()} if process.returncode == 0 else {}


def why_no_sanitizer(python: str) -> str | None:
    """The reason why compute-sanitizer cannot be used here, or None; it refuses some virtual machines."""
    tool = find(SANITIZER)
    if tool is None:
        return f"{SANITIZER} is not installed; it comes with the CUDA toolkit."
    program = "import torch; torch.ones(1, device='cuda').sum().item()"
    try:
        process = subprocess.run(
            [tool, "--report-api-errors", "no", python, "-c", program], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=_PROBE_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{SANITIZER} had not finished checking a sum in torch after {_PROBE_S:.0f} seconds."
    if process.returncode == 0:
        return None
    lines = [
        line.strip("= ") for line in process.stdout.splitlines() if line.startswith("=========") and line.strip("= ")
    ]
    return f"{SANITIZER} cannot watch a sum of torch's here; it says: {'; '.join(lines[1:4]) or process.stdout[-200:]}"


def archive(parts: Path, folder: Path) -> Path:
    """Packs the output of the steps: the latest run and the logs, with the paths they have in results/.

    FileNotFoundError if no step has any output.
    """
    if not any((parts / "logs").glob("*")):
        raise FileNotFoundError(f"There is nothing to pack under {parts}; `make gpu` does all steps, and packs.")
    runs = sorted(runs_in(parts / "runs"))
    now = stamp()
    place = runs[-1] if runs else Path("cuda", f"{now}-without-results")
    target = folder / f"{'-'.join(place.parts)}.tar.gz"
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w:gz") as tar:
        for source, inside in ((parts / "runs" / place, place), (parts / "logs", place / "logs")):
            for path in sorted(source.glob("*")):
                tar.add(path, str(inside / path.name))
    return target
