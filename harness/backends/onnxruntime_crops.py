"""ONNX Runtime's com.microsoft.CropAndResize on the CPU: TensorFlow's operator in NCHW, forward only, float32 only.

It rounds positions in an order of its own, so it has TensorFlow's values within bounds and not in every bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped, unused-ignore]
from onnx import TensorProto, helper

from harness.backends.onnxruntime_session import session_of
from harness.operators.arrays import LAYOUTS, Array, Direction
from harness.operators.crop_and_resize.case import METHODS, Inputs
from harness.operators.implementation import Backend
from harness.operators.sheet import Sheet


@functools.lru_cache(maxsize=256)
def _session(method: str, extrapolation_value: float) -> Any:
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
    return session_of(node, arguments, helper.make_tensor_value_info("crops", floats, [None] * 4))


def prepare(inputs: Inputs, direction: Direction) -> Callable[[], Array]:
    session = _session(inputs.method, inputs.extrapolation_value)
    feed = {
        "image": np.ascontiguousarray(inputs.image),
        "boxes": np.ascontiguousarray(inputs.boxes),
        "indices": inputs.box_indices.astype(np.int32),
        "size": np.array(inputs.crop_size, np.int32),
    }
    return lambda: np.asarray(session.run(None, feed)[0])


backend = Backend(
    name="onnxruntime",
    title=f"ONNX Runtime {onnxruntime.__version__} (CPU)",
    sheet=Sheet(
        operator="crop_and_resize",
        index_dtypes=("int32", "int64"),
        layouts=LAYOUTS,
        special_values=True,
        methods=METHODS,
    ),
    prepare=prepare,
    to_numpy=np.asarray,
)
