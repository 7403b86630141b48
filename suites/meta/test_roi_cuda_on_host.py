"""roi_align's CUDA kernels without a GPU: their sources on the host, judged, sanitised, with faults planted in them.

As test_cuda_on_host.py is for crop_and_resize's; what the executor itself can see is shown in test_cuda_executor.py.
"""

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
from hypothesis import HealthCheck, Phase, given, settings

from harness import cuda_on_host
from harness.agreement import differing
from harness.backends import MissingLibrary
from harness.case import DIRECTIONS, FLOATS, Array, Direction
from harness.cuda_on_host import Change, kernel_library
from harness.roi_backends import RoiBackend, load
from harness.roi_case import MODES, RoiCase
from harness.roi_judge import assert_passes, side_effect
from harness.roi_strategies import roi_cases

try:
    from harness.backends.cuda_on_host_pooling import Kernels, PyramidCall, backend, make, of_one_level
except MissingLibrary as missing:
    pytest.skip(str(missing), allow_module_level=True)

each_direction = pytest.mark.parametrize("direction", DIRECTIONS)
each_mode = pytest.mark.parametrize("mode", MODES)
ORDERS = {"forward": 0, "backward": 1, "random": 2}
ONE_BLOCK = Change("cuda/launch.h", "kMostBlocks = 2147483647", "kMostBlocks = 1")
# Memory so small that every box is pooled in chunks of a bin or two, and few rows at a time.
SMALL_CHUNKS = (
    Change("cuda/roi_bins.h", "kWantedSlots = 512", "kWantedSlots = 1"),
    Change("cuda/roi_forward.cu", "kWeighedBytes = 24 * 1024", "kWeighedBytes = 64"),
    Change("cuda/roi_grad_maps.cu", "sizeof(Acc) == 8 ? 8 : 16", "sizeof(Acc) == 8 ? 1 : 2"),
)
# No shared memory for taps: all that is pooled has them in scratch, of which there is some for two blocks.
TAPS_IN_SCRATCH = (
    Change("cuda/roi_bins.h", "kSharedBytes = 48 * 1024", "kSharedBytes = 1024"),
    Change("cuda/roi_bins.h", "kScratchBlocks = 512", "kScratchBlocks = 2"),
)
BUILDS = {
    "as they are": (),
    "one block": (ONE_BLOCK,),
    "small chunks": SMALL_CHUNKS,
    "taps in scratch": TAPS_IN_SCRATCH,
}


def _cases(**choices):
    """As many channels as vectors have, a few more or fewer, and more than one warp has lanes."""
    return roi_cases(**{"image_dtypes": FLOATS, "channels": (1, 2, 3, 4, 8, 9, 16, 40), "most_outputs": 600, **choices})


@functools.cache
def drawn(count: int) -> tuple[RoiCase, ...]:
    """The same cases in every run, as the strategies draw them."""
    found: list[RoiCase] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_cases(empty=False))
    def draw(case: RoiCase) -> None:
        found.append(case)

    draw()
    return tuple(found)


def _boxes(count: int, height: int, width: int, images: int = 2, *, large: float = 0.4) -> dict[str, tuple]:
    """Boxes all over a map and a little beyond, most of them small, of the images in turn."""
    random = np.random.Generator(np.random.PCG64(0))
    corner, size = random.uniform(-0.1, 1, (count, 2)), random.uniform(-0.05, large, (count, 2))
    edges = (np.concatenate([corner, corner + size], axis=1) * [width, height, width, height]).astype(np.float32)
    return {"boxes": tuple((k % images, *row) for k, row in enumerate(edges.tolist()))}


