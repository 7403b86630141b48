"""ONNX Runtime on the CPU, forward only: a model of one node, RoiAlign or com.microsoft.CropAndResize.

RoiAlign's mean follows this project's rule; its maximum is that of weighted pixels. A sampling ratio of 0 means an
adaptive grid, and indices are separate from boxes. CropAndResize is TensorFlow's operator in NCHW, float32 only; it
rounds positions in another order, so it has TensorFlow's values within bounds but not bit for bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped, unused-ignore]
from onnx import TensorProto, helper, parser

from harness.backends import Makers
from harness.backends.peers import onnx_model
from harness.backends.peers.snippets import place, program
from harness.operators.arrays import DIRECTIONS, LAYOUTS, SINGLE_AND_DOUBLE, Array, Direction
from harness.operators.crop_and_resize.case import METHODS, Inputs
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import RoiInputs
from harness.operators.sheet import Sheet

_TITLE = f"ONNX Runtime {onnxruntime.__version__} (CPU)"
# An adaptive grid has as many samples as a box has pixels.
_MOST = 1e4


def make_roi_align(name: str) -> Backend[RoiInputs]:
    # Pixels are multiplied by weights of 0, so NaN leaks.
    sheet = Sheet(
        operator="roi_align",
        image_dtypes=SINGLE_AND_DOUBLE,
        boxes_dtypes=SINGLE_AND_DOUBLE,
        layouts=LAYOUTS,
        same_dtype=True,
        modes=("avg", "weighted_max"),
        grids=("fixed", "adaptive"),
        scale_dtype="float32",
        largest=_MOST,
        layout_bits=DIRECTIONS,
        list_bits=DIRECTIONS,
    )
    return Backend(name, _TITLE, sheet, lambda inputs, direction: _pool(inputs), np.asarray, snippet=_snippet)


def make_crop_and_resize(name: str) -> Backend[Inputs]:
    sheet = Sheet(
        operator="crop_and_resize",
        index_dtypes=("int32", "int64"),
        layouts=LAYOUTS,
        special_values=DIRECTIONS,
        methods=METHODS,
        layout_bits=DIRECTIONS,
        list_bits=DIRECTIONS,
    )
    return Backend(name, _TITLE, sheet, _crop, np.asarray)


BACKENDS: Makers = {
    ("crop_and_resize", "onnxruntime"): make_crop_and_resize,
    ("roi_align", "onnxruntime"): make_roi_align,
}


def _pool(inputs: RoiInputs) -> Callable[[], Array]:
    session = _roi_align(onnx_model.text(inputs))
    feed = {
        "x": np.ascontiguousarray(inputs.image),
        "boxes": np.ascontiguousarray(inputs.boxes[:, 1:]),
        "indices": inputs.boxes[:, 0].astype(np.int64),
    }
    return lambda: np.asarray(session.run(None, feed)[0])


def _snippet(inputs: RoiInputs, direction: Direction, index: tuple[int, ...]) -> str:
    return program(
        "import numpy as np, onnxruntime",
        *onnx_model.snippet(inputs),
        "session = onnxruntime.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])",
        f"print(session.run(None, {{'x': x, 'boxes': boxes, 'indices': indices}})[0][{place(index)}])",
    )


def _crop(inputs: Inputs, direction: Direction) -> Callable[[], Array]:
    session = _crop_and_resize(inputs.method, inputs.extrapolation_value)
    feed = {
        "image": np.ascontiguousarray(inputs.image),
        "boxes": np.ascontiguousarray(inputs.boxes),
        "indices": inputs.box_indices.astype(np.int32),
        "size": np.array(inputs.crop_size, np.int32),
    }
    return lambda: np.asarray(session.run(None, feed)[0])


@functools.lru_cache(maxsize=256)
def _roi_align(text: str) -> Any:
    return _session(parser.parse_model(text))


@functools.lru_cache(maxsize=256)
def _crop_and_resize(method: str, extrapolation_value: float) -> Any:
    node = helper.make_node(
        "CropAndResize",
        ["image", "boxes", "indices", "size"],
        ["crops"],
        domain="com.microsoft",
        mode=method,
        extrapolation_value=extrapolation_value,
    )
    floats, integers = TensorProto.FLOAT, TensorProto.INT32
    arguments = [
        helper.make_tensor_value_info("image", floats, [None] * 4),
        helper.make_tensor_value_info("boxes", floats, [None, 4]),
        helper.make_tensor_value_info("indices", integers, [None]),
        helper.make_tensor_value_info("size", integers, [2]),
    ]
    result = helper.make_tensor_value_info("crops", floats, [None] * 4)
    graph = helper.make_graph([node], "one_node", arguments, [result])
    domains = [helper.make_opsetid("", 16), helper.make_opsetid("com.microsoft", 1)]
    return _session(helper.make_model(graph, opset_imports=domains, ir_version=9))


def _session(model: Any) -> Any:
    """A session of a model that does not log errors; the caller reports them."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
