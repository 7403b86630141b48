"""Theoretical occupancy, with a block for each limit."""

from __future__ import annotations

import pytest

from harness.kernels.occupancy import occupancy, resident_blocks
from harness.kernels.resources import architectures


@pytest.mark.parametrize(
    ("architecture", "registers", "threads", "shared_bytes", "blocks", "share"),
    [
        # 128 registers per thread: 2 blocks of 8 warps use all 65,536.
        ("sm_90", 128, 256, 0, 2, 16 / 64),
        ("sm_89", 128, 256, 0, 2, 16 / 48),
        # 129 are allocated as 136, and two blocks do not fit.
        ("sm_90", 129, 256, 0, 1, 8 / 64),
        # 43.3 KB and 1 KB for the system: five in 228 KB, three in 164 KB, two in 100 KB.
        ("sm_90", 64, 128, 44352, 5, 20 / 64),
        ("sm_80", 64, 128, 44352, 3, 12 / 64),
        ("sm_89", 64, 128, 44352, 2, 8 / 48),
        # Limited by the number of blocks, if they are small.
        ("sm_90", 16, 32, 0, 32, 32 / 64),
        ("sm_75", 16, 32, 0, 16, 16 / 32),
        # Limited by the number of warps.
        ("sm_80", 32, 1024, 0, 2, 1.0),
        ("sm_120", 32, 1024, 0, 1, 32 / 48),
        # More shared memory than exists.
        ("sm_89", 32, 128, 100 << 10, 0, 0.0),
    ],
)
def test_blocks_and_share_of_warps(architecture, registers, threads, shared_bytes, blocks, share):
    assert resident_blocks(architecture, registers, threads, shared_bytes) == blocks
    assert occupancy(architecture, registers, threads, shared_bytes) == share


def test_every_architecture_of_the_build_is_known():
    for architecture in architectures():
        assert occupancy(architecture, 32, 256, 0) == 1.0
    with pytest.raises(ValueError, match="The limits of sm_10 are not known; those of sm_75"):
        occupancy("sm_10", 32, 256, 0)
