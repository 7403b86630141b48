"""What the benchmarks share: the run they belong to, and the rows that got no time."""

from __future__ import annotations

import datetime
import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.measuring import conditions, devices
from harness.measuring import cpu as machine
from harness.measuring.columns import SCHEMA, kind, process
from harness.measuring.gate import Gate

_UNMEASURED = pytest.StashKey[list[dict[str, Any]]]()
_TIMES = pytest.StashKey[dict[tuple[str, str, str], list[float]]]()
# The state of the machine before the first row.
_BEFORE = pytest.StashKey[dict[str, Any]]()


@dataclass(frozen=True)
class Run:
    """One pytest process: every row of it carries its record.

    record   what all rows have in common.
    limit_s  after how many seconds no other row is begun; infinite if nobody set BENCH_SECONDS.
    began    when the process began to measure, on the monotonic clock.
    """

    record: dict[str, Any]
    limit_s: float
    began: float

    def is_over(self) -> bool:
        return time.monotonic() - self.began > self.limit_s

    @property
    def over(self) -> str:
        return f"The {self.limit_s:.0f} seconds of the run were used up before this row's turn."


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_UNMEASURED] = []
    config.stash[_TIMES] = {}


@pytest.fixture(scope="session")
def run(request: pytest.FixtureRequest) -> Run:
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    measuring = request.config.getoption("benchmark_only")
    device = devices.chosen()
    missing = device.why_not()
    if missing is not None:
        pytest.skip(missing)
    bandwidth = device.copy_gbps() if measuring else float("nan")
    # After a copy: an idle machine has lowered its clocks.
    request.config.stash[_BEFORE] = conditions.state(device.kind)
    return Run(
        record={
            "schema": SCHEMA,
            "process": process(),
            "run": os.environ.get("BENCH_RUN", now),
            "kind": kind(os.environ.get("QUICK") == "1", "BENCH_WORKLOADS" in os.environ),
            "device": device.name(),
            "allocator": device.allocator(),
            "threads": machine.threads(),
            "copy_gbps": bandwidth,
            "clock": device.clock,
        },
        limit_s=float(os.environ.get("BENCH_SECONDS", "inf")),
        began=time.monotonic(),
    )


@pytest.fixture(scope="session")
def judged() -> dict[tuple[str, ...], Gate]:
    """What an earlier process of the same run found, by workload, setting, direction, backend and layout."""
    path = os.environ.get("BENCH_JUDGED")
    if path is None:
        return {}
    names = [each.name for each in fields(Gate)]
    rows = [each["extra_info"] for each in json.loads(Path(path).read_text(encoding="utf-8"))["benchmarks"]]
    return {
        tuple(row[name] for name in ("workload", "setting", "direction", "backend", "layout")): Gate(
            **{name: row[name] for name in names}
        )
        for row in rows
    }


@pytest.fixture(scope="session")
def unmeasured(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Rows that failed the gate or could not be asked for; they go into the JSON with a status and no time."""
    return request.config.stash[_UNMEASURED]


@pytest.fixture(scope="session")
def times(request: pytest.FixtureRequest) -> dict[tuple[str, str, str], list[float]]:
    """Seconds of bench_roi_align.py by (workload and setting, direction, column)."""
    return request.config.stash[_TIMES]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """How many times as fast as torchvision, on each workload and as the geometric mean of a setting's."""
    found, ratios = config.stash[_TIMES], defaultdict(list)
    for (work, direction, column), seconds in found.items():
        same = [each for each in found if each[:2] == (work, direction) and each[2].startswith("torchvision")]
        peer = found[same[0]] if same else []
        if not peer or not seconds or column.startswith("torchvision"):
            continue
        ratio = float(np.median(peer) / np.median(seconds))
        ratios[work.partition(", ")[2] or work, direction, column].append(ratio)
        milliseconds = f"{np.median(seconds) * 1e3:9.2f} ms"
        terminalreporter.line(f"{work:34} {direction:11} {column:24} {milliseconds} {ratio:7.1f}x")
    for (setting, direction, column), each in ratios.items():
        mean, spread = float(np.exp(np.mean(np.log(each)))), f"({min(each):.1f}, {max(each):.1f})"
        terminalreporter.line(f"geometric mean, {setting:18} {direction:11} {column:24} {mean:19.1f}x {spread}")


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["roi_align"] = devices.chosen().describe()
    machine_info.pop("node", None)  # a host's name is nobody's business in a committed file


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    output_json["unmeasured"] = config.stash[_UNMEASURED]
    if _BEFORE in config.stash:
        output_json["conditions"] = {
            "process": process(),
            "before": config.stash[_BEFORE],
            "after": conditions.state(devices.chosen().kind),
        }
    for benchmark in output_json["benchmarks"]:
        benchmark["params"] = {"row": benchmark["param"]}  # else the repr of an object, addresses included
