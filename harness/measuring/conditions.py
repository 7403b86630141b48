"""The state of the machine before, during and after a measuring process, and warnings derived from it.

A time alone does not show other work on the machine. The observable state is therefore stored with the figures: the
load, the share of the cores taken by a hypervisor or other processes, the clocks, throttling, and other processes on
the GPU. `warnings` turns it, with the rows themselves, into advice.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from operator import or_
from pathlib import Path
from typing import Any

import pandas as pd

from harness.measuring import nvidia_smi

_CPU = Path("/sys/devices/system/cpu")
# On a quiet machine, medians of processes are closer together than this, relative to their median.
MOST_SPREAD = 0.10
# The relative drop of the clock during a run that causes a warning.
CLOCK = 0.10
# The share of the machine's time that other work may take without a warning.
MOST_TAKEN = 0.05
FEWER_THREADS = "stop that work, or set OMP_NUM_THREADS to the number of cores that it leaves free."


def state(gpu: str = "") -> dict[str, Any]:
    """The current state of the machine, for JSON; unknown values are left out.

    gpu: the uuid of the measured GPU, whose state is under "gpu"; "" for none.
    """
    facts: dict[str, Any] = {"load": os.getloadavg()[0], "cores": os.cpu_count()}
    facts |= {"ticks": _ticks(), "own_s": sum(os.times()[:4])}
    clocks = [float(each) for each in re.findall(r"^cpu MHz\s*: ([\d.]+)$", _text(Path("/proc/cpuinfo")), re.M)]
    if clocks:
        facts["mhz"] = max(clocks)  # the core of this process is busy; idle ones have slowed down
    governor = _text(_CPU / "cpu0/cpufreq/scaling_governor").strip()
    if governor:
        facts["governor"] = governor
    counts = [_text(path) for path in sorted(_CPU.glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))]
    if counts:
        facts["throttled"] = sum(int(each or 0) for each in counts)
    if gpu:
        facts["gpu"] = nvidia_smi.state(gpu)
    return facts


def _ticks() -> dict[str, int]:
    """CPU time over all cores since boot, in clock ticks: busy, stolen by the hypervisor, and total."""
    fields = [int(each) for each in _text(Path("/proc/stat")).partition("\n")[0].split()[1:9]]
    if len(fields) < 8:
        return {}
    return {"busy": sum(fields[:3]) + fields[5] + fields[6], "stolen": fields[7], "all": sum(fields)}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def warnings(conditions: list[dict[str, Any]], rows: pd.DataFrame, cores: int) -> list[str]:
    """Sentences on what makes a run's figures doubtful, and on what to do about it; empty if nothing does.

    conditions  for each process {"process", "before", "after"}, with a `state` before and after; for a GPU also
                "during", from nvidia_smi.summary.
    rows        the run's rows from results.throughput.
    cores       the number of cores that a process of the run may use.
    """
    measurements = rows[rows.median_s.notna()]
    often = measurements[measurements.interruptions.fillna(0) * 2 >= measurements.samples]
    interrupted = [_name(row) for _, row in often.iterrows()] if is_crowded(conditions, cores) else []
    spreads = [(_name(row), row.spread) for _, row in measurements.iterrows()]
    return [*of_machine(conditions, cores), *of_rows(interrupted, spreads)]


def warnings_of(machine: dict[str, Any], rows: pd.DataFrame) -> list[str]:
    """The same, of a run's machine as `results.Results.machines` has it."""
    return warnings(machine["conditions"], rows, int(machine.get("cores", 1)))


def of_machine(conditions: list[dict[str, Any]], cores: int) -> list[str]:
    """The warnings that follow from the states alone."""
    return [*_of_cores(conditions, cores), *_of_clocks(conditions), *_of_gpu(conditions)]


def of_rows(interrupted: Sequence[str], spreads: Sequence[tuple[str, float]]) -> list[str]:
    """The warnings about single rows.

    interrupted  the rows in which a call in two was interrupted by other work.
    spreads      for every timed row, the relative spread of its processes, NaN for a single process.
    """
    sentences = []
    if interrupted:
        sentences.append(
            f"In {len(interrupted)} of {len(spreads)} rows a call in two was interrupted by other work "
            f"({interrupted[0]}, for one), and its time may be the scheduler's: {FEWER_THREADS}"
        )
    wide = [each for each in spreads if each[1] > MOST_SPREAD]
    if wide:
        widest, spread = max(wide, key=lambda each: each[1])
        sentences.append(
            f"In {len(wide)} of {len(spreads)} rows the processes are more than {MOST_SPREAD:.0%} apart "
            f"(most in {widest}: {spread:.0%}), so small differences are lost: use more --processes, or an "
            "idle machine with a fixed clock rate."
        )
    return sentences


