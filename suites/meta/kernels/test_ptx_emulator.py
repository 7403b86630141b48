"""The PTX emulator stops a kernel that is invalid or undefined on a GPU, with a message and a line."""

from __future__ import annotations

import numpy as np
import pytest

from harness.kernels import compiling
from harness.kernels.ptx import emulator, program, warp
from harness.kernels.ptx.code import prepare
from harness.kernels.ptx.faults import Fault, UnsupportedInstruction
from harness.kernels.ptx.library import kernel_library
from suites.meta.kernels.ptx_launches import COUNT, ELEMENTS, elements, placed
from suites.missing import skip_if_missing

with skip_if_missing():
    compiling.compiler()
    compiling.nvcc()

FAULTS = {
    "reads_beyond": "ld.global.u32 ({reads_beyond}): thread (63, 0, 0) reads 4 bytes at byte 4096 of in, which has "
    "4096, outside of every allocation.",
    "writes_before": "st.global.u32 ({writes_before}): thread (0, 0, 0) writes 4 bytes at 4 bytes before out, "
    "outside of every allocation.",
    "writes_an_input": "st.global.u32 ({writes_an_input}): thread (0, 0, 0) writes 4 bytes at byte 0 of in, "
    "which has 4096, an input.",
    "misaligned": "ld.global.v4.u32 ({misaligned}): thread (1, 0, 0) reads 16 bytes at byte 4 of in, which has 4096, "
    "an address that is no multiple of 16.",
    "reads_what_nobody_wrote": "ld.volatile.global.u32 ({unwritten}): thread (0, 0, 0) reads 4 bytes at byte 0 of out, "
    "which has 4096, where nothing has been written.",
    "half_written": "ld.volatile.global.u32 ({half}): thread (0, 0, 0) reads 4 bytes at byte 0 of out, which has 4096, "
    "where nothing has been written.",
    "divides_by_zero": "div.s32 ({zero}): thread (3, 0, 0) divides an integer by zero.",
    "between_warps": "st.volatile.shared.u32 ({written}): thread (32, 0, 0) writes byte 128 of shared memory, which "
    "thread (0, 0, 0) has read ({read}), with no barrier between.",
    "within_a_warp": "ld.volatile.shared.u32 ({read in a warp}): thread (0, 0, 0) reads byte 4 of shared memory, which "
    "thread (1, 0, 0) has written ({written in a warp}), with no barrier and no __syncwarp between.",
    "behind_its_own_barrier": "ld.volatile.shared.u32 ({read by the second}): thread (32, 0, 0) reads byte 0 of shared "
    "memory, which thread (0, 0, 0) has written ({written by the first}), with no barrier between.",
    "overwritten": "ld.volatile.shared.u32 ({read first}): thread (32, 0, 0) reads byte 4 of shared memory, which "
    "thread (1, 0, 0) has written ({overwritten}), with no barrier between.",
    "at_the_same_time": "st.volatile.shared.u32 ({same}): thread (0, 0, 0) writes byte 0 of shared memory at the same "
    "time as thread (1, 0, 0).",
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_stops_the_kernel_with_a_message(name):
    aligned = np.zeros(COUNT + 16, np.float32)
    start = -aligned.ctypes.data % 64 // 4
    values = aligned[start : start + COUNT]
    with pytest.raises(Fault) as fault:
        elements(name, np.zeros(COUNT, np.int32), values, blocks=1, threads=64, known=False)
    expected = placed(FAULTS[name], ELEMENTS)
    assert str(fault.value) == f"{expected} In block (0, 0, 0) of {name}."


BETWEEN_BLOCKS = {
    "between_blocks": "st.volatile.global.u32 ({written by two}): thread (0, 0, 0) writes 4 bytes at byte 128 of out, "
    "which has 4096, which block 0 has written in the same launch.",
    "read_by_another": "ld.volatile.global.u32 ({read of another}): thread (0, 0, 0) reads 4 bytes at byte 0 of out, "
    "which has 4096, which block 0 has written in the same launch.",
    "written_after": "st.volatile.global.u32 ({written after}): thread (0, 0, 0) writes 4 bytes at byte 0 of out, "
    "which has 4096, which block 0 has read in the same launch.",
    "written_and_added": "atom.global.add.u32 ({added to what was written}): thread (0, 0, 0) changes 4 bytes at byte "
    "0 of out, which has 4096, which block 0 has written in the same launch.",
    "added_and_read": "ld.volatile.global.u32 ({read of sums}): thread (0, 0, 0) reads 4 bytes at byte 0 of out, which "
    "has 4096, which another block has changed by an atomic operation in the same launch.",
}


@pytest.mark.parametrize("name", BETWEEN_BLOCKS)
def test_conflicting_accesses_of_two_blocks_stop_the_kernel(name):
    with pytest.raises(Fault) as fault:
        elements(name, np.zeros(COUNT, np.int32), blocks=2, threads=64)
    assert str(fault.value) == f"{placed(BETWEEN_BLOCKS[name], ELEMENTS)} In block (1, 0, 0) of {name}."


def test_an_endless_kernel_is_stopped(monkeypatch):
    monkeypatch.setattr(warp, "MOST_RUNS", 1000)
    with pytest.raises(Fault, match=placed(r"\({endless}\): thread \(0, 0, 0\) has not come to an end", ELEMENTS)):
        elements("endless", np.ones(COUNT, np.int32), blocks=1, threads=32)


def test_a_race_is_detected_in_either_order():
    for name in ("between_warps", "within_a_warp", "overwritten", "at_the_same_time"):
        with pytest.raises(Fault, match="of shared memory"):
            elements(name, np.zeros(COUNT, np.int32), np.zeros(COUNT, np.int32), blocks=1, threads=64, backward=True)


def test_an_unknown_instruction_raises_an_error():
    expected = placed(r"ex2.approx.ftz.f32 \S+, \S+ \({approximated}\) is not emulated.", ELEMENTS)
    with pytest.raises(UnsupportedInstruction, match=expected.replace("ftz.", "(ftz.)?")):
        elements("approximated", np.zeros(COUNT, np.float32), np.zeros(COUNT, np.float32))


def test_every_instruction_of_every_kernel_is_known():
    assert len(emulator.prepare_all(kernel_library())) > 50


_TEXT = """.version 9.0
.target sm_90
.entry one(
	.param .u8 one_param_0,
	.param .align 8 .b8 one_param_1[12],
	.param .u64 one_param_2
)
.maxntid 64, 2, 1
{
	.reg .b32 %r<3>;
	BODY
	ret;
}
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("add.sat.s32 %r1, %r2, 1;", r"add.sat.s32 %r1, %r2, 1 \(:0\) is not emulated with sat"),
        ("call.uni nowhere, (%r1);", "call.uni .* is not emulated"),
        ("bar.sync 1;", "bar.sync 1 .* is not emulated"),
        ("mov.u32 %r1, nowhere;", "The operand nowhere is not emulated"),
        (".local .align 4 .b8 depot[8];", r"\.local .* is not emulated"),
        ("ld.local.u32 %r1, [%r2];", "is not emulated with local"),
        ("max.f16 %r1, %r2, %r2;", "max.f16 .* is not emulated"),
        ("add.rn.bf16x2 %r1, %r2, %r2;", "add.rn.bf16x2 .* is not emulated"),
        ("setp.gt.bf16 %p1, %r1, %r2;", "setp.gt.bf16 .* is not emulated"),
    ],
)
def test_unknown_text_raises_an_error(body, message):
    with pytest.raises(UnsupportedInstruction, match=message):
        prepare(program.module(_TEXT.replace("BODY", body)).kernel("one"))


def test_parameters_are_laid_out_as_in_a_struct():
    kernel = program.module(_TEXT.replace("BODY", "")).kernel("one")
    assert dict(kernel.parameters) == {"one_param_0": (0, 1), "one_param_1": (8, 12), "one_param_2": (24, 8)}
    assert (kernel.parameter_bytes, kernel.most_threads) == (32, 128)
