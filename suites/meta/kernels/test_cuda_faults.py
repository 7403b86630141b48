"""Faults in the CUDA kernels are detected without a GPU: by the judge and by bits, in every order, and by the
sanitizers."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from harness.kernels import compiling, cuda_on_host
from harness.kernels.compiling import Change
from harness.kernels.cuda_on_host import kernel_library
from harness.operators import AnyCase
from harness.operators.arrays import DIRECTIONS, Direction, differing
from harness.operators.sheet import OperatorName
from suites.meta.kernels import cuda_cases
from suites.meta.kernels.cuda_cases import FEW_BLOCKS, ONE_BLOCK, ORDERS, SMALL_CHUNKS
from suites.missing import skip_if_missing
from suites.programs import python

with skip_if_missing():
    compiling.compiler()

_RUN = """
import sys
from pathlib import Path
import numpy as np
from harness.operators import operator_of, parse
from suites.meta.kernels.cuda_cases import INDICES, kernels
for line in sys.stdin:
    case = parse(line)
    operator = operator_of(case).name
    for nowhere in (False, True):
        inputs = case.inputs()
        if nowhere:
            indices = INDICES[operator](inputs)
            bad = [-1, case.shape[0]] + [0.5, np.nan] * (indices.dtype.kind == "f")
            indices[:] = np.resize(bad, len(indices))
        for backend, direction in kernels(operator, library=lambda: Path(sys.argv[1])):
            backend.run(inputs, direction)
"""


def sanitized(*changes: Change, cases: Iterable[AnyCase]) -> subprocess.CompletedProcess[str]:
    """Runs cases under the sanitizers, each also with indices of no image, which must not be dereferenced."""
    library = str(kernel_library(*changes, sanitize=True))
    text = "\n".join(map(repr, cases))
    return python("-c", _RUN, library, text=text, **cuda_on_host.sanitizer_environment())


SANITIZED = [("crop_and_resize", build) for build in ("as they are", "large tiles")]
SANITIZED += [("roi_align", build) for build in ("as they are", "small chunks", "taps in scratch")]


@pytest.mark.parametrize(("operator", "build"), SANITIZED)
def test_the_sanitizers_find_nothing(operator, build):
    large = () if cuda_cases.BUILDS[operator][build] else cuda_cases.LARGE[operator].values()
    process = sanitized(*cuda_cases.BUILDS[operator][build], cases=(*cuda_cases.draw_cases(operator, 40), *large))
    assert process.returncode == 0, process.stderr


PLANES, PIXELS = "roi_align/cuda/forward_planes.cu", "roi_align/cuda/forward_pixels.cu"
GATHER, REACH, TILE = (f"crop_and_resize/cuda/{name}" for name in ("grad_image_gather.cu", "reach.h", "tile.h"))
WARP = "roi_align/cuda/forward_planes_warp.cu"
MEAN, SLOPES = "roi_align/cuda/grad_image_gather.cu", "roi_align/cuda/grad_boxes.cu"
STRAY = {
    "a channel too many": (
        "crop_and_resize", r"heap-buffer-overflow .*cuda/",
        Change("crop_and_resize/cuda/grad_boxes.cu", "c < channels; c += step", "c <= channels; c += step")),
    "index followed": ("roi_align", r"\S+ .*", Change("roi_align/cuda/box.h", "image < images ?", "image <= images ?")),
    "one row too many": (
        "roi_align", r"\S+ .*",
        Change(MEAN, "count = weights.rows * columns", "count = (weights.rows + 1) * columns")),
}  # fmt: skip


@pytest.mark.parametrize(("operator", "kind", "change"), STRAY.values(), ids=STRAY)
def test_the_sanitizer_finds_a_stray_access(operator, kind, change):
    process = sanitized(change, cases=cuda_cases.draw_cases(operator, 40))
    assert re.search(rf"SUMMARY: AddressSanitizer: {kind}\w[\w-]*\.(cu|h|so)\S+ in ", process.stderr), process.stderr


_JUDGE = """
import re, sys
from pathlib import Path
from harness.judging.trial import run
from harness.operators import operator_of, parse
from harness.operators.judgement import judge
from suites.meta.kernels.cuda_cases import MAKE
library, order, direction, words = sys.argv[1:]
for line in sys.stdin:
    case = parse(line)
    backend = MAKE[operator_of(case).name](library=lambda: Path(library), order=int(order))
    verdict = judge(case.inputs(), direction, run(backend, case.inputs(), direction), pinned=True)
    if not verdict.passed and re.search(words, str(verdict)):
        sys.exit(str(verdict))
