"""The kernels of both operators, cases, and builds with other partitions, for the tests of the CUDA kernels without a
GPU.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import load
from harness.backends.cuda_on_host import make_crop_and_resize, make_roi_align
from harness.kernels.compiling import Change
from harness.kernels.cuda_on_host import kernel_library
from harness.kernels.drivers.calls import PyramidCall
from harness.measuring.scaling import LARGE_TILES
from harness.operators import AnyCase, drawing, within
from harness.operators.arrays import DIRECTIONS, FLOATS, Array, Direction
from harness.operators.crop_and_resize.case import BOX_RULES, METHODS, Case
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import SAMPLED, RoiCase
from harness.operators.sheet import OperatorName

ORDERS = {"forward": 0, "backward": 1, "random": 2}
# So few blocks that each takes several units of work, which a grid of two billion blocks hardly ever does.
ONE_BLOCK, FEW_BLOCKS = (
    Change("cuda/launch.h", "kMostBlocks = 2147483647", f"kMostBlocks = {most}") for most in (1, 3)
)
# The general kernel of planes, chunk by chunk, for bins of few taps too.
ANY_TAPS = Change("roi_align/cuda/forward.cu", "takes_planes_warp(maps, pools, crops)", "false")
# So little memory that every box is pooled in chunks of a bin or two, and few rows at a time.
SMALL_CHUNKS = (
    ANY_TAPS,
    Change("roi_align/cuda/bins.h", "kTargetSlots = 512", "kTargetSlots = 1"),
    Change("roi_align/cuda/forward_planes.cu", "kWeighedBytes = 24 * 1024", "kWeighedBytes = 64"),
    Change("roi_align/cuda/tiles.h", "kBinsTogether = 16", "kBinsTogether = 2"),
)
# No shared memory for taps: all kernels have them in scratch, which suffices for two blocks.
TAPS_IN_SCRATCH = (
    ANY_TAPS,
    Change("roi_align/cuda/bins.h", "kSharedBytes = 48 * 1024", "kSharedBytes = 1024"),
    Change("roi_align/cuda/bins.h", "kScratchBlocks = 512", "kScratchBlocks = 2"),
)
BUILDS: dict[OperatorName, dict[str, tuple[Change, ...]]] = {
    "crop_and_resize": {
        "as they are": (),
        "few blocks": (FEW_BLOCKS,),
        "large tiles": (LARGE_TILES,),  # those of a large gradient, which no test case has
        "large tiles, few blocks": (LARGE_TILES, FEW_BLOCKS),
    },
    "roi_align": {
        "as they are": (),
        "one block": (ONE_BLOCK,),
        "large tiles": (LARGE_TILES,),
        "small chunks": SMALL_CHUNKS,
        "taps in scratch": TAPS_IN_SCRATCH,
    },
}
# The kernels whose sums have one order, from a library, with threads in a given order.
MAKE: dict[OperatorName, Callable[..., Backend[Any]]] = {
    "crop_and_resize": functools.partial(make_crop_and_resize, "gather", atomics=False),
    "roi_align": functools.partial(make_roi_align, "kernels"),
}


def kernels(
    operator: OperatorName, library: Callable[[], Path] = kernel_library
) -> list[tuple[Backend[Any], Direction]]:
    """Each set of kernels of an operator; crop_and_resize's image gradient has two, one with atomics."""
    sets: list[tuple[Backend[Any], Direction]] = [(MAKE[operator](library=library), each) for each in DIRECTIONS]
    if operator == "crop_and_resize":
        sets.append((make_crop_and_resize("atomic", atomics=True, library=library), "grad_image"))
    return sets


def cases(operator: OperatorName, **choices: Any) -> Any:
    """Numbers of channels: those of vectors, a few more or fewer, and more than the lanes of a warp."""
    rules = {"crop_and_resize": {"box_rules": BOX_RULES}, "roi_align": {}}[operator]
    usual = {"image_dtypes": FLOATS, "channels": (1, 2, 3, 4, 8, 9, 16, 40), "most_outputs": 600, **rules}
    return within(MAKE[operator]().sheet, **{**usual, **choices})


