"""What this machine is, and how fast it copies.

Every figure is read as a ratio to something measured in the same run. The roof of an operator that does so little
arithmetic is the copy bandwidth of the device, so it is measured here, in the same process and with as many threads as
the operators take.
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
# glibc reads these when a process starts: big blocks come from the heap and stay there, instead of being mapped and
# faulted in anew for each result.
TUNED_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(8 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}


def threads() -> int:
    """How many threads the operators take: OMP_NUM_THREADS if it is set, else the cores this process may use."""
    return int(os.environ.get("OMP_NUM_THREADS", "0")) or len(os.sched_getaffinity(0))


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Keeps the processes that are started meanwhile on as many cores as they have threads, each on a core of its own.

    Cores are chosen, not a core for each thread: libraries start their threads in ways of their own, and one that
    inherits a single core would run all of them there.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, spread(before)[: threads()])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def spread(cores: Collection[int]) -> list[int]:
    """These cores' numbers, one of each physical core first: two that share one are half as fast together."""
    seen: dict[str, int] = {}
    ranked = []
    for core in sorted(cores):
        path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        siblings = path.read_text(encoding="utf-8") if path.exists() else str(core)
        seen[siblings] = seen.get(siblings, -1) + 1
        ranked.append((seen[siblings], core))
    return [core for _, core in sorted(ranked)]


def allocator() -> str:
    """Which allocator this process runs with: "tuned" if TUNED_ALLOCATOR was in its environment, else "default"."""
    return "tuned" if all(os.environ.get(name) == value for name, value in TUNED_ALLOCATOR.items()) else "default"


def _cpuinfo() -> str:
    return Path("/proc/cpuinfo").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def cpu_model() -> str:
    """The processor's name as the kernel gives it."""
    try:
        for line in _cpuinfo().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_bytes() -> int:
    """Physical memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def instruction_set() -> str:
    """The operator's kernels that run here: those that ROI_ALIGN_CPU asks for, else the widest that the processor has.

    The operator knows, but a machine is described without it.
    """
    asked = os.environ.get("ROI_ALIGN_CPU")
    if asked:
        return asked
    try:
        flags = set(re.findall(r"\w+", next(iter(re.findall(r"^flags\s*:(.*)$", _cpuinfo(), re.M)), "")))
    except OSError:
        flags = set()
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= flags:
        return "avx512"
    return "avx2" if "avx2" in flags else "portable"


def device() -> str:
    """The name that results of this machine are filed under, e.g. "cpu-amd-epyc-9354-avx512-2t".

    The same machine with other kernels is another device: its figures are not to be taken for slower or faster ones.
    """
    words = re.sub(r"\((r|tm)\)|\b(cpu|processor|\d+-core)\b|@.*", " ", cpu_model().lower())
    return "-".join(["cpu", *re.findall(r"[a-z0-9]+", words), instruction_set(), f"{threads()}t"])


def versions(libraries: Sequence[str] = _LIBRARIES) -> dict[str, str]:
    """Python's version and those of libraries (by default what figures depend on), as far as they are installed."""
    found = {"python": platform.python_version()}
    for library in libraries:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def revision() -> dict[str, object]:
    """The git revision of the checkout and whether it was changed since.

    A GPU machine often gets the files without their history: there settings.REVISION may say it, or nothing is known.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        # Results are written by the runs themselves: they do not make the code that was measured another one.
        return {
            "revision": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--", ".", ":!results")),
        }
    except (OSError, subprocess.SubprocessError):
        said = os.environ.get(settings.REVISION)
        return {"revision": said} if said else {}


def describe() -> dict[str, object]:
    """All of it, as it is stored beside the figures."""
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
    """GB/s that a copy reads and writes together, median of some rounds.

    Two buffers far above the last-level cache, each thread copying its own part (NumPy gives up its lock meanwhile).
    """
    count = threads()
    source = np.ones(megabytes << 18, dtype=np.float32)
    target = np.zeros_like(source)
    parts = list(zip(np.array_split(target, count), np.array_split(source, count), strict=True))
    taken = []
    with ThreadPoolExecutor(count) as pool:
        for _ in range(rounds + 1):
            begin = time.perf_counter()
            list(pool.map(lambda part: np.copyto(*part), parts))
            taken.append(time.perf_counter() - begin)
    return 2 * source.nbytes / float(np.median(taken[1:])) / 1e9


def give_back_memory() -> None:
    """Returns what the C library keeps of freed blocks, where it can: what ran before shall not help what runs next."""
    with contextlib.suppress(AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)


def peak_memory_bytes(call: Callable[[], object]) -> int | None:
    """The most memory that the process held during a call beyond what it held before; None if it cannot be told.

    Linux keeps a high-water mark of the resident set and lets a process reset it. Freed blocks are given back first,
    so that a result cannot hide in them. The result counts, and a library's scratch; whole pages of 4 KiB.
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