# What the strategies, which draw small cases, do not reach.
LARGE = {
    "more boxes than are listed at once": RoiCase(shape=(2, 3, 20, 17), output_size=(2, 1), **_boxes(530, 20, 17)),
    "more bins than a warp has lanes": RoiCase(shape=(2, 2, 9, 41), output_size=(35, 67), **_boxes(3, 9, 41)),
    "more bins than a tile's weights have room for": RoiCase(
        shape=(1, 33, 9, 9), output_size=(40, 21), sampling_ratio=2, **_boxes(3, 9, 9, 1)
    ),
    "an adaptive grid of many pixels": RoiCase(
        shape=(1, 2, 700, 300), output_size=(1, 2), **_boxes(4, 700, 300, 1, large=1.1)
    ),
    "a thousand samples in a bin": RoiCase(
        shape=(1, 2, 6, 7), output_size=(2, 2), sampling_ratio=1000, aligned=True, **_boxes(3, 6, 7, 1)
    ),
    "channels for more than a block": RoiCase(shape=(2, 150, 9, 10), output_size=(3, 2), **_boxes(5, 9, 10)),
    "channels in vectors for more than a warp": RoiCase(
        shape=(2, 260, 3, 4), output_size=(3, 2), layout="channels_last", **_boxes(3, 3, 4)
    ),
    **{
        f"{dtype}, {layout}, {mode}": RoiCase(
            shape=(2, 72, 19, 30),
            output_size=(3, 2),
            layout=layout,
            image_dtype=dtype,
            mode=mode,
            sampling_ratio=2,
            **_boxes(8, 19, 30),
        )
        for dtype in FLOATS
        for layout in ("contiguous", "channels_last")
        for mode in MODES
    },
}


@each_mode
@each_direction
@settings(max_examples=60)
@given(case=_cases())
def test_within_the_oracles_bound(direction, mode, case):
    assert_passes(backend=backend, case=replace(case, mode=mode), direction=direction)


@each_direction
def test_calls_have_no_side_effect(direction):
    for case in drawn(30):
        assert side_effect(backend, case, direction) is None, repr(case)


@functools.cache
def cpu() -> RoiBackend:
    try:
        return load("roi_align")
    except MissingLibrary as missing:
        pytest.skip(str(missing))


def assert_bits_of_the_cpu(case: RoiCase, message: str) -> None:
    got, wanted = (each.run(case.inputs(), "forward") for each in (backend, cpu()))
    assert got.dtype == wanted.dtype
    assert not differing(got, wanted).any(), message


@each_mode
def test_the_forward_has_the_cpus_bits(mode):
    for case in drawn(200):
        assert_bits_of_the_cpu(replace(case, mode=mode), repr(case))


@pytest.mark.parametrize("name", LARGE)
def test_large_cases(name):
    case = LARGE[name]
    assert_bits_of_the_cpu(case, name)
    random = np.random.Generator(np.random.PCG64(1))
    some = [tuple(place) for place in random.integers(case.shape, size=(12, 4)).tolist()]
    assert_passes(backend=backend, case=case, direction="grad_image", places=some)
    assert_passes(backend=backend, case=case, direction="grad_boxes", places=[(0, 1), (1, 2), (1, 3), (2, 4)])


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("order", ORDERS)
def test_neither_the_order_of_threads_nor_the_cut_changes_the_forward_or_repeats_otherwise(order, build):
    """The forward has one order of sums whatever the cut; the gradients one for each cut, whatever the threads do."""
    changed = functools.partial(kernel_library, *BUILDS[build])
    other, usual = make(library=changed, order=ORDERS[order]), make(library=changed, order=0)
    for case in drawn(40):
        for direction in DIRECTIONS:
            reference = backend if direction == "forward" else usual
            got = other.run(case.inputs(), direction)
            assert got.tobytes() == reference.run(case.inputs(), direction).tobytes(), f"{direction}: {case!r}"


@pytest.mark.parametrize("build", [name for name in BUILDS if BUILDS[name]])
@each_direction
def test_every_cut_is_within_the_oracles_bound(direction, build):
    other = make(library=functools.partial(kernel_library, *BUILDS[build]))
    for case in drawn(60):
        assert_passes(backend=other, case=case, direction=direction)


@each_mode
@each_direction
@pytest.mark.parametrize("bad", [-1.0, 2.0, 0.5, 3e38, np.nan, np.inf, -np.inf])
def test_a_box_of_no_image_gives_nan_and_no_gradient(direction, mode, bad):
    good = RoiCase(shape=(2, 3, 5, 6), output_size=(2, 3), layout="offset", mode=mode, **_boxes(4, 5, 6)).inputs()
    boxes = good.boxes.copy()
    boxes[1, 0] = boxes[2, 0] = bad
    got = backend.run(replace(good, boxes=boxes), direction)
    kept = [0, 3]
    wanted = backend.run(replace(good, boxes=good.boxes[kept], upstream=good.upstream[kept]), direction)
    if direction == "grad_image":
        assert np.array_equal(got, wanted)
    else:
        assert np.array_equal(got[kept], wanted)
        assert np.isnan(got[1:3]).all() if direction == "forward" else not got[1:3].any()


