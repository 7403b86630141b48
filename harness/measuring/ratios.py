"""The speed of each row relative to its peer, printed at the end of a plain run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from statistics import geometric_mean

import numpy as np

from harness.measuring.devices import Device
from harness.measuring.record import Record
from harness.measuring.results import PEERS


def table(records: Iterable[Record], device: Device) -> Iterator[str]:
    """A line for each row with a peer, per workload and as the geometric mean of a setting."""
    seconds: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in records:
        # A device with one cache state need not name it.
        setting = ", ".join(word for word in (row.setting, row.cache if len(device.caches) > 1 else "") if word)
        work = (row.bench, row.workload, setting, row.direction, row.dtype)
        key = (*work, row.backend, row.layout)
        seconds[key] += row.samples
    ratios: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for (bench, workload, setting, direction, dtype, backend, layout), own in seconds.items():
        peer = PEERS.get((bench, device.type))
        same = [s for key, s in seconds.items() if key[:6] == (bench, workload, setting, direction, dtype, peer) and s]
        if not same or not own or backend == peer:
            continue
        column = " ".join([backend, layout, *([dtype] if dtype != "float32" else [])])
        ratio = float(np.median(same[0]) / np.median(own))
        ratios[bench, setting, direction, column].append(ratio)
        work_name = f"{bench} {', '.join(word for word in (workload, setting) if word)}"
        yield f"{work_name:50} {direction:11} {column:30} {np.median(own) * 1e3:9.2f} ms {ratio:7.1f}x"
    for (bench, setting, direction, column), each in ratios.items():
        mean, span = geometric_mean(each), f"({min(each):.1f}, {max(each):.1f})"
        name = ", ".join(word for word in ("geometric mean", setting) if word)
        yield f"{f'{bench} {name}':50} {direction:11} {column:30} {mean:20.1f}x {span}"
