"""The named workloads, and the sources of their shapes.

A figure is meaningful only with the origin of its workload. Each workload therefore names the source of its shape. Some
are real input, photographs and the boxes of their segments, because random boxes spread their reads over a map as no
detector does. One series varies the number of boxes on a fixed map, another the size of the map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import numpy as np

from harness.operators.arrays import Array, Layout
from harness.operators.crop_and_resize.case import Inputs

# Photographs inside scikit-image's own package; others of its gallery would need a download.
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
_CANVAS = (512, 640)  # they share one batch, zero-padded at the bottom right to a multiple of 32 as detectors do


@dataclass(frozen=True)
class Workload:
    """One shape of work.

    source   the origin of the shape, for the reader of a table.
    make     makes the inputs; float32, contiguous NCHW, the same values on every machine. Half types round them.
    quick    whether a quick run measures it.
    real     whether images and boxes are real, not random.
    series   "boxes" or "pixels" if it is a point of a scaling series, else "".
    size     the quantity that the series varies: the number of boxes, or of pixels in a plane.
    """

    name: str
    source: str
    make: Callable[[], Inputs]
    quick: bool = False
    real: bool = False
    series: str = ""
    size: int = 0

    def inputs(self, layout: Layout = "contiguous", dtype: str = "float32") -> Inputs:
        """The inputs in this layout, image and upstream in this type.

        The NCHW float32 inputs are made once per process and shared: do not write to them.
        """
        if layout == "channels_last":
            return _inputs_channels_last(self, dtype)
        return _contiguous_inputs(self) if dtype == "float32" else _inputs_in(self, dtype)


@cache
def _contiguous_inputs(workload: Workload) -> Inputs:
    return workload.make()


@lru_cache(maxsize=1)  # columns of one workload and dtype are consecutive; caching all would take gigabytes
def _inputs_in(workload: Workload, dtype: str) -> Inputs:
    inputs = _contiguous_inputs(workload)
    return replace(inputs, image=inputs.image.astype(dtype), upstream=inputs.upstream.astype(dtype))


@lru_cache(maxsize=1)
def _inputs_channels_last(workload: Workload, dtype: str) -> Inputs:
    inputs = workload.inputs("contiguous", dtype)
    return replace(inputs, image=_as_channels_last(inputs.image), upstream=_as_channels_last(inputs.upstream))


def _as_channels_last(array: Array) -> Array:
    """NCHW in index order, NHWC in memory."""
    nhwc: Array = np.ascontiguousarray(array.transpose(0, 2, 3, 1))
    nchw: Array = nhwc.transpose(0, 3, 1, 2)
    return nchw


def _inputs(image: Array, boxes: Array, indices: Array, crop: int, seed: int) -> Inputs:
    """Inputs with a random upstream gradient."""
    upstream = np.random.default_rng(seed).standard_normal((len(boxes), image.shape[1], crop, crop), dtype=np.float32)
    return Inputs(image, boxes.astype(np.float32), indices.astype(np.int32), upstream, (crop, crop))


def _random(
    shape: tuple[int, int, int, int], count: int, crop: int, sides: tuple[float, float], seed: int
) -> Callable[[], Inputs]:
    """Normal values; boxes with uniform centres and log-uniform sides (in pixels of the map), clipped to the image."""

    def make() -> Inputs:
        random = np.random.default_rng(seed)
        image = random.standard_normal(shape, dtype=np.float32)
        extent = np.array([shape[2] - 1, shape[3] - 1], dtype=np.float64)
        half = np.exp(random.uniform(np.log(sides[0]), np.log(sides[1]), (count, 2))) / 2
        centre = random.uniform(0, extent, (count, 2))
        low, high = np.clip(centre - half, 0, extent) / extent, np.clip(centre + half, 0, extent) / extent
        indices = random.integers(0, shape[0], count)
        return _inputs(image, np.concatenate([low, high], axis=1), indices, crop, seed + 1)

    return make


def _uniform_corners(
    shape: tuple[int, int, int, int], count: int, crop: int, most: float, seed: int
) -> Callable[[], Inputs]:
    """Uniform corners up to `most`, sorted: boxes of all sizes, a third of the image wide on average."""

    def make() -> Inputs:
        random = np.random.default_rng(seed)
        corners = np.sort(random.uniform(0, most, (count, 2, 2)), axis=2)
        boxes = np.concatenate([corners[:, :, 0], corners[:, :, 1]], axis=1)
        image = random.standard_normal(shape, dtype=np.float32)
        return _inputs(image, boxes, random.integers(0, shape[0], count), crop, seed + 1)

    return make


def photograph(name: str) -> Array:
    """One of PHOTOGRAPHS, (H,W,3) bytes."""
    from skimage import data

    pixels: Array = getattr(data, name)()
    return pixels


@cache
def segments(name: str) -> Array:
    """The Felzenszwalb segments of one of PHOTOGRAPHS: (H,W) numbers from 0 on."""
    from skimage import segmentation

    labels: Array = segmentation.felzenszwalb(photograph(name), scale=100, sigma=0.5, min_size=50)
    return labels


@lru_cache(maxsize=1)
def photographs() -> tuple[Array, Array, Array]:
    """The photographs (4,3,512,640) in 0…1, the boxes (M,4) of their segments, normalised, and their indices (M,)."""
    from skimage import measure

    height, width = _CANVAS
    batch = np.zeros((len(PHOTOGRAPHS), 3, height, width), dtype=np.float32)
    boxes: list[tuple[float, float, float, float]] = []
    indices: list[int] = []
    for index, name in enumerate(PHOTOGRAPHS):
        pixels = photograph(name)
        batch[index, :, : pixels.shape[0], : pixels.shape[1]] = pixels.transpose(2, 0, 1) / 255
        regions: Any = measure.regionprops(segments(name) + 1)  # type: ignore[no-untyped-call]
        for region in regions:
            top, left, bottom, right = region.bbox  # half-open
            boxes.append(
                (top / (height - 1), left / (width - 1), (bottom - 1) / (height - 1), (right - 1) / (width - 1))
            )
            indices.append(index)
    return batch, np.array(boxes), np.array(indices)


def _segments() -> Inputs:
    image, boxes, indices = photographs()
    return _inputs(image, boxes, indices, 64, 2)


@lru_cache(maxsize=1)
def pyramid() -> dict[str, Array]:
    """Levels P2 (4,256,128,160) to P5 (4,256,16,20) of an untrained ResNet-50 FPN on the photographs."""
    import torch
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone  # type: ignore[import-untyped, unused-ignore]

    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        backbone: Any = resnet_fpn_backbone(backbone_name="resnet50", weights=None).eval()
        # Convolutions take a third of the time in this layout.
        backbone = backbone.to(memory_format=torch.channels_last)
        levels = backbone(torch.from_numpy(photographs()[0]).to(memory_format=torch.channels_last))
        return {f"p{2 + int(level)}": np.ascontiguousarray(levels[level].numpy()) for level in "0123"}


def _segments_on(level: str) -> Callable[[], Inputs]:
    """All boxes on one level of the pyramid; boxes are normalised, hence equal on every level."""

    def make() -> Inputs:
        _, boxes, indices = photographs()
        return _inputs(pyramid()[level], boxes, indices, 7, 3)

    return make


@lru_cache(maxsize=1)
def pyramid_inputs() -> tuple[dict[str, Array], list[Array], list[tuple[int, int]]]:
    """The levels P2 to P5 of the photographs, the boxes (K_i, 4) of each photograph's segments in pixels, and the image
    sizes."""
    batch, boxes, indices = photographs()
    height, width = batch.shape[2:]
    pixels = (boxes[:, [1, 0, 3, 2]] * [width - 1, height - 1, width - 1, height - 1]).astype(np.float32)
    of_image = [np.ascontiguousarray(pixels[indices == image]) for image in range(len(batch))]
    return pyramid(), of_image, [(height, width)] * len(batch)


_SERIES_MAP = (1, 16, 200, 272)
_SERIES_SIDES = (4.0, 60.0)

WORKLOADS = (
    Workload(
        "seed_test",
        "2x128x200x200, 10 boxes, 7x7: tests/test.py of the original RoIAlign.pytorch, its comparison with TensorFlow",
        _uniform_corners((2, 128, 200, 200), 10, 7, 200 / 199, 0),
        quick=True,
    ),
    Workload(
        "uniform_boxes",
        "1x256x200x272, 1000 boxes with uniform corners, 7x7: the proposals of an untrained network on level P2, a "
        "third of the map wide on average",
        _uniform_corners((1, 256, 200, 272), 1000, 7, 1.0, 70),
    ),
    Workload(
        "fpn_p2_test",
        "1x256x200x272, 1000 boxes, 7x7: level P2 (stride 4) of an 800x1088 image, Mask R-CNN's 1000 test proposals",
        _random((1, 256, 200, 272), 1000, 7, (4.0, 60.0), 10),
        quick=True,
    ),
    Workload(
        "fpn_p2_mask",
        "1x256x200x272, 512 boxes, 14x14: the mask head of Mask R-CNN in training, 512 sampled boxes an image",
        _random((1, 256, 200, 272), 512, 14, (4.0, 60.0), 20),
    ),
    Workload(
        "c4_head",
        "1x1024x50x68, 300 boxes, 14x14: a C4 head (stride 16) on an 800x1088 image, Faster R-CNN's 300 proposals",
        _random((1, 1024, 50, 68), 300, 14, (2.0, 40.0), 30),
    ),
    Workload(
        "video_crops",
        "4x3x1080x1920, 64 boxes, 224x224: crops of full-HD frames for a classifier with ImageNet's input size",
        _random((4, 3, 1080, 1920), 64, 224, (60.0, 800.0), 40),
    ),
    Workload(
        "segments_photo",
        f"4x3x512x640, 64x64: scikit-image's photographs {', '.join(PHOTOGRAPHS)} and the bounding boxes of their "
        "Felzenszwalb segments, cut from the photographs themselves",
        _segments,
        quick=True,
        real=True,
    ),
    *(
        Workload(
            f"segments_fpn_{level}",
            f"4x256x{512 // stride}x{640 // stride}, 7x7: the same boxes on level {level.upper()} (stride {stride}) of "
            "the pyramid that torchvision's ResNet-50 FPN, untrained, makes of the photographs",
            _segments_on(level),
            quick=level == "p2",
            real=True,
        )
        for level, stride in (("p2", 4), ("p3", 8), ("p4", 16), ("p5", 32))
    ),
    *(
        Workload(
            f"boxes_{count}",
            f"scaling series: {count} boxes, 7x7, on a map of 1x16x200x272",
            _random(_SERIES_MAP, count, 7, _SERIES_SIDES, 50),
            series="boxes",
            size=count,
        )
        for count in (100, 1_000, 10_000, 100_000)
    ),
    *(
        Workload(
            f"pixels_{height * width}",
            f"scaling series: a map of 1x8x{height}x{width}, 1000 boxes of 4 to 60 pixels, 7x7",
            _random((1, 8, height, width), 1_000, 7, _SERIES_SIDES, 60),
            series="pixels",
            size=height * width,
        )
        for height, width in ((80, 125), (250, 400), (800, 1250), (2500, 4000))
    ),
)

# The workload that a plain test run passes through every benchmark body, as a smoke test.
SMOKE = Workload(
    "smoke", "1x4x24x32, 20 boxes, 3x3: a test run", _random((1, 4, 24, 32), 20, 3, (2.0, 20.0), 70), quick=True
)

# Image gradients of so few tiles that a GPU is not filled; they are counted, not timed.
SMALL_GRADIENTS = (
    Workload(
        "small_p5",
        "1x256x25x34, 1000 boxes, 7x7: level P5 (stride 32) of an 800x1088 image",
        _random((1, 256, 25, 34), 1_000, 7, (3.0, 20.0), 80),
    ),
    *(
        Workload(
            f"small_{channels}",
            f"1x{channels}x200x272, 1000 boxes of 4 to 60 pixels, 7x7: few channels",
            _random((1, channels, 200, 272), 1_000, 7, _SERIES_SIDES, 50),
        )
        for channels in (16, 3)
    ),
)