@each_mode
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_an_infinite_gradient_reaches_no_pixel_that_is_not_read(layout, mode):
    inputs = RoiCase(
        shape=(1, 3, 20, 20), boxes=((0, 2.0, 2.0, 17.0, 17.0),), output_size=(2, 2), sampling_ratio=1, layout=layout,
        aligned=True, mode=mode,
    ).inputs()  # fmt: skip
    upstream = np.full_like(inputs.upstream, np.inf)
    got = backend.run(replace(inputs, upstream=upstream), "grad_image")
    reached = backend.run(replace(inputs, upstream=np.ones_like(upstream)), "grad_image") != 0
    assert np.array_equal(np.isinf(got), reached)
    assert not got[~reached].any()


# Levels of a pyramid: boxes of a side of 24 belong to the second.
SCALES, CANONICAL, FIRST = (0.5, 0.25, 0.125), (24.0, 2), 1


def _pyramid(dtype: str, layout: str, mode: str) -> tuple[PyramidCall, list[int]]:
    """A pyramid and boxes of all its levels in turn, one of them of none, and each one's level by how it was made."""
    levels = [
        RoiCase(shape=(2, 9, 64 >> k, 48 >> k), boxes=(), output_size=(1, 1), layout=layout, image_dtype=dtype, seed=k)
        for k in range(3)
    ]
    random = np.random.Generator(np.random.PCG64(3))
    rows, level_of = [], []
    for k in range(12):
        level = k % 4 - 1  # -1 has one side inverted
        side = 12.0 * 2 ** max(level, 0) * random.uniform(1.05, 1.9)
        x, y = random.uniform(0, 60, 2)
        rows.append((k % 2, x, y, x - side if level < 0 else x + side, y + side))
        level_of.append(level)
    like = RoiCase(shape=(2, 9, 4, 4), boxes=tuple(rows), output_size=(3, 2), layout=layout, image_dtype=dtype).inputs()
    return PyramidCall(
        maps=[level.inputs().input for level in levels],
        boxes=like.boxes,
        upstream=like.upstream,
        output_size=(3, 2),
        scales=SCALES,
        sampling_ratio=2,
        aligned=False,
        mode=mode,
        first_level=FIRST,
        canonical_scale=CANONICAL[0],
        canonical_level=CANONICAL[1],
    ), level_of


@each_mode
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_pyramid_is_each_level_with_its_own_boxes(dtype, layout, mode):
    """By bits, in every direction: a launch for all levels gives what a launch for each gives."""
    pyramid, level_of = _pyramid(dtype, layout, mode)
    kernels = Kernels()
    (crops,), (of_boxes,) = kernels.run(pyramid, "forward"), kernels.run(pyramid, "grad_boxes")
    of_maps = kernels.run(pyramid, "grad_image")
    nowhere = [row for row, level in enumerate(level_of) if level < 0]
    assert not crops[nowhere].any()
    assert not of_boxes[nowhere].any()
    for level, scale in enumerate(SCALES):
        own = [row for row, at in enumerate(level_of) if at == level]
        alone = replace(
            pyramid,
            maps=[pyramid.maps[level]],
            boxes=pyramid.boxes[own],
            upstream=np.ascontiguousarray(pyramid.upstream[own]) if layout == "contiguous" else pyramid.upstream[own],
            scales=[scale],
        )
        assert np.array_equal(crops[own], kernels.run(alone, "forward")[0])
        assert np.array_equal(of_maps[level], kernels.run(alone, "grad_image")[0])
        assert np.array_equal(of_boxes[own], kernels.run(alone, "grad_boxes")[0])


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_other_values_are_pooled_where_the_maps_are_largest(layout):
    """What the maximum's double backward takes. Twice and minus the maps round nowhere, and show what was taken."""
    case = RoiCase(
        shape=(2, 9, 9, 10), output_size=(3, 2), layout=layout, mode="max", sampling_ratio=2, **_boxes(5, 9, 10)
    )
    of = of_one_level(case.inputs())
    twice: Array = 2 * case.inputs().input
    (got,) = Kernels().run(replace(of, values=[twice]), "forward")
    assert np.array_equal(got, Kernels().run(replace(of, maps=[twice]), "forward")[0])
    negated: Array = -case.inputs().input
    (got,) = Kernels().run(replace(of, values=[negated]), "forward")
    assert np.array_equal(-got, Kernels().run(of, "forward")[0])


