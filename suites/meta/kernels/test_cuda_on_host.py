"""The CUDA kernels without a GPU: their own sources on the host, judged, sanitised, and with faults planted in them.

What the executor itself can see is shown in test_cuda_executor.py.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from harness.backends import load
from harness.backends.cuda_on_host import make_crop_and_resize
from harness.judging.trial import assert_no_side_effect, assert_passes, run
from harness.kernels import cuda_on_host
from harness.kernels.compiling import ROOT, Change
from harness.kernels.cuda_on_host import kernel_library
from harness.operators.arrays import DIRECTIONS, FLOATS
from harness.operators.crop_and_resize import strategy as strategies
from harness.operators.crop_and_resize.case import BOX_RULES, METHODS, Case
from harness.operators.implementation import Backend
from harness.operators.judgement import judge
from harness.repository import MissingLibrary

try:
    atomic, gather = load("cuda_on_host"), load("cuda_on_host_gather")
except MissingLibrary as missing:
    pytest.skip(str(missing), allow_module_level=True)

# Each set of kernels once: the two backends differ in the gradient of the image alone.
KERNELS = [(atomic, direction) for direction in DIRECTIONS] + [(gather, "grad_image")]
each_kernel = pytest.mark.parametrize(
    ("backend", "direction"), KERNELS, ids=["-".join((b.name, d)) for b, d in KERNELS]
)
ORDERS = {"forward": 0, "backward": 1, "random": 2}
# So few that they take one unit of work after another, which a GPU of two billion blocks hardly ever has to.
FEW_BLOCKS = Change("cuda/launch.h", "kMostBlocks = 2147483647", "kMostBlocks = 3")


def _cases(**choices):
    """As many channels as vectors have, a few more or fewer, and more than one warp has lanes."""
    return strategies.cases(
        **{"image_dtypes": FLOATS, "channels": (1, 2, 3, 4, 8, 9, 16, 40), "most_outputs": 600, **choices}
    )


@functools.cache
def drawn(count: int) -> tuple[Case, ...]:
    """The same cases in every run, as the strategies draw them."""
    found: list[Case] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_cases(box_rules=BOX_RULES, empty=False))
    def draw(case: Case) -> None:
        found.append(case)

    draw()
    return tuple(found)


def _boxes(count: int) -> dict[str, tuple]:
    """Boxes all over an image and a little beyond, most of them small, of two images in turn."""
    random = np.random.Generator(np.random.PCG64(0))
    corner, size = random.uniform(-0.1, 1, (count, 2)), random.uniform(-0.1, 0.4, (count, 2)) ** 3
    corners = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    return {"boxes": tuple(map(tuple, corners.tolist())), "box_indices": tuple(k % 2 for k in range(count))}


# What the strategies, which draw small cases, do not reach.
LARGE = {
    "more boxes than are listed at once": Case(shape=(2, 3, 20, 17), crop_size=(2, 1), **_boxes(520)),
    "crops wider than a warp": Case(shape=(2, 2, 9, 41), crop_size=(35, 67), **_boxes(3)),
    "crops in more than one part": Case(shape=(2, 35, 40, 30), crop_size=(48, 50), layout="channels_last", **_boxes(2)),
    "channels for four warps": Case(shape=(2, 150, 9, 10), crop_size=(3, 2), **_boxes(5)),
    "channels in vectors for a whole warp": Case(
        shape=(2, 2060, 3, 4), crop_size=(1, 2), layout="channels_last", **_boxes(3)
    ),
    **{
        f"{dtype}, {layout}, {method}": Case(
            shape=(2, 72, 9, 10),
            crop_size=(3, 2),
            layout=layout,
            image_dtype=dtype,
            method=method,
            extrapolation_value=2.5,
            **_boxes(8),
        )
        for dtype in FLOATS
        for layout in ("contiguous", "channels_last")
        for method in METHODS
    },
}


@each_kernel
@settings(max_examples=60)
@given(case=_cases(box_rules=BOX_RULES))
def test_within_the_oracles_bound(backend, direction, case):
    assert_passes(backend=backend, case=case, direction=direction)


@each_kernel
def test_calls_have_no_side_effect(backend, direction):
    for case in drawn(30):
        assert_no_side_effect(backend=backend, case=case, direction=direction)


@functools.cache
def cpu() -> Backend:
    try:
        return load("roi_align")
    except MissingLibrary as missing:
        pytest.skip(str(missing))


def assert_bits_of_the_cpu(case: Case, message: str) -> None:
    """The forward and the deterministic image gradient promise them; boxes are summed in another order."""
    for direction in ("forward", "grad_image"):
        if not cpu().refuses(case.inputs(), direction):
            wanted, got = (backend.run(case.inputs(), direction) for backend in (cpu(), gather))
            assert got.tobytes() == wanted.tobytes(), f"{direction}, {message}"


def test_the_bits_are_the_cpus():
    for case in drawn(120):
        assert_bits_of_the_cpu(case, repr(case))


@pytest.mark.parametrize("name", LARGE)
def test_large_cases(name):
    case = LARGE[name]
    assert_bits_of_the_cpu(case, name)
    some = np.random.Generator(np.random.PCG64(1)).integers(case.shape, size=(50, 4)).tolist()
    assert_passes(backend=atomic, case=case, direction="grad_image", places=[tuple(place) for place in some])
    assert_passes(backend=atomic, case=case, direction="grad_boxes", places=[(0, 0), (0, 1), (1, 2), (1, 3)])


@pytest.mark.parametrize("blocks", ["many blocks", "few blocks"])
@pytest.mark.parametrize("order", ORDERS)
def test_neither_the_order_of_threads_nor_the_number_of_blocks_changes_a_bit(order, blocks):
    library = functools.partial(kernel_library, *([FEW_BLOCKS] if blocks == "few blocks" else []))
    other = make_crop_and_resize("other", atomics=False, library=library, order=ORDERS[order])
    for case in drawn(40):
        for direction in DIRECTIONS:
            got = other.run(case.inputs(), direction)
            assert got.tobytes() == gather.run(case.inputs(), direction).tobytes(), f"{direction}: {case!r}"


@each_kernel
def test_a_box_of_no_image_gives_nan_and_no_gradient(backend, direction):
    good = Case(shape=(2, 3, 5, 6), crop_size=(2, 3), layout="offset", **_boxes(4)).inputs()
    got = backend.run(replace(good, box_indices=np.array([0, -1, 2, 1], np.int32)), direction)
    kept = [0, 3]
    less = replace(good, boxes=good.boxes[kept], box_indices=good.box_indices[kept], upstream=good.upstream[kept])
    wanted = backend.run(less, direction)
    if direction == "grad_image":
        assert np.array_equal(got, wanted)
    else:
        assert np.array_equal(got[kept], wanted)
        assert np.isnan(got[1:3]).all() if direction == "forward" else not got[1:3].any()


_RUN = """
import sys
from pathlib import Path
from harness.backends.cuda_on_host import make_crop_and_resize
from harness.operators.arrays import DIRECTIONS
from harness.operators.crop_and_resize.case import Case
atomic, gather = (
    make_crop_and_resize("sanitized", atomics=atomics, library=lambda: Path(sys.argv[1])) for atomics in (True, False)
)
for line in sys.stdin:
    for direction in DIRECTIONS:
        atomic.run(Case.parse(line).inputs(), direction)
    gather.run(Case.parse(line).inputs(), "grad_image")
