"""Calls of both operators of the package with torch's tensors, so that one test covers both.

A test has boxes (M, 4) as (y1, x1, y2, x2) in fractions of an image, where 1 is the last pixel, and the index of each
box's image (M,). A Call turns them into its operator's own tensors and runs the operator in one setting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.operators.sheet import OperatorName
from roi_align import RoIAlign, crop_and_resize, roi_align
from suites.programs import python

Size = tuple[int, int]
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


@dataclass(frozen=True, eq=False)
class Call:
    """One operator of the package in one setting.

    function  (image, *boxes, size, **options) -> (M, C, *size); boxes are the operator's own tensors.
    boxes     (image, corners, indices) -> these tensors, from boxes in fractions of the image and their image indices.
    indices   *boxes -> the indices within them, to be read and written.
    names     the operator's names of its image and output size.
    """

    operator: OperatorName
    setting: str
    function: Callable[..., Tensor]
    boxes: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]
    indices: Callable[..., Tensor]
    names: tuple[str, str]
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.operator}-{self.setting}"

    def __call__(self, image: Tensor, *boxes: Tensor, size: Size = (4, 3), **options: Any) -> Tensor:
        return self.function(image, *boxes, size, **{**self.options, **options})

    @property
    def outside(self) -> float:
        """The value of a sample outside of the image."""
        return float(self.options.get("extrapolation_value", 0.0))

    def random_boxes(self, image: Tensor, count: int, seed: int = 0) -> tuple[Tensor, ...]:
        """Random boxes on the images and a little beyond; the last is flipped on both axes."""
        random = torch.Generator().manual_seed(seed)
        corners = (torch.rand(count, 2, 2, generator=random) * 1.2 - 0.1).sort(dim=1).values.reshape(count, 4)
        corners[-1:] = corners[-1:].roll(2, dims=1)
        return self.on(image, corners)

    def exact(self, image: Tensor, count: int, seed: int = 0) -> tuple[Tensor, ...]:
        """Boxes in sixteenths. Where the sides of an image and of a crop are 2^k + 1 and values are in eighths,
        crop_and_resize rounds nothing, and its sums are the same in any order; those of roi_align have one order."""
        random = torch.Generator().manual_seed(seed)
        return self.on(image, torch.randint(17, (count, 4), generator=random) / 16)

    def on(self, image: Tensor, corners: Tensor) -> tuple[Tensor, ...]:
        """The operator's tensors for these boxes, which take the images in turn."""
        indices = torch.arange(len(corners)) % max(1, len(image))
        return self.boxes(image, corners.to(image.device), indices.to(image.device))

    def results(self, image: Tensor, *boxes: Tensor, upstream: Tensor, **options: Any) -> list[Tensor]:
        """The result, and the gradients of image and boxes."""
        image, edges = image.detach().requires_grad_(), boxes[0].detach().requires_grad_()
        result = self(image, edges, *boxes[1:], **options)
        return [result.detach(), *torch.autograd.grad(result, (image, edges), upstream)]


def _in_pixels(image: Tensor, corners: Tensor) -> Tensor:
    """Boxes (M, 4) as (x1, y1, x2, y2) in pixels."""
    height, width = image.shape[2:]
    return corners[:, [1, 0, 3, 2]] * corners.new_tensor([width - 1, height - 1] * 2)


def _rows(image: Tensor, corners: Tensor, indices: Tensor) -> tuple[Tensor]:
    return (torch.cat([indices[:, None].to(corners), _in_pixels(image, corners)], dim=1),)


def _cropping(method: str, **options: Any) -> Call:
    return Call(
        "crop_and_resize",
        method,
        crop_and_resize,
        lambda image, corners, indices: (corners, indices),
        lambda boxes, indices: indices,
        ("image", "crop_size"),
        {"method": method, **options},
    )


