"""What the benchmarks share: the process that they measure in, its rows, and the file that these become."""

from __future__ import annotations

import subprocess
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from harness import repository
from harness.measuring import conditions, devices, foreign, gate, nvidia_smi, ratios, settings
from harness.measuring.columns import kind
from harness.measuring.devices import cpu
from harness.measuring.record import Header, Measurements, Record, read, write
from harness.measuring.settings import Settings


@dataclass(frozen=True)
class Ledger:
    """What one pytest process has measured.

    header   what its rows have in common.
    options  the settings of the run.
    before   the state of the machine before the first row.
    began    when the process began to measure, on the monotonic clock.
    watching the process of nvidia-smi that watches the GPU during the run, None without a GPU.
    records  its rows so far: those with samples, and those that got no time.
    """

    header: Header
    options: Settings
    before: dict[str, Any]
    began: float
    watching: subprocess.Popen[str] | None
    records: list[Record] = field(default_factory=list)

    @property
    def over(self) -> str:
        """Why no other row may be begun, "" if one may."""
        limit = self.options.seconds
        if limit is None or time.monotonic() - self.began <= limit:
            return ""
        return f"The {limit:.0f} seconds of the run were used up before this row's turn."


_LEDGER = pytest.StashKey[Ledger]()
_PATH = pytest.StashKey[Path]()


@pytest.fixture(scope="session")
def ledger(pytestconfig: pytest.Config) -> Ledger:
    measuring = pytestconfig.getoption("benchmark_only")
    device, options = devices.current(), settings.read()
    missing = device.why_not()
    if missing is not None:
        pytest.skip(missing)
    bandwidth = device.copy_gbps() if measuring else float("nan")
    header = Header(
        run=options.run or repository.stamp(),
        kind=kind(options.quick, bool(options.workloads or pytestconfig.getoption("keyword"))),
        device=device.name(),
        allocator=device.allocator(),
        process=options.process,
        threads=cpu.threads(),
        clock=device.clock,
        copy_gbps=bandwidth,
    )
    # The state after a copy: an idle machine has lowered its clocks.
    gpu = device.gpu()
    watching = nvidia_smi.watch(gpu) if measuring and gpu else None
    ledger = Ledger(header, options, conditions.state(gpu), time.monotonic(), watching)
    if measuring:
        pytestconfig.stash[_LEDGER] = ledger
    return ledger


@pytest.fixture(scope="session")
def gates() -> dict[tuple[str, ...], dict[str, gate.Gate]]:
    """Results that have passed, by call and digest: to begin with, those of an earlier process of the same run."""
    gates_by_call: dict[tuple[str, ...], dict[str, gate.Gate]] = defaultdict(dict)
    path = settings.read().judged
    for row in read(Path(path)).records if path else ():
        if row.samples:
            call = (row.bench, row.workload, row.setting, row.direction, row.backend, row.dtype)
            gates_by_call[call][row.digest] = gate.stored_in(row)
    return gates_by_call


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """The rows become a file, in a run marked "part" if not all had their turn; not where pytest-benchmark writes
    one."""
    config = session.config
    ledger = config.stash.get(_LEDGER, None)
    during = nvidia_smi.summary(ledger.watching) if ledger is not None else {}
    if ledger is None or not ledger.records:
        return
    if config.getoption("benchmark_json") and not ledger.options.output:
        return
    header, device = ledger.header, devices.current()
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        header = replace(header, kind=kind(ledger.options.quick, True))
    others = foreign.functions(ledger.options, config.getoption("backend"))
    for each in others:
        foreign.apart(each).restart()  # what it holds of a GPU is no other process's work
    root = repository.results_folder(ledger.options.quick, bool(others))
    folder = root / header.device / f"{header.run}-{header.kind}"
    path = Path(ledger.options.output or folder / f"{header.allocator}.json")
    states = {
        "before": ledger.before,
        "after": conditions.state(device.gpu()),
        **({"during": during} if during else {}),
    }
    write(path, Measurements(header, device.describe(), tuple(ledger.records), states))
    config.stash[_PATH] = path


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if _LEDGER in config.stash:
        for line in ratios.table(config.stash[_LEDGER].records, devices.current()):
            terminalreporter.line(line)
    if _PATH in config.stash:
        terminalreporter.line(f"samples {config.stash[_PATH]}")
