"""The CUDA kernels' machine code: every operation is rounded separately, and memory is accessed as the source intends.

A fused multiply-add has other bits than TensorFlow and the CPU. On a GPU a division is a subroutine of fused
operations, so the tests compare their number with the divisions' share, counted in kernels of divisions only.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.kernels.binaries import compile_cuda, disassembler
from harness.kernels.compiling import nvcc
from harness.kernels.machine_code import (
    Function,
    Instruction,
    RoundedOperations,
    arithmetic,
    functions,
    fusible_operations,
    loads_in_flight,
    narrow_steps,
    ptx,
)
from harness.kernels.ptx.library import kernel_library
from harness.kernels.resources import architectures, complete_library
from suites.missing import skip_if_missing

pytestmark = [pytest.mark.package, pytest.mark.cpu]
with skip_if_missing():
    nvcc()
    disassembler()
    LIBRARY = complete_library()

# The operations that ptxas expands into fused ones: the instruction that shows each, and an expression.
SUBROUTINES = {
    "float_division": ("FCHK", "float", "x[{0}] / x[{1}]"),
    "double_division": ("MUFU.RCP64H", "double", "x[{0}] / x[{1}]"),
    "float_root": ("MUFU.RSQ", "float", "sqrtf(x[{0}])"),
    "double_root": ("MUFU.RSQ64H", "double", "sqrt(x[{0}])"),
}
FUSED = ("FFMA", "DFMA")
PATTERNS = "sm_90"


@dataclass(frozen=True)
class Kernel:
    """A kernel's machine code, and the arithmetic of its PTX."""

    code: Function
    ptx: RoundedOperations


@pytest.fixture(scope="module")
def patterns() -> list[Function]:
    return functions(LIBRARY, PATTERNS)


def kernels(binary: Path, architecture: str) -> list[Kernel]:
    """The kernels for one architecture, with the PTX that the file has: all architectures fuse the same there."""
    operations = {each.symbol: each for text in ptx(binary) for each in arithmetic(text)}
    return [Kernel(code, operations[code.symbol]) for code in functions(binary, architecture)]


def costs(folder: Path, architecture: str) -> dict[str, list[Counter[str]]]:
    """For each subroutine, the fused operations of kernels with one and two calls of it."""
    source = folder / "subroutines.cu"
    lines = []
    for name, (_, dtype, expression) in SUBROUTINES.items():
        for count in (1, 2):
            body = " ".join(f"x[{3 * k}] = {expression.format(3 * k + 1, 3 * k + 2)};" for k in range(count))
            lines.append(f"__global__ void {name}_{count}({dtype}* x) {{ {body} }}")
    source.write_text("\n".join(lines), encoding="utf-8")
    counts = {code.kernel: counts_of(code) for code in functions(compile_cuda(source, architecture), architecture)}
    return {name: [counts[f"{name}_{count}"] for count in (1, 2)] for name in SUBROUTINES}


def counts_of(code: Function) -> Counter[str]:
    """A kernel's operations, and the instructions that show a subroutine."""
    signs = [sign for sign, *_ in SUBROUTINES.values()]
    return code.counts() + Counter(each.opcode for each in code.instructions if each.opcode in signs)


def fused_outside_of_subroutines(kernel: Kernel, cost: dict[str, list[Counter[str]]]) -> tuple[int, ...]:
    """A kernel's FFMA and DFMA that belong to no division and no root.

    A second call of a subroutine adds fewer, since the calls share the path for subnormal numbers. Divisions come
    first: that path also has the sign of a root.
    """
    rest = counts_of(kernel.code)
    rest["MUFU.RCP64H"] -= kernel.ptx.operations["rcp.approx.ftz.f64"]  # the logarithm's own
    for name, (one, two) in cost.items():
        sign = SUBROUTINES[name][0]
        if rest[sign]:
            further, odd = divmod(rest[sign] - one[sign], two[sign] - one[sign])
            assert odd == 0, f"{sign} in {kernel.code.kernel}"
            rest.subtract(one)
            rest.subtract({key: further * (two[key] - one[key]) for key in two})
    return tuple(rest[fused] for fused in FUSED)


