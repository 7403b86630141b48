"""The CPU as a measured device: its description, and its copy bandwidth.

Every figure is read relative to another one from the same run. The roof of operators with so little arithmetic is the
copy bandwidth of the device, so it is measured here, in the same process and with as many threads as the operators use.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np

from harness.measuring import settings
from harness.repository import ROOT

_LIBRARIES = ("torch", "torchvision", "tensorflow", "numpy", "pytest-benchmark")
# glibc reads these at process start: large blocks come from the heap and stay there, instead of being mapped and
# faulted in for each result.
TUNED_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(8 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}


def threads() -> int:
    """The number of threads that the operators use: OMP_NUM_THREADS if set, else the cores of this process."""
    return int(os.environ.get("OMP_NUM_THREADS", "0")) or len(os.sched_getaffinity(0))


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Limits processes started inside to as many cores as they have threads, on different physical cores.

    The limit is a set of cores for the whole process: some libraries start threads that inherit the affinity of one
    thread, and would all run on that thread's core if it had only one.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, one_per_core_first(before)[: threads()])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def one_per_core_first(cores: Collection[int]) -> list[int]:
    """These cores, one of each physical core first: two logical cores on one physical core are half as fast."""
    counts: dict[str, int] = {}
    ranks = []
    for core in sorted(cores):
        path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        siblings = path.read_text(encoding="utf-8") if path.exists() else str(core)
        counts[siblings] = counts.get(siblings, -1) + 1
        ranks.append((counts[siblings], core))
    return [core for _, core in sorted(ranks)]


def allocator() -> str:
    """The allocator of this process: "tuned" if TUNED_ALLOCATOR was in its environment, else "default"."""
    return "tuned" if all(os.environ.get(name) == value for name, value in TUNED_ALLOCATOR.items()) else "default"


def _cpuinfo() -> str:
    return Path("/proc/cpuinfo").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def cpu_model() -> str:
    """The processor's name from the kernel.

    A virtual machine's may lack the number ("AMD EPYC" is every generation of it): then with its family and model.
    """
    try:
        lines = re.findall(r"^([^\t:]+)\s*: ?(.*)$", _cpuinfo(), re.M)
    except OSError:
        lines = []
    first_core: dict[str, str] = dict(reversed(lines))
    name = first_core.get("model name", platform.processor() or platform.machine()).strip()
    if "cpu family" in first_core and not re.search(r"\d", name.partition("@")[0]):
        return f"{name}, family {first_core['cpu family']} model {first_core['model']}"
    return name


def memory_bytes() -> int:
    """Physical memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def instruction_set() -> str:
    """The instruction set of the operator's kernels here: that of ROI_ALIGN_CPU, else the processor's widest.

    Determined without the operator, so that a machine can be described without importing it.
    """
    instruction_set_name = os.environ.get("ROI_ALIGN_CPU")
    if instruction_set_name:
        return instruction_set_name
    try:
        flags = set(re.findall(r"\w+", next(iter(re.findall(r"^flags\s*:(.*)$", _cpuinfo(), re.M)), "")))
    except OSError:
        flags = set()
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags:
        return "avx512"
    return "avx2" if "avx2" in flags else "portable"


def device() -> str:
    """The name of this machine in results, e.g. "cpu-amd-epyc-9354-avx512-2t".

    The same machine with other kernels is another device, so that its figures are not mistaken for a change in speed.
    A family and model, where the name has no number, are two numbers: "cpu-amd-epyc-25-1-avx2-2t".
    """
    words = re.sub(r"\((r|tm)\)|\b(cpu|processor|family|model|\d+-core)\b|@[^,]*", " ", cpu_model().lower())
    return "-".join(["cpu", *re.findall(r"[a-z0-9]+", words), instruction_set(), f"{threads()}t"])


def versions(libraries: Sequence[str] = _LIBRARIES) -> dict[str, str]:
    """The versions of Python and of the installed ones of these libraries (by default those that figures depend on)."""
    by_name = {"python": platform.python_version()}
    for library in libraries:
        try:
            by_name[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return by_name


def revision() -> dict[str, object]:
    """The git revision of the checkout, and whether files differ from it.

    A GPU machine often has the files without their history; settings.REVISION may then give the revision.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        # Results are written by the runs themselves and do not change the measured code.
        return {
            "revision": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--", ".", ":!results")),
        }
    except (OSError, subprocess.SubprocessError):
        commit = os.environ.get(settings.REVISION)
        return {"revision": commit} if commit else {}


def describe() -> dict[str, object]:
    """The description of this machine, stored with the figures."""
    return {
        "device": device(),
        "cpu": cpu_model(),
        "instruction_set": instruction_set(),
        "cores": len(os.sched_getaffinity(0)),
        "pinned": sorted(os.sched_getaffinity(0)),
        "threads": threads(),
        "memory_bytes": memory_bytes(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        **revision(),
    }


def copy_gbps(megabytes: int = 256, rounds: int = 5) -> float:
    """GB/s of a copy, reads and writes together, median over some rounds.

    Two buffers far larger than the last-level cache; each thread copies its own part (NumPy releases the GIL).
    """
    count = threads()
    source = np.ones(megabytes << 18, dtype=np.float32)
    target = np.zeros_like(source)
    parts = list(zip(np.array_split(target, count), np.array_split(source, count), strict=True))
    seconds = []
    with ThreadPoolExecutor(count) as pool:
        for _ in range(rounds + 1):
            begin = time.perf_counter()
            list(pool.map(lambda part: np.copyto(*part), parts))
            seconds.append(time.perf_counter() - begin)
    return 2 * source.nbytes / float(np.median(seconds[1:])) / 1e9


def give_back_memory() -> None:
    """Returns freed memory to the system, if the C library can, so that earlier rows do not help later ones."""
    with contextlib.suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def peak_memory_bytes(call: Callable[[], object]) -> int | None:
    """The peak memory of the process during a call beyond the memory held before; None if unknown.

    Linux keeps a resettable high-water mark of the resident set. Freed blocks are returned first, so a result cannot
    hide in them. The result and a library's scratch memory count, in pages of 4 KiB.
    """
    give_back_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _status_bytes("VmRSS")
        result = call()
        peak = _status_bytes("VmHWM")
    except OSError:
        return None
    del result
    return max(0, peak - before)


def _status_bytes(field: str) -> int:
    """A figure of /proc/self/status, in bytes."""
    match = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else 0
