"""nvidia-smi: the state of the measured GPU, now and during a run.

It numbers all GPUs of the machine, torch only those in CUDA_VISIBLE_DEVICES, so it is queried by uuid. And a GPU that
slows down under load recovers a moment later, so looks before and after a run see nothing: a separate nvidia-smi
process polls once a second during the run, and takes no time from the measuring process.
"""

from __future__ import annotations

import contextlib
import subprocess
from typing import Any

_FIELDS = {
    "sm_mhz": "clocks.sm",
    "memory_mhz": "clocks.mem",
    "temperature_c": "temperature.gpu",
    "power_w": "power.draw",
    "throttle_reasons": "clocks_{}_reasons.active",
}
# The name of these reasons since driver 535, and before. A query with an unknown field gets no answer.
_REASONS = ("event", "throttle")
# The bits of NVML's reasons that slow a kernel down: a power cap, and slowdowns by hardware and by temperature. Other
# bits mean an idle GPU, clocks set by the user, and the like.
SLOWDOWN_BITS = 0x4 | 0x8 | 0x20 | 0x40 | 0x80
_LOOK_MS = 1000
# The size of a pipe that is read only at the end: enough for about four hours of looks.
_PIPE_BYTES = 1 << 20


def ask(query: str, gpu: str) -> list[list[str]]:
    """nvidia-smi's values for the GPU of this uuid; [] if it gives none."""
    try:
        process = subprocess.run(_command(query, gpu), capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return []
    return _cells(process.stdout)


def state(gpu: str) -> dict[str, Any]:
    """The current state of this GPU, for JSON; unknown values are left out."""
    none: list[list[str]] = [[]]
    lines = next(filter(None, (ask(query, gpu) for query in _queries())), none)
    # One of them is this process, whose pid is different inside a container.
    others = max(0, len(ask("--query-compute-apps=pid", gpu)) - 1)
    return {**_values(lines[0]), "other_processes": others}


def watch(gpu: str) -> subprocess.Popen[str] | None:
    """Starts a process that polls this GPU until `summary`, or until this process ends; None without nvidia-smi."""
    query = next((query for query in _queries() if ask(query, gpu)), None)
    if query is None:
        return None
    command = [*_command(query, gpu), f"--loop-ms={_LOOK_MS}"]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        pipesize=_PIPE_BYTES,
    )  # fmt: skip


def summary(watching: subprocess.Popen[str] | None) -> dict[str, Any]:
    """Ends a process of `watch` and summarises it: the number of looks, the number with a slowdown, all reasons
    combined, and the lowest clock of the multiprocessors; {} without looks."""
    if watching is None:
        return {}
    watching.terminate()
    looks = [_values(cells) for cells in _cells(watching.communicate()[0]) if len(cells) == len(_FIELDS)]
    reasons = [int(look.get("throttle_reasons", 0)) for look in looks]
    if not looks:
        return {}
    together = 0
    for each in reasons:
        together |= each
    lowest = min((look["sm_mhz"] for look in looks if "sm_mhz" in look), default=None)
    return {
        "looks": len(looks),
        "slow": sum(bool(each & SLOWDOWN_BITS) for each in reasons),
        "throttle_reasons": together,
        **({} if lowest is None else {"sm_mhz": lowest}),
    }


def _queries() -> list[str]:
    return [f"--query-gpu={','.join(_FIELDS.values())}".format(reasons) for reasons in _REASONS]


def _command(query: str, gpu: str) -> list[str]:
    return ["nvidia-smi", query, "--format=csv,noheader,nounits", f"--id={gpu}"]


def _cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.strip()]


def _values(cells: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in zip(_FIELDS, cells, strict=False):
        with contextlib.suppress(ValueError):  # "[N/A]"
            values[name] = int(value, 16) if value.startswith("0x") else float(value)
    return values
