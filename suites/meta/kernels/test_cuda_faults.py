"""Faults in roi_align's CUDA kernels are found without a GPU: by judge and bits, in every order, under sanitizers."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from harness.backends.cuda_on_host import make_roi_align
from harness.kernels import compiling, cuda_on_host
from harness.kernels.compiling import ROOT, Change
from harness.kernels.cuda_on_host import kernel_library
from harness.operators.arrays import DIRECTIONS, Direction, differing
from harness.operators.roi_align.case import RoiCase
from harness.repository import MissingLibrary
from suites.meta.kernels.cuda_cases import BUILDS, LARGE, ONE_BLOCK, ORDERS, PLAIN, SMALL_CHUNKS, cpu, drawn

try:
    compiling.compiler()
except MissingLibrary as missing:
    pytest.skip(str(missing), allow_module_level=True)

_RUN = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from harness.backends.cuda_on_host import make_roi_align
from harness.operators.arrays import DIRECTIONS
from harness.operators.roi_align.case import RoiCase
backend = make_roi_align("changed", library=lambda: Path(sys.argv[1]))
for line in sys.stdin:
    inputs = RoiCase.parse(line).inputs()
    nowhere = inputs.boxes.copy()
    nowhere[:, 0] = np.resize([-1, inputs.image.shape[0], 0.5, np.nan], len(nowhere))
    for direction in DIRECTIONS:
        backend.run(inputs, direction)
        backend.run(replace(inputs, boxes=nowhere), direction)
"""


