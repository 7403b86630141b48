"""The executor that replaces a GPU: its features, and a kernel that breaks each of its rules.

The little kernels are in little_kernels.cu beside this file.
"""

from __future__ import annotations

import ctypes
import functools
import re
from pathlib import Path

import numpy as np
import pytest

from harness.kernels import compiling, cuda_on_host
from suites.meta.kernels.cuda_cases import REFUSED_LAUNCHES
from suites.missing import skip_if_missing
from suites.programs import python

with skip_if_missing():
    compiling.compiler()

FORWARD, BACKWARD, RANDOM = 0, 1, 2
LITTLE = Path(__file__).with_name("little_kernels.cu")


@functools.cache
def little() -> ctypes.PyDLL:
    library = ctypes.PyDLL(str(cuda_on_host.library([LITTLE], include=LITTLE.parent)))
    library.launch.restype = ctypes.c_char_p
    return library


def launch(name, argument=0, *, grid=(1, 1, 1), block=(64, 1, 1), shared=0, allowed=0, order=FORWARD):
    """A little kernel's `out`, and the executor's message or None."""
    out = np.full(1024, -9, np.int32)
    little().set_order(order)
    dims = (ctypes.c_uint * 6)(*grid, *block)
    message = little().launch(name.encode(), dims, shared, allowed, out.ctypes.data_as(ctypes.c_void_p), argument)
    return out, message and message.decode()


def line(marker: str) -> str:
    """The line of the little kernels that a comment marks."""
    lines = LITTLE.read_text(encoding="utf-8").splitlines()
    (number,) = (number for number, text in enumerate(lines, 1) if text.endswith(f"// {marker}"))
    return f"suites/meta/kernels/little_kernels.cu:{number}"


def test_threads_and_blocks_run_in_the_given_order():
    forward, _ = launch("ticket", grid=(3, 1, 1))
    backward, _ = launch("ticket", grid=(3, 1, 1), order=BACKWARD)
    assert forward[:192].tolist() == list(range(192))
    assert backward[:192].tolist() == list(range(191, -1, -1))
    random = [launch("ticket", grid=(3, 1, 1), order=seed)[0].tolist() for seed in (RANDOM, RANDOM, RANDOM + 1)]
    assert sorted(random[0][:192]) == list(range(192))
    assert random[0] == random[1] != random[2] != forward.tolist()


def test_every_thread_has_its_indices():
    out, message = launch("place", grid=(2, 3, 2), block=(2, 4, 3))
    assert message is None
    assert out[: 12 * 24].tolist() == list(range(12 * 24))


def test_a_missing_barrier_changes_results_in_other_orders():
    right = list(range(64))
    for order in (FORWARD, BACKWARD, RANDOM):
        assert launch("neighbour", 1, shared=256, order=order)[0][:64].tolist() == right
    assert launch("neighbour", 0, shared=256, order=FORWARD)[0][:64].tolist() == right
    # Shared memory starts as bytes of 0x7F here, so all but the first read 0x7F7F7F7F and add 1.
    assert launch("neighbour", 0, shared=256, order=BACKWARD)[0][:64].tolist() == [0] + [0x7F7F7F80] * 63
    assert launch("neighbour", 0, shared=256, order=RANDOM)[0][:64].tolist() != right


@pytest.mark.parametrize("kind", ["shfl", "up", "down", "exclusive"])
@pytest.mark.parametrize("width", [1, 2, 8, 32])
def test_shuffles_follow_their_definition(kind, width):
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
        for order in (FORWARD, BACKWARD, RANDOM):
            out, message = launch(kind, width * 100 + amount, block=(64, 1, 1), order=order)
            assert message is None
            assert out[:64].tolist() == expected + [value + 32 for value in expected]


def test_votes_and_the_other_types_of_shuffles():
    out, message = launch("votes", block=(32, 1, 1))
    assert message is None
    assert out[:8].tolist() == [0b10101, 1, 0, 1, 0, 1, 1, 1]


def test_atomics_return_the_old_value():
    out, message = launch("atomics", block=(32, 1, 1))
    assert message is None
    assert out[:6].tolist() == [32, 32, 31, 0, 64, 96]


