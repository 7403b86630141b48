"""Timing a call on the CPU, and the time budget on any device; CUDA's clock is in cuda.py.

The timed part is one call on prepared inputs, including the allocation of its result, because a caller waits for both.
Not timed are copies and layout changes (a backend's `prepare`), the first calls, and freeing a result, which happens
before the next call for every backend. The clock is `time.perf_counter`, pytest-benchmark's default. The garbage
collector is off, and before a row's first call the heap returns the memory freed by earlier rows; otherwise the default
allocator's times would depend on the rows before.

The number of samples is decided from the warm-up alone, never from the samples: stopping once times look steady would
select lucky runs. Each row stores which bound of its budget applied. `bench --processes` measures what more samples of
one process cannot show: the spread between processes. docs/measuring.md has the whole protocol.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

StopReason = Literal["seconds", "least", "most"]


@dataclass(frozen=True)
class Budget:
    """The budget of one row in one block: seconds of calls, and bounds on the number of timed rounds."""

    seconds: float
    least: int
    most: int

    def rounds(self, seconds_per_call: float) -> Rounds:
        """The number of timed rounds for a call of this length."""
        count = int(self.seconds / max(seconds_per_call, 1e-7))
        if count < self.least:
            return Rounds(self.least, "least")
        return Rounds(self.most, "most") if count > self.most else Rounds(count, "seconds")


@dataclass(frozen=True)
class Rounds:
    """The number of timed calls, and the bound that decided it.

    stopped  "seconds": the budget's seconds decide; "most": the upper bound on calls, with seconds to spare; "least":
             the lower bound, which exceeds the budget's seconds.
    """

    count: int
    stopped: StopReason


# A row of half a millisecond gets thirty samples per block, one of a second gets two; ratios need slow peers too.
FULL = Budget(seconds=0.3, least=2, most=30)
QUICK = Budget(seconds=0.1, least=2, most=15)
# Each process of a comparison gives one median, which should cover more than a few milliseconds.
PROCESS = Budget(seconds=0.25, least=3, most=300)
# A GPU's calls are shorter and steadier, and each round adds a cache flush and a spin.
FULL_CUDA = Budget(seconds=0.05, least=5, most=40)
QUICK_CUDA = Budget(seconds=0.02, least=5, most=15)
# A call of this length needs no further warm-up: the judged call has loaded its code and data.
LONG = 0.1


def warm_up(call: Callable[[], Any], calls: int = 3) -> float:
    """Seconds of a warm call, the minimum over some calls; a long call runs only once."""
    seconds = []
    for _ in range(calls):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
        if seconds[0] > LONG / 5:
            break
    return min(seconds)


def interruptions() -> int:
    """The number of involuntary context switches of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
