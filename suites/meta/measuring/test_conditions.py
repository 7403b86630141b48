"""Warnings about doubtful figures, on made-up states of a machine, each slightly beyond a limit."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.measuring import conditions, nvidia_smi
from suites.programs import python

QUIET = {"load": 0.1, "ticks": {"busy": 0, "stolen": 0, "all": 0}, "own_s": 0.0, "mhz": 3000.0, "throttled": 4}
# Ten seconds later, on two cores: the process itself kept one of them busy.
LATER = {**QUIET, "ticks": {"busy": 1000, "stolen": 0, "all": 2000}, "own_s": 10.0}
GPU = {"sm_mhz": 1980.0, "throttle_reasons": 0x1, "other_processes": 0}


def process(before: dict[str, Any] | None = None, after: dict[str, Any] | None = None, **during: Any) -> dict[str, Any]:
    return {"process": 0, "before": {**QUIET, **(before or {})}, "after": {**LATER, **(after or {})}, **during}


def loaded(load: float, **before: Any) -> dict[str, Any]:
    """A process on a system that does not say which work its cores did."""
    return process(before={"load": load, "ticks": None, **before})


def rows(*changes: dict[str, Any]) -> pd.DataFrame:
    usual = {
        "op": "crop_and_resize", "setting": "", "workload": "w", "direction": "forward", "backend": "roi_align",
        "layout": "contiguous", "median_s": 1e-3, "samples": 30, "interruptions": 1.0, "spread": 0.01,
    }  # fmt: skip
    return pd.DataFrame([{**usual, **each} for each in changes or ({},)])


def test_a_quiet_machine_has_no_warnings() -> None:
    assert conditions.warnings([process(), process()], rows(), 2) == []
    # Missing columns in old files cause no warning.
    assert conditions.warnings([], rows({"interruptions": None, "spread": float("nan")}), 2) == []


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (loaded(2.5), "The load was 2.5 before a process began, on 2 cores"),
        (process(after={"ticks": {"busy": 1000, "stolen": 200, "all": 2000}}), "Other virtual machines had up to 10%"),
        (process(after={"ticks": {"busy": 1200, "stolen": 0, "all": 2000}}), "Other processes had up to 10%"),
        (process(after={"mhz": 2500.0}), "The clock of the cores was 17% lower"),
        (process(after={"throttled": 5}), "throttled by their temperature"),
        (process(before={"gpu": {**GPU, "other_processes": 2}}), "2 other processes were on the GPU"),
        (process(after={"gpu": {**GPU, "throttle_reasons": 0x4}}), "slowed down by its power cap or its temperature"),
        # Only under load: the states before and after are good.
        (
            process(during={"looks": 90, "slow": 7, "throttle_reasons": 0x21}),
            "(reasons 0x20; in 7 of 90 looks at it while",
        ),
    ],
)
def test_disturbances_give_a_warning(state: dict[str, Any], says: str) -> None:
    (warning,) = conditions.warnings([process(), state], rows(), 2)
    assert says in warning


def test_a_process_on_one_of_two_cores_leaves_room_for_another() -> None:
    state = loaded(1.8, cores=2)
    assert conditions.warnings([state], rows(), 1) == []
    (warning,) = conditions.warnings([loaded(2.8, cores=2)], rows(), 1)
    assert "on 2 cores" in warning


def test_the_work_of_an_earlier_process_of_the_run_is_not_other_work() -> None:
    """The load before a process counts it; the ticks during the process show that no other work was there."""
    often = rows({}, {"interruptions": 15.0})
    assert conditions.warnings([process(), process(before={"load": 2.5})], often, 2) == []


def test_processes_that_are_apart_give_a_warning() -> None:
    (warning,) = conditions.warnings([process()], rows({}, {"spread": 0.2}), 2)
    assert "In 1 of 2 rows the processes are more than 10% apart (most in crop_and_resize w forward" in warning


def test_interruptions_give_a_warning_only_on_a_loaded_machine() -> None:
    often = rows({}, {"interruptions": 15.0})
    assert conditions.warnings([process()], often, 2) == []
    load_warning, warning = conditions.warnings([loaded(2.5)], often, 2)
    assert "The load was 2.5" in load_warning
    assert "In 1 of 2 rows a call in two was interrupted by other work (crop_and_resize w forward" in warning
    assert conditions.warnings([loaded(2.5)], rows(), 2) == [load_warning]


def test_this_machines_state_can_be_read() -> None:
    state = conditions.state()
    assert state["load"] >= 0
    assert state["ticks"]["all"] >= state["ticks"]["busy"] > 0
    assert "gpu" not in state


@pytest.mark.parametrize("unknown", ["clocks_throttle_reasons", "clocks_event_reasons"])
def test_a_gpus_state_is_read_with_old_and_new_field_names(monkeypatch: pytest.MonkeyPatch, unknown: str) -> None:
    """One of the processes is this one, although its number differs outside of a container."""

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        message = "1980, 2619, 41, [N/A], 0x0000000000000004\n" if "--query-gpu" in command[1] else "1\n4242\n77\n"
        assert command[-1] == "--id=GPU-1"
        if unknown in command[1]:
            raise subprocess.CalledProcessError(2, command)
        return subprocess.CompletedProcess(command, 0, message, "")

    monkeypatch.setattr(subprocess, "run", run)
    assert conditions.state("GPU-1")["gpu"] == {
        "sm_mhz": 1980.0, "memory_mhz": 2619.0, "temperature_c": 41.0, "throttle_reasons": 4, "other_processes": 2,
    }  # fmt: skip


def test_a_gpus_state_is_empty_without_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: object) -> None:
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(subprocess, "run", run)
    assert conditions.state("GPU-1")["gpu"] == {"other_processes": 0}


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An nvidia-smi that prints the file `looks`, as before driver 535, and then waits in its loop mode."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n'
        'case "$1" in *clocks_event_reasons*) exit 2;; esac\n'
        f'case "$*" in *--loop-ms=1000*) cat {tmp_path}/looks; echo $$ > {tmp_path}/pid; exec sleep 600;; esac\n'
        f"head -1 {tmp_path}/looks\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def until(there: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_gpu_is_watched_during_the_run(smi: Path) -> None:
    """A slowdown in between is detected, though the states before and after show none."""
    looks = ["1980, 2619, 41, 300.5, 0x0000000000000000", "1200, 2619, 88, 700.1, 0x0000000000000024"]
    (smi / "looks").write_text("\n".join([*looks, looks[0], "1980, 26"]))
    watching = nvidia_smi.watch("GPU-1")
    assert watching is not None
    until((smi / "pid").exists)
    assert nvidia_smi.summary(watching) == {"looks": 3, "slow": 1, "throttle_reasons": 0x24, "sm_mhz": 1200.0}
    assert watching.returncode == -signal.SIGTERM
    assert all("--id=GPU-1" in line for line in (smi / "asked").read_text().splitlines())
    state = process(during=nvidia_smi.summary(None)), process(during={"looks": 3, "slow": 1, "throttle_reasons": 0x24})
    (warning,) = conditions.warnings([*state], rows(), 2)
    assert "(reasons 0x24; in 1 of 3 looks" in warning


def test_the_watcher_ends_with_its_parent_process(smi: Path) -> None:
    """SIGPIPE ends it at its next line."""
    (smi / "looks").write_text("1980, 2619, 41, 300.5, 0x0\n")
    body = (smi / "nvidia-smi").read_text()
    looking = f"while echo 1; do echo $$ > {smi}/pid; sleep 0.05; done; exit"
    (smi / "nvidia-smi").write_text(body.replace("exec sleep 600", looking))
    program = "from harness.measuring import nvidia_smi; import os; nvidia_smi.watch('GPU-1'); os._exit(0)"
    assert python("-c", program).returncode == 0
    until((smi / "pid").exists)
    pid = int((smi / "pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])


def test_without_nvidia_smi_there_is_no_watcher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia_smi.watch("GPU-1") is None
    assert nvidia_smi.summary(None) == {}
