"""How a call is timed on the CPU, and for how long on any device. How CUDA's clock works stands in cuda.py.

Inside the timed part: one call on prepared inputs, and the allocation of its result, because that is what a caller
waits for. Outside it: copies and changes of layout (a backend's `prepare`), the first calls, and freeing a result,
which happens before the next call, for every backend alike. The clock is `time.perf_counter`, pytest-benchmark's own
default; the collector rests meanwhile, and before a row's first call the heap gives back what earlier rows freed, or
the default allocator's times would hang on who came before.

When to stop is decided from the warm-up alone, never from the samples: who stops as soon as times look steady keeps the
lucky ones. Each row stores which of its budget's bounds it was. What more samples of one process cannot tell, how far
processes are apart, `bench --processes` does. docs/measuring.md has the whole protocol.
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
    """How long one row may take in one block: seconds of calls, and bounds on the number of timed rounds."""

    seconds: float
    least: int
    most: int

    def rounds(self, seconds_per_call: float) -> Rounds:
        """Timed rounds for a call of this length."""
        count = int(self.seconds / max(seconds_per_call, 1e-7))
        if count < self.least:
            return Rounds(self.least, "least")
        return Rounds(self.most, "most") if count > self.most else Rounds(count, "seconds")


@dataclass(frozen=True)
class Rounds:
    """How often a call is timed, and why no oftener.

    stopped  "seconds": the budget's seconds are used up; "most": that many calls are enough, and seconds were left;
             "least": so few calls take more than the budget's seconds already.
    """

    count: int
    stopped: StopReason


# A row of half a millisecond gets thirty samples a block, one of a second two: a slow peer's stand for a ratio too.
FULL = Budget(seconds=0.3, least=2, most=30)
QUICK = Budget(seconds=0.1, least=2, most=15)
# One of the many processes of a comparison is worth one median: it shall not be that of a few milliseconds.
PROCESS = Budget(seconds=0.25, least=3, most=300)
# A GPU's calls are shorter and steadier, and each round costs a flush of the cache and a spin besides.
FULL_CUDA = Budget(seconds=0.05, least=5, most=40)
QUICK_CUDA = Budget(seconds=0.02, least=5, most=15)
# A call as long as this brings its data and its code with it: the one that was judged has warmed it up.
LONG = 0.1


def warm_up(call: Callable[[], Any], calls: int = 3) -> float:
    """Seconds that a call takes once warm, the least of some calls; a long one is made once only."""
    seconds = []
    for _ in range(calls):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
        if seconds[0] > LONG / 5:
            break
    return min(seconds)


def interruptions() -> int:
    """How often the system has taken a core from this process so far, to give it to other work."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