@pytest.mark.parametrize("architecture", architectures())
def test_only_divisions_and_roots_have_fused_operations(architecture, tmp_path):
    cost = costs(tmp_path, architecture)
    assert all(one["FFMA"] + one["DFMA"] > 3 for one, _ in cost.values())
    every = kernels(LIBRARY, architecture)
    assert len(every) > 60
    for kernel in every:
        in_ptx = tuple(kernel.ptx.operations[name] for name in ("fma.rn.f32", "fma.rn.f64"))
        assert fused_outside_of_subroutines(kernel, cost) == in_ptx, kernel.code.kernel
        assert fusible_operations(kernel.ptx) == []
        # A half-precision operation without a multiplication loads constants.
        halves = [each for each in kernel.code.instructions if each.operation in ("HFMA2", "HADD2", "HMUL2")]
        assert all({"-RZ", "RZ"} <= set(each.operands) or widens(each.opcode) for each in halves), halves


def widens(opcode: str) -> bool:
    """Whether the instruction converts a half to a float: HADD2.F32 adds zero."""
    return opcode.startswith("HADD2.F32")


def test_only_the_logarithm_of_the_level_fuses_in_ptx():
    """CUDA's log2 uses fused operations; it selects the level of a pyramid for a box."""
    texts = ptx(kernel_library())
    assert sum(text.count(".entry") for text in texts) > 60
    for line in set().union(*map(lines_that_fuse, texts)):
        assert "log2(" in line


def lines_that_fuse(ptx: str) -> set[str]:
    """The lines of the sources that PTX's fused multiply-adds come from."""
    files = dict(re.findall(r'\.file\s+(\d+) "([^"]+)"', ptx))
    lines, place = set(), ("", 0)
    for each in ptx.splitlines():
        if match := re.match(r"\s*\.loc\s+(\d+) (\d+)", each):
            place = (match[1], int(match[2]))
        elif re.match(r"\s*(@!?%p\d+\s+)?fma\.", each):
            lines.add(Path(files[place[0]]).read_text(encoding="utf-8").splitlines()[place[1] - 1])
    return lines


def test_a_fused_multiply_add_is_detected(tmp_path):
    """By its number, and in PTX where its rounding is not named."""
    source = tmp_path / "planted.cu"
    # Compiled anew in each folder, since the PTX names the source's path.
    body = "x[0] = __fmaf_rn(x[1], x[2], x[3]) / x[4];"
    source.write_text(f"__global__ void planted(float* x) {{ {body} }}  // {tmp_path}")
    planted = compile_cuda(source, PATTERNS)
    (kernel,) = kernels(planted, PATTERNS)
    assert lines_that_fuse(*ptx(planted)) == {source.read_text()}
    cost = costs(tmp_path, PATTERNS)
    assert fused_outside_of_subroutines(kernel, cost) == (1, 0)
    assert fusible_operations(
        RoundedOperations("planted", Counter({"add.rn.f32": 2, "mul.f32": 1, "mul.ftz.f32": 1}))
    ) == [
        "mul.f32",
        "mul.ftz.f32",
    ]


def test_every_kernel_counts_its_units_in_64_bits(tmp_path):
    """A grid has up to 2**31 - 1 blocks, and a kernel goes on by so many units."""
    for text in ptx(LIBRARY):
        assert narrow_steps(text) == []
    source = tmp_path / "planted.cu"
    loop = "for ({0} unit = blockIdx.x; unit < count; unit += gridDim.x) x[unit] = 0;"
    source.write_text(
        "\n".join(
            f'extern "C" __global__ void {name}(float* x, {dtype} count) {{ {loop.format(dtype)} }}'
            for name, dtype in (("narrow", "unsigned"), ("wide", "long long"))
        )
    )
    assert narrow_steps(*ptx(compile_cuda(source, PATTERNS))) == ["narrow"]


def test_no_kernel_uses_local_memory(patterns):
    assert not [function.kernel for function in patterns if function.starting_with("LDL", "STL")]


