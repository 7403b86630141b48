"""The CPU kernels on Arm: the drivers of `make sanitize`, cross-compiled and emulated, give this machine's bits."""

from __future__ import annotations

import shutil

import pytest

from harness.kernels.compiling import digest, kernel_sources, make, objects
from harness.sanitizing.sanitizers import BUILD, CASES, DRIVERS, examine

COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
FLAGS = ("-std=c++17", "-O1", "-march=armv8-a", "-ffp-contract=off", "-Wall")
# A few dozen: an emulated call takes a hundred times as long as one of this machine.
COUNT = 36


def arm_driver(operator):
    """A script that runs an operator's driver under the emulator."""
    for program in (COMPILER, EMULATOR):
        if shutil.which(program) is None:
            pytest.skip(f"Arm is emulated only where {COMPILER} and {EMULATOR} are; there is no {program} in PATH.")
    root = kernel_sources([], BUILD)
    kernels = [*root.glob("*/boxes.cpp"), *root.glob("**/cpu/*.cpp")]
    kept = [path for path in sorted(kernels) if path.stem not in ("isa_avx2", "isa_avx512")]
    parts = objects([DRIVERS[operator], *kept], FLAGS, [root], BUILD, program=COMPILER)
    target = BUILD / f"arm-{operator}-{digest(*(path.name for path in parts))}"
    make(target, [*FLAGS, "-static", *map(str, parts), "-pthread"], program=COMPILER)
    script = target.with_suffix(".sh")
    script.write_text(f'#!/bin/sh\nexec {EMULATOR} {target} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("operator", DRIVERS)
def test_arm_gives_this_machines_bits(operator):
    assert examine(arm_driver(operator), "portable", CASES[operator](COUNT, 1)) is None


def test_a_race_on_arm_is_seen():
    operator = "crop_and_resize"
    assert examine(arm_driver(operator), "portable", CASES[operator](COUNT, 1), race=True) is not None
