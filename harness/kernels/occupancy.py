"""Theoretical occupancy: how many warps of a kernel a multiprocessor can hold, from the resources of its blocks.

A GPU hides the latency of loads behind other warps. A kernel's registers and shared memory determine how many there can
be, and are known without a GPU. The limits are from the CUDA C++ Programming Guide ("Technical Specifications per
Compute Capability"); the allocation units are those of the occupancy calculator.
"""

from __future__ import annotations

from dataclasses import dataclass

_WARP = 32
# The units in which registers are allocated to warps, and shared memory to blocks.
_REGISTER_UNIT, _SHARED_UNIT = 256, 128


@dataclass(frozen=True)
class Limits:
    """The limits of a multiprocessor: resident warps and blocks, registers, bytes of shared memory, and the bytes that
    the system reserves in every block."""

    warps: int
    blocks: int
    shared_bytes: int
    reserved_bytes: int = 1024
    registers: int = 65536


LIMITS = {
    "sm_75": Limits(warps=32, blocks=16, shared_bytes=64 << 10, reserved_bytes=0),
    "sm_80": Limits(warps=64, blocks=32, shared_bytes=164 << 10),
    "sm_86": Limits(warps=48, blocks=16, shared_bytes=100 << 10),
    "sm_89": Limits(warps=48, blocks=24, shared_bytes=100 << 10),
    "sm_90": Limits(warps=64, blocks=32, shared_bytes=228 << 10),
    "sm_100": Limits(warps=64, blocks=32, shared_bytes=228 << 10),
    "sm_120": Limits(warps=48, blocks=24, shared_bytes=100 << 10),
}


def resident_blocks(architecture: str, registers: int, threads: int, shared_bytes: int) -> int:
    """The blocks of a kernel that one multiprocessor holds.

    registers     per thread.
    threads       per block.
    shared_bytes  per block, fixed and dynamic.
    ValueError if the limits of the architecture are not known.
    """
    if architecture not in LIMITS:
        raise ValueError(f"The limits of {architecture} are not known; those of {', '.join(LIMITS)} are.")
    limits = LIMITS[architecture]
    warps = _units(threads, _WARP)
    of_a_warp = _units(registers * _WARP, _REGISTER_UNIT) * _REGISTER_UNIT
    shared_units = _units(shared_bytes + limits.reserved_bytes, _SHARED_UNIT) * _SHARED_UNIT
    by_registers = limits.registers // of_a_warp // warps
    by_shared = limits.shared_bytes // shared_units if shared_units else limits.blocks
    return min(limits.warps // warps, limits.blocks, by_registers, by_shared)


def occupancy(architecture: str, registers: int, threads: int, shared_bytes: int) -> float:
    """The share of a multiprocessor's warps that a kernel can fill, from 0 to 1; parameters as in resident_blocks."""
    blocks = resident_blocks(architecture, registers, threads, shared_bytes)
    return blocks * _units(threads, _WARP) / LIMITS[architecture].warps


def _units(count: int, unit: int) -> int:
    return -(-count // unit)
