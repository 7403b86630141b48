"""The CPU kernels under the sanitizers: no race, no stray access, no undefined behaviour, on any number of threads.

A few of the cases of `make sanitize`, on the portable instruction set; and faults planted in the kernels' sources,
which the sanitizers must find.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from harness.kernels.compiling import Change, compiler
from harness.sanitizing import sanitizers
from harness.sanitizing.sanitizers import CASES, SANITIZERS, SanitizerReport, examine
from suites.missing import skip_if_missing

KERNELS = "portable"

pytestmark = [pytest.mark.package, pytest.mark.cpu]

with skip_if_missing():
    compiler()


@functools.cache
def random_cases(operator: str):
    return CASES[operator](40, 0)


def driver(operator: str, sanitizer: str, *changes: Change) -> Path:
    with skip_if_missing():
        return sanitizers.driver(operator, sanitizer, KERNELS, *changes)


def report(operator: str, sanitizer: str, *changes: Change, race: bool = False) -> str:
    """The report on kernels with a fault."""
    finding = examine(driver(operator, sanitizer, *changes), KERNELS, random_cases(operator), race=race)
    assert isinstance(finding, SanitizerReport)
    return str(finding)


each_operator = pytest.mark.parametrize("operator", CASES)


@each_operator
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_the_kernels_are_clean(operator, sanitizer):
    assert examine(driver(operator, sanitizer), KERNELS, random_cases(operator)) is None


@each_operator
def test_the_sanitizer_finds_a_race(operator):
    """Every unit of work runs on several threads at once."""
    message = report(operator, "thread", race=True)
    assert "WARNING: ThreadSanitizer: data race" in message
    assert "\nat: " in message


def test_the_sanitizer_finds_a_read_behind_a_map():
    pixel = "planes[c * plane_stride + {} * pixel_stride]"
    here, next_one = pixel.format("i"), pixel.format("(i + 1)")
    change = Change("roi_align/cpu/pixels.inl", f"{here} : T(0)", f"{here} + 0 * {next_one} : T(0)")
    message = report("roi_align", "address", change)
    assert "ERROR: AddressSanitizer: heap-buffer-overflow" in message
    assert re.search(r"roi_align/cpu/pixels\.inl:\d+", message)
    assert "\nat: Pyramid(case=RoiCase(" in message


def test_the_sanitizer_finds_a_cast_out_of_range():
    """The faulty test compares the integer, as many kernels do."""
    test, integer = "!inside(axis.position(begin), length)", "static_cast<int64_t>(axis.position(begin)) < 0"
    change = Change("crop_and_resize/cpu/tables.cpp", f"begin < crop && {test}", f"begin < crop && {integer}")
    message = report("crop_and_resize", "address", change)
    assert "is outside the range of representable values of type 'long int'" in message


def test_the_driver_finds_a_result_that_depends_on_the_threads():
    """The fault omits a unit of work if there are more units than one thread takes."""
    change = Change("crop_and_resize/cpu/plan.cpp", "outer * blocks * parts,", "outer * blocks * parts - (parts > 4),")
    assert "threads give other bits than one" in report("crop_and_resize", "address", change)


def test_the_driver_finds_a_wrong_result():
    """The fault has the same bits on any number of threads, and triggers no sanitizer."""
    change = Change("crop_and_resize/cpu/finish_grad_boxes.cpp", "double sum = 0;", "double sum = 1;")
    assert report("crop_and_resize", "address", change).startswith("grad_boxes: ")
