"""Made-up medians of processes on a quiet machine, in seconds, for tests of comparisons."""

from __future__ import annotations

import numpy as np
from scipy import stats

# Ten medians with a noise of 1 %, evenly spread, as of ten processes on a quiet machine.
QUIET = 1e-3 * np.exp(0.01 * stats.norm.ppf((np.arange(10) + 0.5) / 10))
# The medians of another side; no two medians are equal.
AGAIN = QUIET * 1.0001
