"""The CPU kernels on Arm: the drivers of `make sanitize`, cross-compiled and emulated, give this machine's bits."""

from __future__ import annotations

import shutil

import pytest

from harness.kernels.compiling import digest, kernel_sources, make, objects
from harness.sanitizing.sanitizers import BUILD, CASES, DRIVERS, examine

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
FLAGS = ("-std=c++17", "-march=armv8-a", "-Wall")
RIGHT = ("-O1", "-ffp-contract=off")
# GCC makes a product and a sum a fused multiply-add from -O2 on, if it may.
FUSED = ("-O2", "-ffp-contract=fast")
# A few dozen: an emulated call takes a hundred times as long as one of this machine.
COUNT = 36


def arm_driver(operator, rounding=RIGHT):
    """A script that runs an operator's driver under the emulator."""
    flags = [*FLAGS, *rounding]
    for program in (COMPILER, EMULATOR):
        if shutil.which(program) is None:
            pytest.skip(f"Arm is emulated only where {COMPILER} and {EMULATOR} are; there is no {program} in PATH.")
    root = kernel_sources([], BUILD)
    kernels = [*root.glob("*/boxes.cpp"), *root.glob("**/cpu/*.cpp")]
    others = [path for path in sorted(kernels) if path.stem not in ("isa_avx2", "isa_avx512")]
    parts = objects([DRIVERS[operator], *others], flags, [root], BUILD, program=COMPILER)
    target = BUILD / f"arm-{operator}-{digest(*(path.name for path in parts))}"
    make(target, [*flags, "-static", *map(str, parts), "-pthread"], program=COMPILER)
    script = target.with_suffix(".sh")
    script.write_text(f'#!/bin/sh\nexec {EMULATOR} {target} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("operator", DRIVERS)
def test_arm_gives_this_machines_bits(operator):
    assert examine(arm_driver(operator), "portable", CASES[operator](COUNT, 1)) is None


def test_a_fused_multiply_add_on_arm_is_detected():
    operator = "crop_and_resize"
    finding = examine(arm_driver(operator, FUSED), "portable", CASES[operator](COUNT, 1))
    assert "not the operator's" in str(finding)


def test_a_race_on_arm_is_detected():
    operator = "crop_and_resize"
    assert examine(arm_driver(operator), "portable", CASES[operator](COUNT, 1), race=True) is not None