@functools.cache
def draw_cases(operator: OperatorName, count: int) -> tuple[AnyCase, ...]:
    """The same cases in every run, as the strategies draw them."""
    return tuple(drawing.draw_cases(cases(operator, empty=()), count, 0))


@functools.cache
def cpu(operator: OperatorName) -> Backend[Any]:
    return load("roi_align", operator)


# The image indices of the boxes, within an operator's inputs.
INDICES: dict[OperatorName, Callable[[Any], Array]] = {
    "crop_and_resize": lambda inputs: inputs.box_indices,
    "roi_align": lambda inputs: inputs.boxes[:, 0],
}


def crop_case(shape: tuple[int, int, int, int], crop_size: tuple[int, int], count: int, **changes: Any) -> Case:
    """Boxes on the images and a little beyond, most of them small, which take the images in turn."""
    random = np.random.Generator(np.random.PCG64(0))
    corner, size = random.uniform(-0.1, 1, (count, 2)), random.uniform(-0.1, 0.4, (count, 2)) ** 3
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    indices = tuple(k % shape[0] for k in range(count))
    return Case(shape, tuple(map(tuple, boxes.tolist())), indices, crop_size, **changes)


def pool_case(
    shape: tuple[int, int, int, int], output_size: tuple[int, int], count: int, *, large: float = 0.4, **changes: Any
) -> RoiCase:
    """Boxes on the maps and a little beyond, most of them small, which take the maps in turn."""
    random = np.random.Generator(np.random.PCG64(0))
    corner, size = random.uniform(-0.1, 1, (count, 2)), random.uniform(-0.05, large, (count, 2))
    edges = (np.concatenate([corner, corner + size], axis=1) * ([shape[3], shape[2]] * 2)).astype(np.float32)
    return RoiCase(shape, tuple((k % shape[0], *row) for k, row in enumerate(edges.tolist())), output_size, **changes)