"""


def finding(operator: OperatorName, direction: Direction, order: str, *changes: Change, words: str = "") -> str:
    """The judge's message on the changed sources if it matches these words, else ""; they may crash its process."""
    arguments = (str(kernel_library(*changes)), str(ORDERS[order]), direction, words)
    text = "\n".join(map(repr, (*cuda_cases.PLAIN[operator], *cuda_cases.draw_cases(operator, 60))))
    process = python("-c", _JUDGE, *arguments, text=text)
    return "" if process.returncode == 0 else process.stderr or f"It ended with {process.returncode}."


def without_barrier(file: str, before: str, after: str = "", barrier: str = "__syncthreads();") -> Change:
    """The sources without the barrier between these texts."""
    return Change(file, before + barrier + after, before + after)


without_warp_barrier = functools.partial(without_barrier, barrier="__syncwarp();")


def fault(operator, direction, *changes: Change, orders: tuple[str, ...] = tuple(ORDERS), words: str = ""):
    """Changed sources, the direction and the orders of threads, one of which shows the fault, and the message."""
    return operator, direction, changes, orders, words


CROPS, ROIS = functools.partial(fault, "crop_and_resize"), functools.partial(fault, "roi_align")
_FIRST = without_barrier("cuda/warp.h", "edges;\n  ")
# If only the next unit of work needs a barrier, a warp must be one unit ahead.
_LITTLE_AT_ONCE = (ONE_BLOCK, *SMALL_CHUNKS[:3])
_FORWARD = {"orders": ("forward",)}
FAULTS = {
    **{f"an edge is read before it is written, {of}": CROPS("grad_boxes", _FIRST, orders=(of,)) for of in ORDERS},
    "an edge is written before the last one is read": CROPS(
        "grad_boxes", without_barrier("cuda/warp.h", "  ", "\n  return sum;"), FEW_BLOCKS, orders=("backward",)),
    "a shuffle with the wrong mask": CROPS(
        "grad_boxes", Change("cuda/warp.h", "+= __shfl_xor_sync(kAllLanes,", "+= __shfl_xor_sync(0x0000ffffu,"),
        **_FORWARD, words=r"__shfl_xor_sync \(.*warp.h:\d+\): the mask 0x0000ffff of thread .* does not name"),
    "written outside of the crops": CROPS(
        "forward", Change("crop_and_resize/cuda/forward.cu", "store(at.crop, method", "store(at.crop - 8, method"),
        **_FORWARD, words="forward has written outside of its result."),
    "boxes are taken before they are listed": CROPS(
        "grad_image", without_barrier(GATHER, "shared.listed);\n        ")),
    "samples are added before they are made": CROPS(
        "grad_image", without_barrier(GATHER, "          ", "  // the samples are all there")),
    "samples are made before the last are added": CROPS(
        "grad_image", without_barrier(GATHER, "          ", "  // the samples before these")),
    "the next tile is taken before the last is written": CROPS(
        "grad_image", without_barrier(GATHER, "    ", "  // the place may still be read"), FEW_BLOCKS),
    "a column too few": CROPS(
        "grad_image", Change(REACH, "end < length ? end : length", "end < length ? end - 1 : length"),
        **_FORWARD),
    "a sample on the wrong pixel": CROPS(
        "grad_image", Change(TILE, "upper & 0xffff) += top_left", "upper & 0xffff) += top_right"),
        **_FORWARD),
    "a box of the wrong image": CROPS(
        "grad_image", Change("cuda/bits.h", "image == column - bits.columns", "image >= column - bits.columns"),
        **_FORWARD),
    "taps are read before they are made": ROIS(
        "forward", without_barrier("roi_align/cuda/bins.h", "is_y ? &tables.y : &tables.x);\n  }\n  ")),
    "columns are weighed before rows": ROIS("forward", without_barrier(PLANES, "rows, weighed);\n            ")),
    "columns are read before a warp has made them": ROIS(
        "forward", without_warp_barrier(WARP, "at < 0 ? 0 : at);\n  }\n  ")),
    "columns are weighed before a warp has weighed rows": ROIS(
        "forward", without_warp_barrier(WARP, "stride, first, rows);\n        ")),
    "more is weighed before a warp has written the last": ROIS(
        "forward", without_warp_barrier(WARP, "rows, height, width);\n        ")),
    "rows beyond the map left as they are": ROIS(
        "forward", Change(WARP, "row < box.begin || row >= box.end", "row < box.begin"), **_FORWARD),
    "a box is pooled before it is read": ROIS("grad_boxes", without_barrier(SLOPES, "part.row);\n    ")),
    "weights are used before they are made": ROIS(
        "grad_image", without_barrier(MEAN, "        return 0;\n      });\n    }\n  }\n  ")),
    "more is weighed before the last is written": ROIS(
        "forward", without_barrier(PLANES, "            ", "  // the previous bins have been written\n"),
        *_LITTLE_AT_ONCE),
    "the next box is read before the last is pooled": ROIS(
        "forward", without_barrier("roi_align/cuda/forward.h", "  ", "\n  if (threadIdx.x == 0) tables.box"),
        *_LITTLE_AT_ONCE),
    "a tap too many": ROIS("grad_boxes", Change(SLOPES, "tap < end; ++tap) sum", "tap <= end; ++tap) sum"), **_FORWARD),
    "a weight on the wrong pixel": ROIS(
        "grad_image", Change(MEAN, "weights[high] += tap.weight", "weights[low] += tap.weight"), **_FORWARD),
    "the last box of a batch left out": ROIS(
        "grad_image", Change(MEAN, "which < count; ++which) {\n              add",
                             "which + 1 < count; ++which) {\n              add"), **_FORWARD),
    "values are read before a warp has brought them in": ROIS(
        "grad_image", without_warp_barrier("cuda/stage.h", "    default: bring(Count<most>());\n  }\n  ")),
    "a bin of a tile left out": ROIS(
        "grad_image", Change("roi_align/cuda/tiles.h", "falls ? last <= highest : last >= lowest",
                             "falls ? last <= highest : last > lowest + 1"), **_FORWARD),
    "a box of the wrong level or image": ROIS(
        "grad_image", Change("roi_align/cuda/tiles.h", "images + box.image;", "images;"), **_FORWARD),
    "an edge's slope twice": ROIS(
        "grad_boxes", Change(SLOPES, "second += slope->second", "second += slope->first"), **_FORWARD),
    "written outside of the gradient": ROIS(
        "grad_image", Change(MEAN, "out[lane + y * map.stride[2]", "out[lane - 8 + y * map.stride[2]"), **_FORWARD),
}  # fmt: skip


