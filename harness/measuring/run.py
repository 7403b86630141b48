"""One run of the benchmarks: fresh pytest processes for each operator and allocator, whole JSON files or none.

Samples of one process share its memory layout and its minute of the machine, so a run may have many processes of each
kind; they take turns, each with a block of its own. The C library reads its allocator's settings when a process starts,
so the CPU's two columns need processes of their own; CUDA has one allocator. Each process writes to a folder under
build/; only what is complete is moved to where results live, so that an interrupted run leaves nothing behind that a
report would trip over.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.measuring import cpu as machine
from harness.measuring.columns import kind
from harness.measuring.progress import DESCRIPTOR
from harness.measuring.workloads import WORKLOADS
from harness.repository import ROOT

FULL_RESULTS = ROOT / "results"
# A quick run says that the way works; what is committed under results/ stays what a longer one measured.
QUICK_RESULTS = ROOT / "build" / "quick-results"


@dataclass(frozen=True)
class Process:
    """One pytest process: its file of results has its name.

    bench        the benchmarks that it runs: suites/performance/bench_BENCH.py.
    environment  what it has in its environment beside what is there.
    """

    name: str
    bench: str
    environment: dict[str, str]

    def file(self, replicate: int) -> str:
        """What its file is called in one of the run's turns."""
        return f"{self.name}.json" if replicate == 0 else f"{self.name}-{replicate + 1}.json"


# For each device its processes. Who lends a GPU wants it back: what has not had its turn after this many seconds gets
# no time, and the row says why.
PROCESSES: dict[str, tuple[Process, ...]] = {
    "cpu": (
        Process("default", "crop_and_resize", {}),
        Process("tuned", "crop_and_resize", machine.TUNED_ALLOCATOR),
        Process("default-roi_align", "roi_align", {}),
        Process("tuned-roi_align", "roi_align", machine.TUNED_ALLOCATOR),
        Process("default-detectors", "detectors", {}),
    ),
    "cuda": (
        Process("cuda", "crop_and_resize", {"BENCH_SECONDS": "270"}),
        Process("cuda-roi_align", "roi_align", {"BENCH_SECONDS": "160"}),
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What came of one process: the file it left (None if none), pytest's exit code, and the end of what it printed."""

    process: Process
    file: Path | None
    code: int
    tail: str


def results_folder(quick: bool) -> Path:
    """Where a run's JSON and the tables made of it go."""
    return QUICK_RESULTS if quick else FULL_RESULTS


def processes_of(device: str, workloads: Sequence[str]) -> tuple[Process, ...]:
    """The device's processes that have something to do for these workloads; all of them if none is named.

    A detector is no workload, and a scaling series is measured for crop_and_resize under the default allocator alone.
    ValueError for a name that no workload has.
    """
    known = {workload.name: workload for workload in WORKLOADS}
    unknown = [name for name in workloads if name not in known]
    if unknown:
        raise ValueError(f"There is no workload {unknown[0]!r}; there are {', '.join(known)}.")
    if not workloads:
        return PROCESSES[device]
    narrow = all(known[name].series for name in workloads)
    return tuple(
        process
        for process in PROCESSES[device]
        if (process.bench == "crop_and_resize" and not (narrow and process.environment == machine.TUNED_ALLOCATOR))
        or (process.bench == "roi_align" and not narrow)
    )


def run(
    device: str, quick: bool, processes: int, workloads: Sequence[str], tell: Callable[[str, dict[str, object]], None]
) -> list[Outcome]:
    """Runs the device's processes in turn, so often; `tell(name, event)` hears of a process's progress.

    processes  how many fresh processes each row is measured in; a single one runs two blocks.
    workloads  only these, all of the device's if there are none.

    KeyboardInterrupt stops the child, removes what it left, and is raised again.
    """
    name = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    outcomes: list[Outcome] = []
    with _scratch() as scratch, machine.pinned():
        for replicate in range(processes):
            # There and back, as the columns within them: ABBA.
            for process in processes_of(device, workloads)[:: 1 if replicate % 2 == 0 else -1]:
                # The judge's word on the same rows, from an earlier process.
                same = [outcome.file for outcome in outcomes if outcome.process.bench == process.bench]
                judged = next((file for file in same if file is not None), None)
                environment = {"BENCH_DEVICE": device, "BENCH_RUN": name, "QUICK": "1" if quick else "0"}
                environment |= {"BENCH_PROCESS": str(replicate), "BENCH_PROCESSES": str(processes)}
                environment |= {"BENCH_WORKLOADS": " ".join(workloads)} if workloads else {}
                environment |= {**process.environment, "BENCH_OPERATOR": process.bench}
                outcomes.append(_child(process, replicate, environment, scratch, judged, tell))
        # Moved together at the end: a run is there with all its files or not at all.
        for place, outcome in enumerate(outcomes):
            if outcome.file is not None:
                folder = f"{name}-{kind(quick, bool(workloads))}"
                target = results_folder(quick) / _device_of(outcome.file) / folder
                target.mkdir(parents=True, exist_ok=True)
                outcomes[place] = replace(outcome, file=outcome.file.replace(target / outcome.file.name))
    return outcomes


def _device_of(file: Path) -> str:
    """The device that a file of results says it was measured on."""
    return str(json.loads(file.read_text(encoding="utf-8"))["machine_info"]["roi_align"]["device"])


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder on the same file system as the results, gone afterwards."""
    (ROOT / "build").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=ROOT / "build"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _child(
    process: Process,
    replicate: int,
    settings: dict[str, str],
    scratch: Path,
    judged: Path | None,
    tell: Callable[[str, dict[str, object]], None],
) -> Outcome:
    """One pytest process, from its start to its file."""
    file = scratch / process.file(replicate)
    log = file.with_suffix(".log")
    reading, writing = os.pipe()
    environment = {key: value for key, value in os.environ.items() if key not in machine.TUNED_ALLOCATOR}
    environment |= {**settings, DESCRIPTOR: str(writing)}
    if judged is not None:
        environment["BENCH_JUDGED"] = str(judged)
    command = [
        *(
            sys.executable,
            "-m",
            "pytest",
            f"suites/performance/bench_{process.bench}.py",
            "-p",
            "harness.measuring.progress",
            "-p",
            "no:cacheprovider",
        ),
        *("--benchmark-only", "--benchmark-quiet", f"--benchmark-json={file}", "-q", "--tb=short", "-rf"),
        *("-W", "default"),  # a library's advice is no reason to leave a row without a time
    ]
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, pass_fds=(writing,)
        )
    os.close(writing)
    try:
        with os.fdopen(reading, encoding="utf-8") as events:
            for line in events:
                tell(process.name, json.loads(line))
        code = child.wait()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
    return Outcome(process, file if _whole(file) else None, code, tail)


def _whole(file: Path) -> bool:
    """Whether a file is there and can be read to its end."""
    try:
        json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