def sanitized(*changes: Change, cases: Sequence[RoiCase] = ()) -> subprocess.CompletedProcess[str]:
    """Runs cases under the sanitizers, each again with indices of no image, which must not be followed."""
    environment = {**os.environ, **cuda_on_host.sanitizer_environment(), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", _RUN, str(kernel_library(*changes, sanitize=True))],
        input="\n".join(map(repr, cases or (*drawn(40), *LARGE.values()))),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("build", ["as they are", "small chunks", "taps in scratch"])
def test_the_sanitizers_find_nothing(build):
    done = sanitized(*BUILDS[build], cases=() if build == "as they are" else drawn(40))
    assert done.returncode == 0, done.stderr


PLANES, PIXELS = "roi_align/cuda/forward_planes.cu", "roi_align/cuda/forward_pixels.cu"
MEAN, SLOPES = "roi_align/cuda/grad_image_gather.cu", "roi_align/cuda/grad_boxes.cu"
_BARRIER = "__syncthreads();"


def without_barrier(file: str, before: str, after: str = "") -> Change:
    """The sources without the barrier that stands between these texts."""
    return Change(file, before + _BARRIER + after, before + after)


_FOLLOWED = Change("roi_align/cuda/box.h", "image < images ?", "image <= images ?")
_ONE_ROW_MORE = Change(MEAN, "row < rows; ++row) {\n    const T*", "row <= rows; ++row) {\n    const T*")


@pytest.mark.parametrize("change", [_FOLLOWED, _ONE_ROW_MORE], ids=["index followed", "one row too many"])
def test_the_sanitizer_finds_a_stray_access(change):
    done = sanitized(change, cases=drawn(40))
    assert re.search(r"SUMMARY: AddressSanitizer: \S+ .*\w+\.(cu|h):\d+ in ", done.stderr), done.stderr


_JUDGE = """
import sys
from pathlib import Path
from harness.backends.cuda_on_host import make_roi_align
from harness.operators.roi_align.case import RoiCase
from harness.operators.roi_align.judge import judge
from harness.judging.trial import run
backend = make_roi_align("changed", library=lambda: Path(sys.argv[1]), order=int(sys.argv[2]))
for line in sys.stdin:
    inputs = RoiCase.parse(line).inputs()
    verdict = judge(inputs, sys.argv[3], run(backend, inputs, sys.argv[3]), pinned=True)
    if not verdict.passed:
        sys.exit(str(verdict))
"""


def found(direction: Direction, order: str, *changes: Change) -> str:
    """What the judge says of changed sources, "" if they pass, in a process that they may end."""
    done = subprocess.run(
        [sys.executable, "-c", _JUDGE, str(kernel_library(*changes)), str(ORDERS[order]), direction],
        input="\n".join(map(repr, (*PLAIN, *drawn(60)))),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr or f"It ended with {done.returncode}."


BARRIERS: dict[str, tuple[Direction, Change]] = {
    "taps are made before they are read": (
        "forward",
        without_barrier("roi_align/cuda/bins.h", "is_y ? &tables.y : &tables.x);\n  }\n  "),
    ),
    "rows are weighed before columns": ("forward", without_barrier(PLANES, "rows, weighed);\n            ")),
    "a box is read before it is pooled": ("grad_boxes", without_barrier(SLOPES, "part.row);\n    ")),
    "weights are made before they are used": (
        "grad_image",
        without_barrier(MEAN, "      return 0;\n    });\n  }\n  "),
    ),
}


def test_sources_as_they_are_are_found_nothing_in():
    assert not any(found(direction, order) for direction in DIRECTIONS for order in ORDERS)


@pytest.mark.parametrize(("direction", "change"), BARRIERS.values(), ids=BARRIERS)
def test_a_missing_barrier_is_found(direction, change):
    """In one order or another: a thread has to be ahead of the one that it depends on."""
    assert any(found(direction, order, change) for order in ORDERS)


# Barriers that only the next piece of work needs: a warp has to be that far ahead.
LATER_BARRIERS: dict[str, Change] = {
    "what was weighed is written before more is": without_barrier(
        PLANES, "            ", "  // what was weighed before has been written\n"
    ),
    "a box is pooled before the next is read": without_barrier(
        "roi_align/cuda/forward.h", "  ", "\n  if (threadIdx.x == 0) tables.box"
    ),
}


@pytest.mark.parametrize("change", LATER_BARRIERS.values(), ids=LATER_BARRIERS)
def test_a_missing_barrier_is_found_though_only_the_next_piece_of_work_needs_it(change):
    assert any(found("forward", order, change, ONE_BLOCK, *SMALL_CHUNKS[:2]) for order in ORDERS)


WRONG: dict[str, tuple[Direction, Change]] = {
    "a tap too many": ("grad_boxes", Change(SLOPES, "tap < end; ++tap) sum +=", "tap <= end; ++tap) sum +=")),
    "a weight on the wrong pixel": (
        "grad_image",
        Change(MEAN, "weights[high] += tap.weight", "weights[low] += tap.weight"),
    ),
    "the last box of a batch left out": (
        "grad_image",
        Change(
            MEAN, "which < count; ++which) {\n              const", "which + 1 < count; ++which) {\n              const"
        ),
    ),
    "an edge's slope twice": (
        "grad_boxes",
        Change(SLOPES, "second += slope->second * here", "second += slope->first * here"),
    ),
    "written outside of the result": (
        "grad_image",
        Change(MEAN, "base[lane + y * map.stride[2]", "base[lane - 8 + y * map.stride[2]"),
    ),
}


@pytest.mark.parametrize(("direction", "change"), WRONG.values(), ids=WRONG)
def test_a_wrong_kernel_is_found(direction, change):
    assert found(direction, "forward", change)


_TAP = "tap.weight * line[columns.column(k, tap.at)];"
OTHER_BITS = {
    "another rounding": Change(PLANES, _TAP, "line[columns.column(k, tap.at)] / (1 / tap.weight);"),
    "another weight": Change("roi_align/taps.h", "(k)].weight /= samples", "(k)].weight *= Acc(1) / samples"),
    "another zero": Change(PIXELS, "sums.lane[c] = tap == begin ? product :", "sums.lane[c] ="),
}


@pytest.mark.parametrize("change", OTHER_BITS.values(), ids=OTHER_BITS)
def test_other_bits_are_found(change):
    """Each is within the oracle's bound: only the comparison of bits tells it from the CPU."""
    other = make_roi_align("other", library=functools.partial(kernel_library, change))
    usual = [case.inputs() for case in PLAIN]
    zeros = [replace(inputs, input=-0.0 * np.abs(inputs.image)) for inputs in usual]
    both = [(other.run(inputs, "forward"), cpu().run(inputs, "forward")) for inputs in (*usual, *zeros)]
    assert any(differing(got, wanted).any() for got, wanted in both)