"""


def sanitized(*changes: Change) -> subprocess.CompletedProcess[str]:
    """Runs cases under the sanitizers, and some again with indices of no image, which must not be followed."""
    nowhere = [tuple((-1, case.shape[0])[k % 2] for k in range(len(case.boxes))) for case in drawn(20)]
    no_image = [replace(case, box_indices=indices) for case, indices in zip(drawn(20), nowhere, strict=True)]
    environment = {**os.environ, **cuda_on_host.sanitizer_environment(), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", _RUN, str(kernel_library(*changes, sanitize=True))],
        input="\n".join(map(repr, (*drawn(40), *no_image, *LARGE.values()))),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_sanitizers_find_nothing():
    done = sanitized()
    assert done.returncode == 0, done.stderr


def test_the_sanitizer_finds_an_index_that_is_off_by_one():
    done = sanitized(
        Change("crop_and_resize/cuda/grad_boxes.cu", "c < channels; c += step", "c <= channels; c += step")
    )
    assert re.search(r"SUMMARY: AddressSanitizer: heap-buffer-overflow .*cuda/\w+\.(cu|h):\d+ in ", done.stderr)


_FIRST_BARRIER = Change("cuda/warp.h", "edges;\n  __syncthreads();", "edges;")
_LAST_BARRIER = Change("cuda/warp.h", "  __syncthreads();\n  return sum;", "  return sum;")
_MASK = Change("cuda/warp.h", "value += __shfl_xor_sync(kAllLanes,", "value += __shfl_xor_sync(0x0000ffffu,")


def found(direction: str, order: str, *changes: Change) -> list[str]:
    """What the judge says of changed sources where they do not pass."""
    kernel_library(*changes)  # a change that does not apply or compile is no finding
    faulty = make_crop_and_resize(
        "faulty", atomics=False, library=functools.partial(kernel_library, *changes), order=ORDERS[order]
    )
    results = [(case.inputs(), run(faulty, case.inputs(), direction)) for case in drawn(40)]
    verdicts = [judge(inputs, direction, got, pinned=True) for inputs, got in results]
    return [str(verdict) for verdict in verdicts if not verdict.passed]


def test_what_is_written_outside_of_the_result_is_seen():
    change = Change(
        "crop_and_resize/cuda/forward.cu",
        "store(crop + c * crop_stride, result)",
        "store(crop + c * crop_stride - 8, result)",
    )
    assert any("forward has written outside of its result." in what for what in found("forward", "forward", change))


@pytest.mark.parametrize("order", ORDERS)
def test_a_missing_barrier_is_found(order):
    assert found("grad_boxes", order, _FIRST_BARRIER)


def test_a_missing_barrier_is_found_though_only_the_next_unit_of_work_needs_it():
    """A warp has to be a whole unit ahead of another: the last ones are, backwards."""
    assert found("grad_boxes", "backward", _LAST_BARRIER, FEW_BLOCKS)


def test_a_shuffle_with_the_wrong_mask_is_found():
    first, *_ = found("grad_boxes", "forward", _MASK)
    assert re.search(r"__shfl_xor_sync \(.*warp.h:\d+\): the mask 0x0000ffff of thread .* does not name", first)


def test_a_change_has_one_place():
    with pytest.raises(ValueError, match="is to be changed in one place, but has 0 of: nowhere"):
        kernel_library(Change("cuda/launch.h", "nowhere", ""))