RULES = {
    "some_wait": "__syncthreads ({some_wait}): a divergent barrier, where thread (0, 0, 0) waits, "
    "but thread (32, 0, 0) has returned.",
    "wait_apart": "__syncthreads ({wait_here}): a divergent barrier, where thread (0, 0, 0) waits, "
    "but thread (32, 0, 0) waits at __syncthreads ({wait_there}).",
    "not_itself": "__all_sync ({not_itself}): the mask 0x0000ffff of thread (16, 0, 0) does not name lane 16, its own.",
    "from_outside": "__shfl_sync ({from_outside}): the mask 0x0000ffff of thread (0, 0, 0) does not name lane 20, "
    "which it reads from.",
    "returned": "__ballot_sync ({returned}): the mask 0xffffffff of thread (0, 0, 0) names lane 5, which has returned.",
    "at_barrier": "__syncwarp ({warp_waits}): the mask 0xffffffff of thread (0, 0, 0) names lane 8, which waits at "
    "__syncthreads ({block_waits}).",
    "other_place": "__syncwarp ({one_place}): the mask 0xffffffff of thread (0, 0, 0) names lane 8, which waits at "
    "__syncwarp ({other_place}) with the mask 0xffffffff.",
    "other_mask": "__any_sync ({other_mask}): the mask 0x000000ff of thread (0, 0, 0) names lane 4, which waits at "
    "__any_sync ({other_mask}) with the mask 0x00000fff.",
    "odd_width": "__shfl_xor_sync ({odd_width}): the width is a power of two up to 32, not 12.",
    "vector_in_shared": "atomicAdd ({vector_in_shared}): vectors are added in global memory, not in shared memory.",
    "past_the_end": "A thread has written past the 64 bytes of shared memory that were asked for.",
}


@pytest.mark.parametrize("order", [FORWARD, BACKWARD, RANDOM])
@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_stops_the_kernel_with_a_message(rule, order):
    expected = re.sub(r"{(\w+)}", lambda marker: line(marker[1]), RULES[rule])
    _, message = launch(rule, shared=64, order=order)
    if order == FORWARD:
        assert message.startswith(expected), message
        assert message.endswith(f"In block (0, 0, 0) of roi_align::cuda::(anonymous namespace)::{rule}(int*, int).")
    assert message, rule  # another thread may detect it first
    # And the next launch works.
    assert launch("ticket")[0][:64].tolist() == list(range(64))


def test_a_shuffle_with_a_missing_lane_is_reported():
    _, message = launch("sum", block=(40, 1, 1))
    assert "of thread (32, 0, 0) names lane 8, which does not exist." in message


def test_shuffles_with_different_masks_do_not_deadlock():
    """Lane 1 meets lane 2 first and lane 0 later: no deadlock."""
    for order in (FORWARD, BACKWARD, RANDOM):
        out, message = launch("turns", block=(3, 1, 1), order=order)
        assert message is None
        assert out[:3].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("launch_options", "reason"),
    [
        *REFUSED_LAUNCHES,
        ({"shared": 227 * 1024 + 1}, "at most 227 KiB of shared memory, not 232449 bytes"),
        ({"shared": 48 * 1024 + 1}, "49153 bytes are wanted and 0 are allowed"),
    ],
)
def test_an_invalid_launch_is_refused(launch_options, reason):
    _, message = launch("nothing", **launch_options)
    assert message.startswith("CUDA refuses to launch roi_align::cuda::(anonymous namespace)::nothing(int*, int): ")
    assert reason in message


def test_shared_memory_is_limited_for_each_kernel_in_bytes():
    block, most = (1024, 1, 1), 227 * 1024
    assert launch("nothing_allowed", block=block, shared=48 * 1024)[1] is None
    assert launch("nothing_allowed", shared=60000, allowed=60000)[1] is None
    assert "60001 bytes are wanted and 60000 are allowed" in launch("nothing_allowed", shared=60001)[1]
    assert launch("nothing_allowed", block=block, shared=most, allowed=most)[1] is None
    assert "at most 227 KiB" in launch("nothing_allowed", allowed=most + 1)[1]
    assert "0 are allowed" in launch("nothing", shared=60000)[1]


def test_shared_memory_of_fixed_size_does_not_compile(tmp_path):
    source = tmp_path / "fixed.cu"
    source.write_text("#include <cuda_runtime.h>\n__global__ void fixed() { __shared__ int here[32]; here[0] = 1; }\n")
    with pytest.raises(RuntimeError, match="visibility"):
        cuda_on_host.library([source], include=tmp_path)


def test_the_sanitizer_names_the_line_that_reads_past_shared_memory():
    library = cuda_on_host.library([LITTLE], include=LITTLE.parent, sanitize=True)
    script = f"""
import ctypes
library = ctypes.PyDLL({str(library)!r})
for name, argument in ((b"read", 15), (b"read", 16)):
    print("reading", argument, flush=True)
    library.launch(name, (ctypes.c_uint * 6)(1, 1, 1, 64, 1, 1), 64, 0, (ctypes.c_int * 1024)(), argument)
"""
    process = python("-c", script, **cuda_on_host.sanitizer_environment())
    assert process.returncode != 0
    assert process.stdout.splitlines() == ["reading 15", "reading 16"]
    assert f"SUMMARY: AddressSanitizer: use-after-poison {line('read')} in read" in process.stderr
