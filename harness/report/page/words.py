"""What the report says in sentences: how to read its figures, and what each device is."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd

from harness.measuring import fingerprint

INTRODUCTION = (
    "Every figure is a ratio to something measured in the same run: a peer (on a CPU TensorFlow's crop_and_resize, on "
    "a GPU torchvision's roi_align), and the device's copy bandwidth, read and write together. Times are medians over "
    "the raw samples of all blocks, or in a run of several processes the median of their medians; the backends take "
    "turns within a block, in reverse order in every other one. A time includes the allocation of the result and "
    "excludes changes of layout.",
    "A row has a time only if its result passed the gate on that very input: a sample of the outputs against the "
    "oracle, and every output of the forward and of the image gradient against TensorFlow's, bit by bit; on a GPU, "
    "whose machine has no TensorFlow, against this project's operator on the CPU, unless atomics add it up. "
    "Beside crop_and_resize torchvision's roi_align computes another rule (an edge pixel where crop_and_resize "
    "extrapolates); it does the same amount of work and is there for scale only. It has no gradient of the boxes.",
    "This project's roi_align has torchvision's rule, and torchvision is its peer: its rows passed the oracle too. "
    "Three settings: two samples a bin and axis, as Mask R-CNN has it, an adaptive grid, and the maximum of two "
    "samples a bin and axis, which runs before 30 November 2026 lack. The detectors are torchvision's own, timed as "
    "they are and with both poolers replaced, in turns in one process.",
    "The part of the roof is compulsory bytes (each touched line of the image once, 64 bytes on a CPU and a sector of "
    "32 on a GPU, each byte of boxes, upstream gradient and output once) per second over the copy bandwidth; it can "
    "exceed 1 where the work stays in a cache.",
)
CUDA = (
    "On CUDA a time lies between two events behind a kernel that spins while the host queues the call, so that it "
    "excludes the host; the host's cost of a call is a separate figure. Before a call with a cold cache four times "
    "the second-level cache is overwritten; a hot cache is as the previous call left it. Work that memory could do "
    "in less than 10 µs is launch-bound: every backend's time is then a launch, and the other means leave it out.",
)

# Names of months that do not change with the machine's language.
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def brief(lines: pd.DataFrame, facts: dict[str, Any]) -> str:
    """One device and its run in a line: the processor, the day, the revision, and what it ran with."""
    processor = facts.get("gpu") or facts.get("cpu") or "an unknown processor"
    threads = "" if "gpu" in facts or "threads" not in facts else f", {_threads(facts)}"
    kinds = {"part": "of some workloads", "quick": "a quick look"}
    kind = kinds.get(str(lines.kind.iloc[0]), "of every workload")
    torch = facts.get("versions", {}).get("torch")
    return (
        f"{processor}{threads}; measured on {day(str(lines.run.iloc[0]))}, {kind}, at revision "
        f"{fingerprint.revision(facts)}{f', with torch {torch}' if torch else ''}"
    )


def day(run: str) -> str:
    """The day that a run's name begins with, as in "25 November 2026"; the name itself if it begins with none."""
    try:
        date = datetime.strptime(run[:8], "%Y%m%d")
    except ValueError:
        return run
    return f"{date.day} {_MONTHS[date.month - 1]} {date.year}"


def machine(lines: pd.DataFrame, facts: dict[str, Any]) -> str:
    """One device and run in a few sentences."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(facts.get("versions", {}).items()))
    bandwidth = lines.copy_gbps.dropna()
    # The same bits under the other allocator, or from another state of the cache, are not another comparison.
    once = lines.drop_duplicates(["workload", "direction", "backend", "layout", "dtype", "digest"])
    outputs, differing = int(once.compared.fillna(0).sum()), int(once.differing.fillna(0).sum())
    references = " and ".join(sorted(set(once.compared_with[once.compared.fillna(0) > 0]))) or "anything"
    revision = str(facts.get("revision", "unknown"))[:12] + (" with changes" if facts.get("dirty") else "")
    return (
        f"{_gpu(facts)}{facts.get('cpu')}, {_threads(facts)}, "
        f"{facts.get('memory_bytes', 0) / 2**30:.0f} GiB, {facts.get('system')}; {versions}; revision {revision}; "
        f"fingerprint of machine and software {fingerprint.fingerprint(facts)}. "
        f"Run {lines.run.iloc[0]} ({lines.kind.iloc[0]}); copy bandwidth {bandwidth.min():.1f} to "
        f"{bandwidth.max():.1f} GB/s. Outputs compared with {references} bit by bit: {outputs:,}, of which "
        f"{differing:,} differ."
    )


def _threads(facts: dict[str, Any]) -> str:
    return f"{facts.get('threads')} thread{'' if facts.get('threads') == 1 else 's'}"


def _gpu(facts: dict[str, Any]) -> str:
    """A GPU's own part of that, before its host's."""
    if "gpu" not in facts:
        return ""
    return (
        f"{facts['gpu']}, {facts['multiprocessors']} multiprocessors, {facts['l2_bytes'] / 2**20:.0f} MiB of "
        f"second-level cache, {facts['gpu_memory_bytes'] / 2**30:.0f} GiB, driver {facts['driver']}; two events "
        f"with nothing between them read {facts['event_pair_s'] * 1e6:.2f} µs. Its host: "
    )
