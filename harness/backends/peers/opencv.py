"""RoiAlign in OpenCV's dnn module, from an ONNX model of one node: OpenCV has no function to call.

A network is built for the shapes of a call; its result is float32. It follows ONNX's specification, so its maximum is
that of weighted pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import cv2
import numpy as np
from onnx import parser

from harness.backends import Makers
from harness.backends.peers import onnx_model
from harness.backends.peers.snippets import place, program
from harness.operators.arrays import LAYOUTS, Array, Direction
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import RoiInputs
from harness.operators.sheet import Sheet

_VERSION = version("opencv-python-headless")
# An adaptive grid has as many samples as a box has pixels.
_LARGEST = 1e4


def make_roi_align(name: str) -> Backend[RoiInputs]:
    # The layer's source names its specification: "ONNX RoiAlign operator, supported opsets: 10-22". dnn computes in
    # float32 whatever the model's type.
    sheet = Sheet(
        operator="roi_align",
        version=_VERSION,
        scale_dtype="float32",
        layouts=LAYOUTS,
        largest=_LARGEST,
        empty=("boxes",),
        modes=("avg", "weighted_max"),
        grids=("fixed", "adaptive"),
    )
    return Backend(name, f"OpenCV {_VERSION} (dnn)", sheet, prepare, np.asarray, snippet=snippet)


BACKENDS: Makers = {("roi_align", "opencv"): make_roi_align}


def prepare(inputs: RoiInputs, direction: Direction) -> Callable[[], Array]:
    net = _net(onnx_model.text(inputs))
    feed = {
        "x": np.ascontiguousarray(inputs.image),
        "boxes": np.ascontiguousarray(inputs.boxes[:, 1:]),
        "indices": inputs.boxes[:, 0].astype(np.int64),
    }

    def call() -> Array:
        for name, array in feed.items():
            net.setInput(array, name)
        return np.array(net.forward())  # a copy, because the net owns its result's memory

    return call


@functools.lru_cache(maxsize=64)
def _net(text: str) -> Any:
    model = parser.parse_model(text).SerializeToString()
    return cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))


def snippet(inputs: RoiInputs, direction: Direction, index: tuple[int, ...]) -> str:
    return program(
        "import cv2, numpy as np",
        *onnx_model.snippet(inputs),
        "net = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))",
        "for array, name in ((x, 'x'), (boxes, 'boxes'), (indices, 'indices')): net.setInput(array, name)",
        f"print(net.forward()[{place(index)}])",
    )
