"""What test_roi_cuda_on_host.py and test_cuda_faults.py run: the cases, and builds that cut them otherwise."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from harness.backends import load
from harness.kernels.compiling import Change
from harness.operators.arrays import FLOATS
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import MODES, RoiCase
from harness.operators.roi_align.strategy import roi_cases
from harness.repository import MissingLibrary

ORDERS = {"forward": 0, "backward": 1, "random": 2}
ONE_BLOCK = Change("cuda/launch.h", "kMostBlocks = 2147483647", "kMostBlocks = 1")
# Memory so small that every box is pooled in chunks of a bin or two, and few rows at a time.
SMALL_CHUNKS = (
    Change("roi_align/cuda/bins.h", "kWantedSlots = 512", "kWantedSlots = 1"),
    Change("roi_align/cuda/forward_planes.cu", "kWeighedBytes = 24 * 1024", "kWeighedBytes = 64"),
    Change("roi_align/cuda/grad_image_gather.cu", "sizeof(Acc) == 8 ? 8 : 16", "sizeof(Acc) == 8 ? 1 : 2"),
)
# No shared memory for taps: all that is pooled has them in scratch, of which there is some for two blocks.
TAPS_IN_SCRATCH = (
    Change("roi_align/cuda/bins.h", "kSharedBytes = 48 * 1024", "kSharedBytes = 1024"),
    Change("roi_align/cuda/bins.h", "kScratchBlocks = 512", "kScratchBlocks = 2"),
)
BUILDS = {
    "as they are": (),
    "one block": (ONE_BLOCK,),
    "small chunks": SMALL_CHUNKS,
    "taps in scratch": TAPS_IN_SCRATCH,
}


def small_cases(**choices):
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
    @given(small_cases(empty=False))
    def draw(case: RoiCase) -> None:
        found.append(case)

    draw()
    return tuple(found)


def spread_boxes(count: int, height: int, width: int, images: int = 2, *, large: float = 0.4) -> dict[str, tuple]:
    """Boxes all over a map and a little beyond, most of them small, of the images in turn."""
    random = np.random.Generator(np.random.PCG64(0))
    corner, size = random.uniform(-0.1, 1, (count, 2)), random.uniform(-0.05, large, (count, 2))
    edges = (np.concatenate([corner, corner + size], axis=1) * [width, height, width, height]).astype(np.float32)
    return {"boxes": tuple((k % images, *row) for k, row in enumerate(edges.tolist()))}


# Boxes that overlap, in both layouts, with weights that round: what most faults show in, whatever is drawn.
PLAIN = tuple(
    RoiCase(shape=(2, 4, 19, 30), output_size=(3, 2), sampling_ratio=3, layout=layout, **spread_boxes(6, 19, 30))
    for layout in ("contiguous", "channels_last")
)
# What the strategies, which draw small cases, do not reach.
LARGE = {
    "more boxes than are listed at once": RoiCase(
        shape=(2, 3, 20, 17), output_size=(2, 1), **spread_boxes(530, 20, 17)
    ),
    "more bins than a warp has lanes": RoiCase(shape=(2, 2, 9, 41), output_size=(35, 67), **spread_boxes(3, 9, 41)),
    "more bins than a tile's weights have room for": RoiCase(
        shape=(1, 33, 9, 9), output_size=(40, 21), sampling_ratio=2, **spread_boxes(3, 9, 9, 1)
    ),
    "an adaptive grid of many pixels": RoiCase(
        shape=(1, 2, 700, 300), output_size=(1, 2), **spread_boxes(4, 700, 300, 1, large=1.1)
    ),
    "a thousand samples in a bin": RoiCase(
        shape=(1, 2, 6, 7), output_size=(2, 2), sampling_ratio=1000, aligned=True, **spread_boxes(3, 6, 7, 1)
    ),
    "channels for more than a block": RoiCase(shape=(2, 150, 9, 10), output_size=(3, 2), **spread_boxes(5, 9, 10)),
    "channels in vectors for more than a warp": RoiCase(
        shape=(2, 260, 3, 4), output_size=(3, 2), layout="channels_last", **spread_boxes(3, 3, 4)
    ),
    **{
        f"{dtype}, {layout}, {mode}": RoiCase(
            shape=(2, 72, 19, 30),
            output_size=(3, 2),
            layout=layout,
            image_dtype=dtype,
            mode=mode,
            sampling_ratio=2,
            **spread_boxes(8, 19, 30),
        )
        for dtype in FLOATS
        for layout in ("contiguous", "channels_last")
        for mode in MODES
    },
}


@functools.cache
def cpu() -> Backend:
    try:
        return load("roi_align", "roi_align")
    except MissingLibrary as missing:
        pytest.skip(str(missing))
