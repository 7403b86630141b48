"""ONNX Runtime's RoiAlign on the CPU. Its mean is this rule; its maximum is another, over pixels times weights.

So only the mean is judged; `run_max` gives the other for the test that tells the two apart. Its sampling ratio of 0 is
an adaptive grid, and it takes indices apart from boxes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped, unused-ignore]
from onnx import TensorProto, helper

from harness.backends.onnxruntime_session import session_of
from harness.operators.arrays import LAYOUTS, SINGLE_AND_DOUBLE, Array, Direction
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import RoiInputs
from harness.operators.sheet import Sheet

_TYPES = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
_MOST = 1e4


def avoids(inputs: RoiInputs, direction: Direction) -> str | None:
    if not (np.abs(inputs.boxes[:, 1:].astype(np.float64)) < _MOST).all():
        return f"ONNX Runtime's RoiAlign is given finite boxes below {_MOST:.0f} pixels."
    if float(np.float32(inputs.spatial_scale)) != inputs.spatial_scale and inputs.image.dtype.name == "float64":
        return "ONNX Runtime keeps the scale in float32."
    edges = inputs.boxes[:, 1:].astype(np.float64)
    if inputs.aligned and inputs.sampling_ratio <= 0 and (edges[:, 2:] <= edges[:, :2]).any():
        return "ONNX Runtime's RoiAlign counts samples of an inverted box below 0."
    return None


@functools.lru_cache(maxsize=256)
def _session(output_size: tuple[int, int], scale: float, ratio: int, aligned: bool, mode: str, dtype: str) -> Any:
    node = helper.make_node(
        "RoiAlign",
        ["X", "rois", "index"],
        ["Y"],
        output_height=output_size[0],
        output_width=output_size[1],
        spatial_scale=scale,
        sampling_ratio=max(ratio, 0),
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        mode=mode,
    )
    of = _TYPES[dtype]
    arguments = [
        helper.make_tensor_value_info("X", of, [None] * 4),
        helper.make_tensor_value_info("rois", of, [None, 4]),
        helper.make_tensor_value_info("index", TensorProto.INT64, [None]),
    ]
    return session_of(node, arguments, helper.make_tensor_value_info("Y", of, [None] * 4))


def _call(inputs: RoiInputs, mode: str) -> Callable[[], Array]:
    name = inputs.image.dtype.name
    session = _session(inputs.output_size, inputs.spatial_scale, inputs.sampling_ratio, inputs.aligned, mode, name)
    feed = {
        "X": np.ascontiguousarray(inputs.image),
        "rois": np.ascontiguousarray(inputs.boxes[:, 1:]),
        "index": inputs.boxes[:, 0].astype(np.int64),
    }
    return lambda: np.asarray(session.run(None, feed)[0])


def run_max(inputs: RoiInputs) -> Array:
    """Its own maximum of the same call, whatever mode the inputs ask for."""
    return _call(inputs, "max")()


backend = Backend(
    name="onnxruntime",
    title=f"ONNX Runtime {onnxruntime.__version__} (CPU)",
    # Its maximum is over weighted pixels, another rule; pixels are multiplied by weights of 0, so that NaN leaks.
    sheet=Sheet(
        operator="roi_align",
        image_dtypes=SINGLE_AND_DOUBLE,
        boxes_dtypes=SINGLE_AND_DOUBLE,
        layouts=LAYOUTS,
        same_dtype=True,
        grids=("fixed", "adaptive"),
    ),
    avoids=avoids,
    prepare=lambda inputs, direction: _call(inputs, "avg"),
    to_numpy=np.asarray,
)