# Grids and blocks that CUDA refuses to launch, and the message of both executors.
REFUSED_LAUNCHES = (
    ({"block": (1025, 1, 1)}, "at most 1024, 64 of them along z, not (1025, 1, 1)"),
    ({"block": (1, 1, 65)}, "at most 1024, 64 of them along z, not (1, 1, 65)"),
    ({"block": (0, 1, 1)}, "at least one thread"),
    ({"grid": (0, 1, 1)}, "at least one block"),
    ({"grid": (1, 65536, 1)}, "not (1, 65536, 1)"),
    ({"grid": (1, 1, 65536)}, "not (1, 1, 65536)"),
)
TWO_LAYOUTS = ("contiguous", "channels_last")
# Overlapping boxes in both layouts, with weights that round: fixed cases that show most faults.
PLAIN: dict[OperatorName, tuple[AnyCase, ...]] = {
    "crop_and_resize": (),
    "roi_align": tuple(
        pool_case((2, 4, 19, 30), (3, 2), 6, sampling_ratio=ratio, layout=layout)
        for ratio, layout in ((3, "contiguous"), (3, "channels_last"), (2, "contiguous"))
    ),
}
# Cases that the strategies, which draw small ones, do not reach.
LARGE: dict[OperatorName, dict[str, AnyCase]] = {
    "crop_and_resize": {
        "more boxes than a warp asks for at once": crop_case((2, 3, 20, 17), (2, 1), 1100),
        "more boxes than a block asks for at once": crop_case((1, 100, 9, 9), (2, 1), 4200),
        "crops wider than a warp": crop_case((2, 2, 9, 41), (35, 67), 3),
        "crops in more than one part": crop_case((2, 35, 40, 30), (48, 50), 2, layout="channels_last"),
        "channels for four warps": crop_case((2, 150, 9, 10), (3, 2), 5),
        "more samples in a tile than are kept at once": crop_case((1, 130, 9, 9), (9, 7), 40),
        "channels in vectors for a whole warp": crop_case((2, 2060, 3, 4), (1, 2), 3, layout="channels_last"),
        **{
            f"{dtype}, {layout}, {method}": crop_case(
                (2, 72, 9, 10), (3, 2), 8, layout=layout, image_dtype=dtype, method=method, extrapolation_value=2.5
            )
            for dtype, layout, method in itertools.product(FLOATS, TWO_LAYOUTS, METHODS)
        },
    },
    "roi_align": {
        "more boxes than are listed at once": pool_case((2, 3, 20, 17), (2, 1), 530),
        "more bins than a warp has lanes": pool_case((2, 2, 9, 41), (35, 67), 3),
        "more bins than a tile's weights have room for": pool_case((1, 33, 9, 9), (40, 21), 3, sampling_ratio=2),
        "an adaptive grid of many pixels": pool_case((1, 2, 700, 300), (1, 2), 4, large=1.1),
        "a thousand samples in a bin": pool_case((1, 2, 6, 7), (2, 2), 3, sampling_ratio=1000, aligned=True),
        "fewer channels than are weighed together": pool_case((2, 3, 9, 10), (16, 16), 5, sampling_ratio=2),
        "bins wider than their taps": pool_case((1, 7, 60, 90), (4, 16), 5, sampling_ratio=1, large=1.1),
        **{
            f"{side} x {side} bins, {dtype}": pool_case(
                (2, 70, 60, 90), (side, side), 5, sampling_ratio=2, image_dtype=dtype, boxes_dtype="float64", large=0.9
            )
            for side, dtype in itertools.product((7, 14), FLOATS)
        },
        "channels for more than a block": pool_case((2, 150, 9, 10), (3, 2), 5),
        "channels in vectors for more than a warp": pool_case((2, 260, 3, 4), (3, 2), 3, layout="channels_last"),
        **{
            f"{dtype}, {layout}, {mode}": pool_case(
                (2, 72, 19, 30), (3, 2), 8, layout=layout, image_dtype=dtype, mode=mode, sampling_ratio=2
            )
            for dtype, layout, mode in itertools.product(FLOATS, TWO_LAYOUTS, SAMPLED)
        },
    },
}

# The scales of a pyramid's maps, and the map of each level, from the first; -1 for none.
SCALES = {
    (0.5, 0.25, 0.125): (0, 1, 2),
    (0.5, 0.25, 0.25): (0, 1, 1),
    (0.25, 0.25): (0, 0, 0),
    (0.5, 0.125): (0, 1, -1),
}


def pyramid(dtype: str, layout: str, mode: str, scales: tuple[float, ...]) -> tuple[PyramidCall, list[int]]:
    """A pyramid, boxes of three levels in turn and one of none, and each box's map by construction."""
    of = {"layout": layout, "image_dtype": dtype}
    sides = [(int(128 * scale), int(96 * scale)) for scale in scales]
    maps = [RoiCase((2, 9, *side), (), (1, 1), **of, seed=k).inputs().image for k, side in enumerate(sides)]
    random = np.random.Generator(np.random.PCG64(3))
    rows, map_of = [], []
    for k in range(12):
        level = k % 4 - 1  # -1 has one side inverted
        side = 6.0 / scales[0] * 2 ** max(level, 0) * random.uniform(1.05, 1.9)
        x, y = random.uniform(0, 60, 2)
        rows.append((k % 2, x, y, x - side if level < 0 else x + side, y + side))
        map_of.append(SCALES[scales][level] if level >= 0 else -1)
    like = RoiCase((2, 9, 4, 4), tuple(rows), (3, 2), **of).inputs()
    rule = {"sampling_ratio": 2, "aligned": False, "mode": mode}
    # Boxes of a side of 12 belong to level 1, that of the scale 0.5, of 24 to level 2.
    levels = {"first_level": round(-np.log2(scales[0])), "canonical_scale": 24.0, "canonical_level": 2}
    return PyramidCall(maps, like.boxes, like.upstream, (3, 2), scales, **rule, **levels), map_of
