"""Synchronisation in compiled PTX: the emulator's support, and a violation of each of its rules.

The little kernels are those of the fiber executor, in little_kernels.cu beside this file, as nvcc compiles them.
"""

from __future__ import annotations

import re

import pytest

from harness.kernels import compiling
from harness.kernels.ptx.faults import Fault, UnsupportedInstruction
from suites.meta.kernels.cuda_cases import REFUSED_LAUNCHES
from suites.meta.kernels.ptx_launches import LITTLE, launch, placed
from suites.missing import skip_if_missing

with skip_if_missing():
    compiling.compiler()
    compiling.nvcc()

both_orders = pytest.mark.parametrize("backward", [False, True])


def test_warps_and_blocks_run_in_the_given_order():
    assert launch("ticket", grid=(3, 1, 1))[:192].tolist() == list(range(192))
    assert launch("ticket", grid=(3, 1, 1), backward=True)[:192].tolist() == list(range(191, -1, -1))


def test_every_thread_has_its_indices():
    assert launch("place", grid=(2, 3, 2), block=(2, 4, 3))[: 12 * 24].tolist() == list(range(12 * 24))


@both_orders
@pytest.mark.parametrize("kind", ["shfl", "up", "down", "exclusive"])
@pytest.mark.parametrize("width", [1, 2, 8, 32])
def test_shuffles_follow_their_definition(kind, width, backward):
    for amount in (0, 1, 3, 5, 8, 31):
        expected = []
        for lane in range(32):
            first = lane // width * width
            source = {
                "shfl": first + amount % width,
                "up": lane - amount if lane - amount >= first else lane,
                "down": lane + amount if lane + amount < first + width else lane,
                "exclusive": lane ^ amount if lane ^ amount < first + width else lane,
            }[kind]
            expected.append(1000 + source)
        out = launch(kind, width * 100 + amount, backward=backward)
        assert out[:64].tolist() == expected + [value + 32 for value in expected]


def test_votes_and_the_other_types_of_shuffles():
    assert launch("votes", block=(32, 1, 1))[:8].tolist() == [0b10101, 1, 0, 1, 0, 1, 1, 1]


def test_atomics_return_the_old_value():
    assert launch("atomics", block=(32, 1, 1))[:6].tolist() == [32, 32, 31, 0, 64, 96]


@both_orders
def test_accesses_race_only_without_a_barrier(backward):
    assert launch("neighbour", 1, shared=256, backward=backward)[:64].tolist() == list(range(64))
    with pytest.raises(Fault, match=r"of shared memory, which thread .* has .* between"):
        launch("neighbour", 0, shared=256, backward=backward)


RULES = {
    "some_wait": "bar.sync ({some_wait}): a divergent barrier, where warp 0 waits, but warp 1 has returned.",
    "wait_apart": "bar.sync ({wait_here}): a divergent barrier, where warp 0 waits, but warp 1 waits at {wait_there}.",
    "not_itself": "vote.sync.all.pred ({not_itself}): thread (16, 0, 0) is not among the lanes of its own mask, "
    "0x0000ffff.",
    "from_outside": "shfl.sync.idx.b32 ({from_outside}): thread (0, 0, 0) reads from lane 20, which is not in the "
    "mask.",
    "double_from_outside": "shfl.sync.idx.b32 ({double_from_outside}): thread (0, 0, 0) reads from lane 20, which is "
    "not in the mask.",
    "returned": "vote.sync.ballot.b32 ({returned}): thread (0, 0, 0) waits with the mask 0xffffffff for lane 5, which "
    "has gone another way.",
    "at_barrier": "bar.warp.sync ({warp_waits}): thread (0, 0, 0) waits with the mask 0xffffffff for lane 31, which "
    "has gone another way.",
    "other_place": "bar.warp.sync ({one_place}): thread (0, 0, 0) waits with the mask 0xffffffff for lane 31, which "
    "has gone another way.",
    "other_mask": "vote.sync.any.pred ({other_mask}): thread (0, 0, 0) has the mask 0x000000ff, and lanes beside it "
    "come along.",
    "past_the_end": "st.shared.u32 ({past_the_end}): thread (16, 0, 0) writes 4 bytes at byte 64 of shared memory, of "
    "which the block has 64.",
}


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_stops_the_kernel_with_a_message(rule):
    with pytest.raises(Fault) as fault:
        launch(rule, shared=64)
    assert str(fault.value) == f"{placed(RULES[rule], LITTLE)} In block (0, 0, 0) of {rule}."
    with pytest.raises((Fault, UnsupportedInstruction)):
        launch(rule, shared=64, backward=True)
    # And the next launch works.
    assert launch("ticket")[:64].tolist() == list(range(64))


def test_a_wait_for_a_missing_lane_is_reported():
    with pytest.raises(Fault, match=r"thread \(32, 0, 0\) waits with the mask 0xffffffff for lane 31, which does not"):
        launch("sum", block=(40, 1, 1))


def test_shuffles_of_a_part_of_a_warp_are_not_emulated():
    with pytest.raises(UnsupportedInstruction, match="where only some of a warp's lanes take part"):
        launch("turns", block=(3, 1, 1))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        *REFUSED_LAUNCHES,
        ({"shared": 227 * 1024 + 1}, "232449 bytes are asked for and 0 are allowed"),
        ({"shared": 48 * 1024 + 1}, "49153 bytes are asked for and 0 are allowed"),
    ],
)
def test_an_invalid_launch_is_refused(what, message):
    with pytest.raises(Fault, match=re.escape(message)):
        launch("nothing", **what)


def test_shared_memory_is_limited_for_each_kernel():
    launch("nothing_allowed", shared=60000, allowed=60000)
    with pytest.raises(Fault, match="60001 bytes are asked for and 60000 are allowed"):
        launch("nothing_allowed", shared=60001)
    with pytest.raises(Fault, match="0 are allowed"):
        launch("nothing", shared=60000)
