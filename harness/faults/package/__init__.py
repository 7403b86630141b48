"""Every fault that is planted in the package itself.

Each is one keystroke or one plausible shortcut away from the code as it is, and changes what a documented call gives.
What would change nothing is left out: that `deterministic` is ignored, say, which on the CPU asks for nothing; or that
a gradient comes in another dtype, which autograd itself sets right.
"""

from __future__ import annotations

from harness.faults.package import crop_and_resize as crop_and_resize_faults
from harness.faults.package import python as python_faults
from harness.faults.package import roi_align as roi_align_faults

FAULTS = (*crop_and_resize_faults.FAULTS, *roi_align_faults.FAULTS, *python_faults.FAULTS)