def _pixel_crops(setting: str, transform_fpcoor: bool) -> Call:
    return Call(
        "crop_and_resize",
        setting,
        lambda image, boxes, indices, size, extrapolation_value: RoIAlign(*size, extrapolation_value, transform_fpcoor)(
            image, boxes, indices
        ),
        lambda image, corners, indices: (_in_pixels(image, corners), indices),
        lambda boxes, indices: indices,
        ("image", "crop_size"),
        {"extrapolation_value": 2.0},
    )


def _pooling(setting: str, **options: Any) -> Call:
    return Call(
        "roi_align",
        setting,
        roi_align,
        _rows,
        lambda rows: rows[..., 0],
        ("input", "output_size"),
        {"sampling_ratio": 2, "aligned": True, **options},
    )


BILINEAR, NEAREST = (_cropping(method, extrapolation_value=2.0) for method in ("bilinear", "nearest"))
BIN_CENTRES, CORNERS = _pixel_crops("bin_centres", True), _pixel_crops("corners", False)
AVG, MAX = _pooling("avg"), _pooling("max", mode="max")
LEGACY = _pooling("legacy", aligned=False, spatial_scale=0.75)
ADAPTIVE = _pooling("adaptive", sampling_ratio=-1, spatial_scale=0.75)


# The calls to test on CUDA, and whether torch's deterministic mode is on; roi_align is always deterministic.
ON_CUDA = {
    "crop_and_resize-atomics": (BILINEAR, False),
    "crop_and_resize-deterministic": (BILINEAR, True),
    "roi_align-avg": (AVG, False),
    "roi_align-max": (MAX, False),
}


@contextmanager
def deterministic_algorithms(switch: bool) -> Iterator[None]:
    """Sets torch's deterministic mode, and restores the default."""
    torch.use_deterministic_algorithms(switch)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


# torch's allocator rounds up to units of 512 bytes; a difference below this bound is not a copy of a tensor.
ALLOCATION_UNITS = 2**16


def most_allocated(run: Callable[[], Any]) -> int:
    """The peak CUDA memory of a call, in bytes beyond the memory allocated before it."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = run()
    torch.cuda.synchronize()
    del result
    return torch.cuda.max_memory_allocated() - before


def for_calls(*calls: Call) -> pytest.MarkDecorator:
    """Parametrizes a test of the package by these calls."""
    return pytest.mark.parametrize("call", [pytest.param(call, marks=pytest.mark.package) for call in calls], ids=str)


each_operator = for_calls(BILINEAR, AVG)
each_call = for_calls(BILINEAR, NEAREST, AVG, MAX)
each_linear_call = for_calls(BILINEAR, NEAREST, BIN_CENTRES, CORNERS, AVG, LEGACY, ADAPTIVE)


def eighths(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Values from -8 to 8 with three bits behind the point: see Call.exact."""
    return (torch.randint(-64, 65, shape, generator=torch.Generator().manual_seed(seed)) / 8).to(dtype)


def equal(results: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Whether the tensors are the same, value by value."""
    return all(torch.equal(one, other) for one, other in zip(results, expected, strict=True))


def on_every_instruction_set(program: str, text: str = "") -> dict[str, str]:
    """The digest that a program prints after the name of its kernels, for each instruction set that ROI_ALIGN_CPU can
    select here."""
    digests = {}
    for name in ("portable", "avx2", "avx512", ""):
        process = python("-c", program, text=text, ROI_ALIGN_CPU=name)
        if "but this machine runs" in process.stderr:
            continue
        assert process.returncode == 0, process.stderr
        kernels, digest = process.stdout.split()
        assert kernels == name or not name
        digests[kernels] = digest
    assert "portable" in digests
    return digests


def with_threads(counts: Sequence[int], run: Callable[[], Any]) -> list[Any]:
    """The results of a call with each number of torch threads."""
    before = torch.get_num_threads()
    try:
        results = []
        for count in counts:
            torch.set_num_threads(count)
            results.append(run())
    finally:
        torch.set_num_threads(before)
    return results
