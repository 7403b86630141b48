"""`make gpu`: all that needs a GPU, step by step, on a machine that may have little else and is lent for minutes.

A step is a child process, or some, with one limit of time and one log. One that fails keeps none of the others from
running and is told by name and by the exit code; one that the machine has not the means for is skipped with the reason
(preflight.py). What the steps leave, logs, JUnit files and results, is packed into an archive that unpacks into the
results/ of any checkout. Nothing is fetched or installed: the machine's own Python, torch and compiler are used, and
the standard library runs them.
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
# How long a question to the machine may take before it counts as refused.
_PROBE_S = 120.0
# A GPU that cannot add two numbers up is known before anything long begins.
SMOKE_S = 30.0
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
_FOUND = 86  # the exit code that it is told to give when it found something


def steps(logs: Path, lacks: Lacks, python: str = sys.executable) -> tuple[Step, ...]:
    """What `make gpu` does before it packs the archive, but for what the machine lacks. Each has a limit of its own."""

    def step(name: str, needs: Iterable[str], *command: str, **options: Any) -> Step:
        return Step(name, ((python, *command),), why_not=lambda: lacks.of(needs), **options)

    def pytest(name: str, *arguments: str, **options: Any) -> Step:
        junit = f"--junitxml={logs / name}.xml"
        return step(name, (GPU, *TEST), "-m", "pytest", "-p", "no:cacheprovider", junit, *arguments, **options)

    def sanitized(tool: str, backend: str, tests: str) -> Step:
        name = f"{tool}{backend.removeprefix('roi_align_cuda').replace('_', '-')}"
        watched = pytest(name, "suites/correctness/shared/test_properties.py", "-k", tests, "--backend", backend, "-q")
        # Only this project's kernels are watched: torch's own are many, and not ours to mend.
        tool_itself = (
            *(find(SANITIZER) or SANITIZER, "--tool", tool, "--error-exitcode", str(_FOUND)),
            *("--report-api-errors", "no", "--kernel-name", "kernel_substring=roi_align"),
        )
        return replace(
            watched,
            commands=tuple((*tool_itself, *command) for command in watched.commands),
            # Torch's cache hands out parts of large blocks: an access past the end of one would not be seen.
            environment=lambda: {"HYPOTHESIS_PROFILE": "sanitize", "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
            why_not=lambda: lacks.of((SANITIZER,)) or watched.why_not() or refused(),
        )

    verbose = ("-rs", "--durations=25")
    every, gathered = "within_bound or every_layout", "grad_image and (within_bound or every_layout)"
    refused = functools.cache(lambda: why_no_sanitizer(python))
    on_gpu = {"environment": lambda: {"BENCH_DEVICE": "cuda"}}
    ours, ordered = ("--backend", "roi_align_cuda"), ("--backend", "roi_align_cuda_deterministic")
    return (
        # Nothing is installed: a Python that its distribution manages lets nobody do so.
        step(
            "build", (GPU, NVCC, COMPILER, *BUILD), "setup.py", "egg_info", "build_ext", "--inplace",
            environment=lambda: {"ROI_ALIGN_CUDA": "1", **_toolkit(), **_own_architecture(python)},
        ),
        step("smoke", (GPU, *TEST), "-m", "harness.machines.smoke", limit_s=SMOKE_S),
        # All of suites/, in the order of what only a GPU can say: the harness's own tests have run elsewhere.
        pytest("test", "suites/correctness", "suites/performance", *ours, *verbose, **on_gpu),
        pytest("test-deterministic", "suites/correctness", *ordered, *verbose, **on_gpu),
        pytest("test-meta", "suites/meta", *ours, *verbose, **on_gpu),
        *(
            sanitized(tool, backend, tests)
            for tool in SANITIZERS
            for backend, tests in ((ours[1], every), (ordered[1], gathered))
        ),
        step("bench", (GPU, *BENCH), "-m", "harness", "bench", "--device", "cuda", makes=RESULTS),
    )  # fmt: skip


def names_of(name: str, of: Iterable[str]) -> list[str]:
    """The steps that a name stands for: itself, or for "sanitize" all that compute-sanitizer does."""
    if name == "sanitize":
        return [each for each in of if each.partition("-")[0] in SANITIZERS]
    return [each for each in of if each == name]


def main(names: Sequence[str], say: Callable[[str], None]) -> int:
    """The steps of these names, or all of them and the archive; the exit code: 1 if one failed, 2 if none can be done.

    say: prints one sentence.
    """
    parts = FOLDER / "parts"
    lacks = preflight.look()
    by_name = {step.name: step for step in steps(parts / "logs", lacks)}
    chosen = [each for name in names for each in names_of(name, by_name)]
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
        tuple(by_name[name] for name in chosen or ([] if names else by_name)), parts, lambda one: say(str(one))
    )
    if not names or "archive" in names:
        try:
            say(f"archive   {archive(parts, FOLDER)}")
        except FileNotFoundError as nothing:
            say(str(nothing))
            return 2
    return int(lacks.bad or any(outcome.bad for outcome in outcomes))


def _toolkit() -> dict[str, str]:
    """What makes setup.py find an nvcc that is not in PATH."""
    compiler = find("nvcc")
    return {} if compiler is None or shutil.which("nvcc") else {"CUDA_HOME": str(Path(compiler).parents[1])}


def _own_architecture(python: str) -> dict[str, str]:
    """What makes the build compile for this machine's GPU alone: for all that the package supports it takes minutes."""
    program = "import torch; print('{}.{}'.format(*torch.cuda.get_device_capability()))"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False, timeout=_PROBE_S)
    return {"TORCH_CUDA_ARCH_LIST": done.stdout.strip()} if done.returncode == 0 else {}


def why_no_sanitizer(python: str) -> str | None:
    """Why compute-sanitizer cannot be used here, or None if it can: it refuses some virtual machines."""
    tool = find(SANITIZER)
    if tool is None:
        return f"{SANITIZER} is not installed; it comes with the CUDA toolkit."
    program = "import torch; torch.ones(1, device='cuda').sum().item()"
    try:
        done = subprocess.run(
            [tool, "--report-api-errors", "no", python, "-c", program], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=_PROBE_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"{SANITIZER} had not watched a sum of torch's to its end after {_PROBE_S:.0f} seconds."
    if done.returncode == 0:
        return None
    lines = [line.strip("= ") for line in done.stdout.splitlines() if line.startswith("=========") and line.strip("= ")]
    return f"{SANITIZER} cannot watch a sum of torch's here; it says: {'; '.join(lines[1:4]) or done.stdout[-200:]}"


def archive(parts: Path, folder: Path) -> Path:
    """Packs what the steps left: the kept run with the logs beside it, as it is to lie in results/.

    FileNotFoundError if no step has left anything.
    """
    if not (parts / "logs").is_dir():
        raise FileNotFoundError(f"There is nothing to pack under {parts}; `make gpu` does all steps, and packs.")
    kept = sorted(runs_in(parts / "runs"))
    now = stamp()
    place = kept[-1] if kept else Path("cuda", f"{now}-without-results")
    target = folder / f"{'-'.join(place.parts)}.tar.gz"
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w:gz") as packed:
        for source, inside in ((parts / "runs" / place, place), (parts / "logs", place / "logs")):
            for path in sorted(source.glob("*")):
                packed.add(path, str(inside / path.name))
    return target