_RUN = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from harness.backends.cuda_on_host_pooling import make
from harness.case import DIRECTIONS
from harness.roi_case import MODES, RoiCase
backend = make(library=lambda: Path(sys.argv[1]))
for line in sys.stdin:
    inputs = RoiCase.parse(line).inputs()
    nowhere = inputs.boxes.copy()
    nowhere[:, 0] = np.resize([-1, inputs.input.shape[0], 0.5, np.nan], len(nowhere))
    for direction in DIRECTIONS:
        backend.run(inputs, direction)
        backend.run(replace(inputs, boxes=nowhere), direction)
"""


def sanitized(*changes: Change, cases: Sequence[RoiCase] = ()) -> subprocess.CompletedProcess[str]:
    """Runs cases under the sanitizers, each again with indices of no image, which must not be followed."""
    environment = {**os.environ, **cuda_on_host.sanitizer_environment(), "PYTHONPATH": str(cuda_on_host.ROOT)}
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


FORWARD, MEAN, SLOPES = "cuda/roi_forward.cu", "cuda/roi_grad_maps.cu", "cuda/roi_grad_boxes.cu"
_BARRIER = "__syncthreads();"


def without_barrier(file: str, before: str, after: str = "") -> Change:
    """The sources without the barrier that stands between these texts."""
    return Change(file, before + _BARRIER + after, before + after)


_FOLLOWED = Change("cuda/roi_box.h", "image < images ?", "image <= images ?")
_ONE_ROW_MORE = Change(MEAN, "row < rows; ++row) {\n    const T*", "row <= rows; ++row) {\n    const T*")


@pytest.mark.parametrize("change", [_FOLLOWED, _ONE_ROW_MORE], ids=["index followed", "one row too many"])
def test_the_sanitizer_finds_a_stray_access(change):
    done = sanitized(change, cases=drawn(40))
    assert re.search(r"SUMMARY: AddressSanitizer: \S+ .*\w+\.(cu|h):\d+ in ", done.stderr), done.stderr


_JUDGE = """
import sys
from pathlib import Path
from harness.backends.cuda_on_host_pooling import make
from harness.roi_case import RoiCase
from harness.roi_judge import judge, run
backend = make(library=lambda: Path(sys.argv[1]), order=int(sys.argv[2]))
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
        input="\n".join(map(repr, drawn(60))),
        env={**os.environ, "PYTHONPATH": str(cuda_on_host.ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr or f"It ended with {done.returncode}."


BARRIERS: dict[str, tuple[Direction, Change]] = {
    "taps are made before they are read": (
        "forward",
        without_barrier("cuda/roi_bins.h", "is_y ? &tables.y : &tables.x);\n  }\n  "),
    ),
    "rows are weighed before columns": ("forward", without_barrier(FORWARD, "rows, weighed);\n            ")),
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
        FORWARD, "            ", "  // what was weighed before has been written\n"
    ),
    "a box is pooled before the next is read": without_barrier(FORWARD, "  ", "\n  if (threadIdx.x == 0) tables.box"),
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
    "another rounding": Change(FORWARD, _TAP, "line[columns.column(k, tap.at)] / (1 / tap.weight);"),
    "another weight": Change("roi_taps.h", "(k)].weight /= samples", "(k)].weight *= Acc(1) / samples"),
    "another zero": Change(FORWARD, "sums.lane[c] = tap == begin ? product :", "sums.lane[c] ="),
}


@pytest.mark.parametrize("change", OTHER_BITS.values(), ids=OTHER_BITS)
def test_other_bits_are_found(change):
    """Each is within the oracle's bound: only the comparison of bits tells it from the CPU."""
    other = make(library=functools.partial(kernel_library, change))
    both = ((other.run(case.inputs(), "forward"), cpu().run(case.inputs(), "forward")) for case in drawn(200))
    assert any(differing(got, wanted).any() for got, wanted in both)
