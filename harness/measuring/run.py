"""One run of the benchmarks: fresh pytest processes for each allocator; results are stored completely or not at all.

Samples of one process share its memory layout and its moment, so a run may have several processes of each kind; they
take turns, each with a block of its own. The C library reads its allocator's settings at process start, so the CPU's
two allocators need separate processes; CUDA has one allocator. Each process writes to a folder under build/, and the
complete files are moved to results/ together; an interrupted run keeps its finished rows and is marked "part".
settings.py has the settings of a process.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness import repository
from harness.measuring import foreign, record, settings
from harness.measuring.columns import kind, workloads_of
from harness.measuring.devices import cpu
from harness.measuring.settings import Settings


@dataclass(frozen=True)
class Process:
    """One kind of pytest process, which names its file of results.

    benches    the benchmarks that it runs: suites/performance/bench_BENCH.py.
    allocator  environment variables for the C library's allocator.
    seconds    the time after which no new row starts; None for no limit.
    """

    name: str
    benches: tuple[str, ...]
    allocator: dict[str, str]
    seconds: float | None = None

    def file(self, replicate: int) -> str:
        """The name of its file in one turn of the run."""
        return f"{self.name}.json" if replicate == 0 else f"{self.name}-{replicate + 1}.json"


# The processes of each type of device. The detectors take the memory of two whole models, so they have a process of
# their own. GPU time is limited: rows that have not started by then get no time, and say why.
PROCESSES: dict[str, tuple[Process, ...]] = {
    "cpu": (
        Process("default", ("operators", "multiscale"), {}),
        Process("tuned", ("operators",), cpu.TUNED_ALLOCATOR),
        Process("default-detectors", ("detectors",), {}),
    ),
    "cuda": (Process("cuda", ("operators", "multiscale"), {}, seconds=430),),
}


# The time for an interrupted process to finish its call and write its rows.
_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Exit:
    """The exit of one process: its file (or None), pytest's exit code, the end of its output, and whether it was
    interrupted."""

    process: Process
    file: Path | None
    code: int
    tail: str
    interrupted: bool = False


def processes_of(device: str, workloads: Sequence[str], backends: Sequence[str] = ()) -> tuple[Process, ...]:
    """The device's processes that are needed for these workloads and functions; all if there are none.

    Detectors and pyramids are not workloads, and scaling series run under the default allocator only. ValueError for
    an unknown workload.
    """
    selection = workloads_of(workloads)
    if not selection and not backends:
        return PROCESSES[device]
    narrow = bool(selection) and all(workload.series for workload in selection)
    return tuple(
        replace(process, benches=("operators",))
        for process in PROCESSES[device]
        if "operators" in process.benches and not (narrow and process.allocator)
    )


def run(
    device: str,
    quick: bool,
    processes: int,
    workloads: Sequence[str],
    tell: Callable[[str, dict[str, object]], None],
    backends: Sequence[str] = (),
) -> list[Exit]:
    """Runs the device's processes in turn; `tell(name, event)` receives their progress.

    processes  the number of processes that measure each row; a single one runs two blocks.
    workloads  only these; () for all of the device's.
    backends   functions outside this project, timed beside the columns of their operators.

    KeyboardInterrupt ends the child, which writes its finished rows, and the run; the last exit is marked interrupted.
    """
    name = repository.stamp()
    exits: list[Exit] = []
    with _scratch() as scratch, cpu.pinned():
        for replicate, process in _turns(processes, processes_of(device, workloads, backends)):
            # The verdicts on the same rows, from an earlier process.
            same = (each.file for each in exits if each.process.benches[0] == process.benches[0])
            earlier_file = next((file for file in same if file is not None), None)
            child_settings = Settings(
                name, replicate, processes, tuple(workloads), quick, process.seconds,
                str(earlier_file or ""), str(scratch / process.file(replicate)), backends=tuple(backends),
            )  # fmt: skip
            exits.append(_child(process, device, child_settings, tell))
            if exits[-1].interrupted:
                break
        # Moved together at the end. A run is partial if it was interrupted, or if a process died before it wrote its
        # file, just like a run of some workloads.
        incomplete = exits[-1].interrupted or any(each.file is None for each in exits)
        sort = kind(quick, bool(workloads) or incomplete)
        for place, each in enumerate(exits):
            if each.file is not None:
                measurements = record.read(each.file)
                target = (
                    repository.results_folder(quick, bool(backends)) / measurements.header.device / f"{name}-{sort}"
                )
                exits[place] = replace(each, file=target / each.file.name)
                record.write(
                    target / each.file.name, replace(measurements, header=replace(measurements.header, kind=sort))
                )
    return exits


def _turns(processes: int, sorts: Sequence[Process]) -> Iterator[tuple[int, Process]]:
    """The processes in ABBA order, like the columns within them."""
    for replicate in range(processes):
        for process in sorts[:: 1 if replicate % 2 == 0 else -1]:
            yield replicate, process


@contextmanager
def _scratch() -> Iterator[Path]:
    """A temporary folder on the same file system as the results."""
    (repository.ROOT / "build").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=repository.ROOT / "build"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _child(
    process: Process, device: str, child_settings: Settings, tell: Callable[[str, dict[str, object]], None]
) -> Exit:
    """One pytest process, from its start to its file."""
    file = Path(child_settings.output)
    log = file.with_suffix(".log")
    reading, writing = os.pipe()
    environment = {key: value for key, value in os.environ.items() if key not in cpu.TUNED_ALLOCATOR}
    environment |= process.allocator | settings.environment(device, replace(child_settings, progress=writing))
    if child_settings.backends:
        environment["PYTHONPATH"] = foreign.path()
    command = [
        *(sys.executable, "-m", "pytest", *(f"suites/performance/bench_{bench}.py" for bench in process.benches)),
        *("-p", "harness.measuring.progress", "-p", "no:cacheprovider"),
        *("--benchmark-only", "--benchmark-quiet", "-q", "--tb=short", "-rf"),
        *("-W", "default"),  # a library's warning must not fail a row
    ]
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, cwd=repository.ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT,
            pass_fds=(writing,), start_new_session=True,  # a terminal would interrupt the child too
        )  # fmt: skip
    os.close(writing)
    interrupted = False
    try:
        with os.fdopen(reading, encoding="utf-8") as events:
            for line in events:
                tell(process.name, json.loads(line))
        code = child.wait()
    except KeyboardInterrupt:
        interrupted, code = True, _exit_code(child)
    except BaseException:
        child.terminate()
        child.wait()
        raise
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
    return Exit(process, file if file.exists() else None, code, tail, interrupted)


def _exit_code(child: subprocess.Popen[bytes]) -> int:
    """Interrupts a process and waits for its rows; a second interrupt ends it at once. Returns its exit code."""
    try:
        child.send_signal(signal.SIGINT)
        return child.wait(_PATIENCE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        child.terminate()
        return child.wait()
