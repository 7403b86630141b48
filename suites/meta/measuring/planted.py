"""Foreign functions for the tests of timing: a correct one, and faulty ones that must not get a time."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

from torchvision.ops import roi_align  # type: ignore[import-untyped, unused-ignore]

from harness.backends.torchvision import make_roi_align

_CACHE: dict[Any, Any] = {}


def right(*arguments: Any) -> Any:
    return roi_align(*arguments)


def wrong(*arguments: Any) -> Any:
    return roi_align(*arguments) * 1.5


def keeps(image: Any, boxes: Any, *rule: Any) -> Any:
    """Computes once per address, and so appears fast."""
    address = image.data_ptr(), boxes.data_ptr()
    if address not in _CACHE:
        _CACHE[address] = roi_align(image, boxes, *rule)
    return _CACHE[address]


def keeps_boxes(image: Any, boxes: Any, *rule: Any) -> Any:
    """Caches a part of the input: the boxes."""
    return roi_align(image, _CACHE.setdefault(boxes.data_ptr(), boxes.clone()), *rule)


def keeps_image(image: Any, boxes: Any, *rule: Any) -> Any:
    return roi_align(_CACHE.setdefault(image.data_ptr(), image.clone()), boxes, *rule)


def writes(image: Any, boxes: Any, *rule: Any) -> Any:
    crops = roi_align(image, boxes, *rule)
    image.zero_()
    return crops


def ends(*arguments: Any) -> None:
    ctypes.string_at(0)


_ON_THE_CPU = make_roi_align("on_cuda", "cpu")
# A whole Backend that declares a GPU (fake_cuda.py).
on_cuda = replace(_ON_THE_CPU, sheet=replace(_ON_THE_CPU.sheet, device="cuda", image_dtypes=("float32",)))

for each in (right, wrong, keeps, keeps_boxes, keeps_image, writes, ends):
    each.sheet = {"operator": "roi_align"}  # type: ignore[attr-defined]
right.sheet |= {"directions": ["forward", "grad_image"]}  # type: ignore[attr-defined]