def test_the_unchanged_sources_have_no_finding(operator):
    assert not any(finding(operator, direction, order) for direction in DIRECTIONS for order in ORDERS)


@pytest.mark.parametrize(("operator", "direction", "changes", "orders", "words"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_detected(operator, direction, changes, orders, words):
    """A missing barrier shows only if a thread is ahead of the one that it depends on, so in some orders."""
    assert any(finding(operator, direction, order, *changes, words=words) for order in orders)


_TAP = "tap.weight * line[columns.column(k, tap.at)];"
OTHER_BITS = {
    "another rounding": Change(PLANES, _TAP, "line[columns.column(k, tap.at)] / (1 / tap.weight);"),
    "another weight": Change("roi_align/taps.h", "(k)].weight /= samples", "(k)].weight *= Acc(1) / samples"),
    "another zero for a tap that is not there": Change(WARP, "k == 0 ? Acc(0) : -Acc(0)", "Acc(0)"),
    "another zero": Change(PIXELS, "sums.lane[c] = tap == begin ? product :", "sums.lane[c] ="),
}


@pytest.mark.parametrize("change", OTHER_BITS.values(), ids=OTHER_BITS)
def test_different_bits_are_detected(change):
    """Each is within the oracle's bound: only comparing bits with the CPU detects it."""
    other = cuda_cases.MAKE["roi_align"](library=functools.partial(kernel_library, change))
    usual = [case.inputs() for case in cuda_cases.PLAIN["roi_align"]]
    zeros = [replace(inputs, image=-0.0 * np.abs(inputs.image)) for inputs in usual]
    both = [
        (other.run(inputs, "forward"), cuda_cases.cpu("roi_align").run(inputs, "forward"))
        for inputs in (*usual, *zeros)
    ]
    assert any(differing(result, expected).any() for result, expected in both)


def test_a_change_needs_exactly_one_place():
    with pytest.raises(ValueError, match="is to be changed in one place, but has 0 of: nowhere"):
        kernel_library(Change("cuda/launch.h", "nowhere", ""))