def test_float32_atomics_alone_flush_subnormals(patterns):
    """As docs/operators.md says; every atomic of float32 in global memory does."""
    atomics = {each.kernel: each.starting_with("RED") for each in patterns if each.starting_with("RED")}
    assert {kernel.partition("<")[0] for kernel in atomics} == {"atomic_kernel"}
    for kernel, instructions in atomics.items():
        assert {flushes(each) for each in instructions} == {"double" not in kernel}


def flushes(atomic: Instruction) -> bool:
    """Whether an atomic takes subnormal numbers for 0."""
    return ".FTZ" in atomic.opcode


def test_no_kernel_uses_generic_addresses(patterns):
    """The compiler knows whether an access is to shared or to global memory."""
    assert not [each.kernel for each in patterns if each.counts()["LD"] + each.counts()["ST"]]


def test_innermost_channels_are_loaded_and_stored_16_bytes_at_a_time(patterns):
    """The names of kernels contain the number of channels per thread: <float, 4>, <BFloat16, 8, 0>."""
    pattern = r"(forward|atomic|grad_boxes|pixels)_kernel<\w+, [248]\b"
    vectors = [each for each in patterns if re.match(pattern, each.kernel)]
    assert {each.kernel.partition("<")[0] for each in vectors} >= {"forward_kernel", "pixels_kernel", "atomic_kernel"}
    for function in vectors:
        assert function.starting_with("LDG.E.128"), function.kernel
        if not re.match("atomic|grad_boxes", function.kernel):
            assert function.starting_with("STG.E.128"), function.kernel


# The concurrent loads of a kernel in planes, for types of up to four bytes and for doubles: 64 bytes of floats in the
# forward, the staged samples in the gather.
LOADS = {
    "forward_kernel<{}, 1>": (16, 8),
    "gather_kernel<{}, 8, 8, true>": (8, 0),
    "gather_kernel<{}, 4, 4, true>": (8, 4),
    "mean_gather_kernel<{}, 8, 8, true>": (8, 0),
    "mean_gather_kernel<{}, 4, 4, true>": (8, 4),
}


def test_planes_are_loaded_before_they_are_stored(patterns):
    of = {each.kernel: loads_in_flight(each.instructions) for each in patterns}
    for kernel, (narrow, wide) in LOADS.items():
        for dtype in ("float", "Float16", "BFloat16"):
            assert of[kernel.format(dtype)] >= narrow, kernel
        assert wide == 0 or of[kernel.format("double")] >= wide, kernel


def test_patterns_are_detected(tmp_path):
    source = tmp_path / "planted.cu"
    source.write_text("""
        __global__ void generic(float* out, const float* in, int shared) {
          extern __shared__ float memory[];
          const float* from = shared ? memory : in;
          out[threadIdx.x] = from[threadIdx.x];
        }
        __global__ void one_by_one(float* out, const float* in, int stride) {
          for (int k = 0; k < 8; ++k) out[k * stride] = in[k * stride];
        }
        __global__ void together(float* __restrict__ out, const float* __restrict__ in, int stride) {
          float kept[8];
        #pragma unroll
          for (int k = 0; k < 8; ++k) kept[k] = in[k * stride];
        #pragma unroll
          for (int k = 0; k < 8; ++k) out[k * stride] = kept[k];
        }
        __global__ void local(float* out, const int* at) {
          float kept[64];
          for (int k = 0; k < 64; ++k) kept[k] = out[k];
          for (int k = 0; k < 64; ++k) out[k] = kept[at[k] & 63];
        }
        __global__ void added(float* out) { atomicAdd(out, 1.0f); }
        __global__ void added_in_doubles(double* out) { atomicAdd(out, 1.0); }""")
    of = {each.kernel: each for each in functions(compile_cuda(source, PATTERNS), PATTERNS)}
    assert "LD" in of["generic"].counts()
    assert "LD" not in of["together"].counts()
    assert loads_in_flight(of["one_by_one"].instructions) == 1
    assert loads_in_flight(of["together"].instructions) == 8
    assert of["local"].starting_with("LDL", "STL")
    assert [flushes(each) for each in of["added"].starting_with("RED")] == [True]
    assert [flushes(each) for each in of["added_in_doubles"].starting_with("RED")] == [False]