def is_crowded(conditions: list[dict[str, Any]], cores: int) -> bool:
    """Whether other work used the cores; only then are interruptions caused by it.

    On a quiet machine a process interrupts itself: its libraries' threads compete for the cores.
    """
    return bool(_of_cores(conditions, cores))


def _of_cores(conditions: list[dict[str, Any]], cores: int) -> list[str]:
    sentences = []
    # The load counts the work of the run's earlier processes too; ticks do not.
    unknown = [each["before"] for each in conditions if _shares_of_others(each) is None]
    states = [state for state in unknown if state.get("load", 0.0) > _cores(state, cores)]
    if states:
        most = max(states, key=lambda state: state["load"])
        sentences.append(
            f"The load was {most['load']:.1f} before a process began, on {_cores(most, cores)} cores: other work was "
            "there. Stop it, or measure when the machine is quiet."
        )
    shares = [share for share in map(_shares_of_others, conditions) if share is not None]
    stolen = max((stolen for stolen, _ in shares), default=0.0)
    others = max((others for _, others in shares), default=0.0)
    if stolen > MOST_TAKEN:
        sentences.append(
            f"Other virtual machines had up to {stolen:.0%} of this one's cores while it measured: compare ratios of "
            "one run only, or rent a machine that is not shared."
        )
    if others > MOST_TAKEN:
        sentences.append(
            f"Other processes had up to {others:.0%} of the machine's cores while it measured: stop them, or measure "
            "when the machine is quiet."
        )
    return sentences


def _cores(state: dict[str, Any], cores: int) -> int:
    """The number of cores of the machine, of which a process may use only some."""
    return int(state.get("cores") or cores)


def _shares_of_others(of: dict[str, Any]) -> tuple[float, float] | None:
    """The shares of the machine's time that other virtual machines and other processes took; None if unknown."""
    before, after = of["before"].get("ticks"), of["after"].get("ticks")
    if not before or not after or after["all"] <= before["all"]:
        return None
    span = after["all"] - before["all"]
    own = (of["after"]["own_s"] - of["before"]["own_s"]) * os.sysconf("SC_CLK_TCK")
    return (after["stolen"] - before["stolen"]) / span, (after["busy"] - before["busy"] - own) / span


def _of_clocks(conditions: list[dict[str, Any]]) -> list[str]:
    sentences = []
    fell = [1 - each["after"]["mhz"] / each["before"]["mhz"] for each in conditions if "mhz" in each["before"]]
    if max(fell, default=0.0) > CLOCK:
        sentences.append(
            f"The clock of the cores was {max(fell):.0%} lower after a process than before it: fix the clock rate (the "
            "governor performance, no boost), or read ratios only."
        )
    if any(each["after"].get("throttled", 0) > each["before"].get("throttled", 0) for each in conditions):
        sentences.append("The cores were throttled by their temperature while they measured: cool the machine.")
    return sentences


def _of_gpu(conditions: list[dict[str, Any]]) -> list[str]:
    states = [each[when]["gpu"] for each in conditions for when in ("before", "after") if "gpu" in each[when]]
    sentences = []
    others = max((state.get("other_processes", 0) for state in states), default=0)
    if others:
        sentences.append(f"{others} other processes were on the GPU: it is to be the benchmark's alone.")
    summaries = [each["during"] for each in conditions if each.get("during")]
    reasons = [state.get("throttle_reasons", 0) & nvidia_smi.SLOWDOWN_BITS for state in (*states, *summaries)]
    if any(reasons):
        looks, slow = (sum(each[name] for each in summaries) for name in ("looks", "slow"))
        together = functools.reduce(or_, reasons)
        sentences.append(
            f"The GPU was slowed down by its power cap or its temperature (reasons {together:#x}; in {slow} of {looks} "
            "looks at it while it measured): cool it, or lock its clocks below that (nvidia-smi --lock-gpu-clocks)."
        )
    return sentences


def _name(row: pd.Series) -> str:
    setting = f" {row.setting}" if row.setting else ""
    return f"{row.op}{setting} {row.workload} {row.direction} {row.backend} {row.layout}"
