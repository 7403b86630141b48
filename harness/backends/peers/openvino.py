"""OpenVINO on the CPU, forward only: its operation ROIAlign-9, and TensorFlow's CropAndResize through its frontend.

`aligned_mode` is this operator's `aligned`: "asymmetric" is without the half pixel, and gives boxes an extent of one
pixel at least; "half_pixel_for_nn" takes half a pixel off; "half_pixel" is another rule, which nothing here asks for.
A sampling ratio of 0 is an adaptive grid. The maximum is that of the interpolated samples. A model is compiled for each
choice of sizes, and computes in bfloat16 on some processors unless it is told to keep float32.

OpenVINO has no CropAndResize operation: its frontend translates TensorFlow's, so TensorFlow is needed to write the
model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import openvino
from openvino import opset9

from harness.backends import Makers, load_module
from harness.backends.peers.snippets import literal, place, program
from harness.operators.arrays import LAYOUTS, Array, Direction
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import RoiInputs
from harness.operators.sheet import Sheet

_VERSION = version("openvino")
_TITLE = f"OpenVINO {_VERSION} (CPU)"
_EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
# An adaptive grid has as many samples as a box has pixels.
_LARGEST = 1e4


def make_roi_align(name: str) -> Backend[RoiInputs]:
    # The operation takes "any supported floating-point type"; which of them the CPU computes in itself is left open.
    sheet = Sheet(
        operator="roi_align",
        version=_VERSION,
        scale_dtype="float32",
        layouts=LAYOUTS,
        largest=_LARGEST,
        empty=("boxes",),
        # ROIAlign-9: "Apply bilinear interpolation with 4 points in each bin and apply maximum or average pooling".
        modes=("avg", "max"),
        grids=("fixed", "adaptive"),
    )
    return Backend(name, _TITLE, sheet, pool, np.asarray, snippet=pool_snippet)


def make_crop_and_resize(name: str) -> Backend[Inputs]:
    """MissingLibrary without TensorFlow."""
    tensorflow = load_module("tensorflow", "harness.backends.tensorflow").tf
    # The frontend says: "Only CropAndResize with bilinear sampling is supported", "with zero extrapolation_value".
    sheet = Sheet(
        operator="crop_and_resize",
        version=_VERSION,
        index_dtypes=("int32", "int64"),
        layouts=LAYOUTS,
        border="zero",
        empty=("boxes",),
    )

    def crop(inputs: Inputs, direction: Direction) -> Callable[[], Array]:
        model = _crop_model(tensorflow, inputs.crop_size)
        image = np.array(inputs.image.transpose(0, 2, 3, 1), order="C")
        feed = [image, np.ascontiguousarray(inputs.boxes), inputs.box_indices.astype(np.int32)]
        return lambda: np.asarray(model(feed)[0]).transpose(0, 3, 1, 2)

    return Backend(name, _TITLE, sheet, crop, np.asarray, snippet=crop_snippet)


BACKENDS: Makers = {("roi_align", "openvino"): make_roi_align, ("crop_and_resize", "openvino"): make_crop_and_resize}


def pool(inputs: RoiInputs, direction: Direction) -> Callable[[], Array]:
    model = _pool_model(_choices(inputs))
    feed = [
        np.ascontiguousarray(inputs.image),
        np.ascontiguousarray(inputs.boxes[:, 1:]),
        inputs.boxes[:, 0].astype(np.int32),
    ]
    return lambda: np.asarray(model(feed)[0])


def _choices(inputs: RoiInputs) -> tuple[int, int, int, float, str, str]:
    """ROIAlign's arguments after its arrays, in order."""
    aligned = "half_pixel_for_nn" if inputs.aligned else "asymmetric"
    return (*inputs.output_size, max(inputs.sampling_ratio, 0), float(inputs.spatial_scale), inputs.mode, aligned)


@functools.lru_cache(maxsize=64)
def _pool_model(choices: tuple[int, int, int, float, str, str]) -> Any:
    sizes = (([-1] * 4, np.float32), ([-1, 4], np.float32), ([-1], np.int32))
    arguments = [opset9.parameter(*each) for each in sizes]
    node = opset9.roi_align(*arguments, *choices)
    return openvino.compile_model(openvino.Model([node], arguments, "roi_align"), "CPU", _EXACT)


@functools.lru_cache(maxsize=64)
def _crop_model(tf: Any, size: tuple[int, int]) -> Any:
    @tf.function(  # type: ignore[untyped-decorator, unused-ignore]
        input_signature=[
            tf.TensorSpec([None] * 4, tf.float32),
            tf.TensorSpec([None, 4], tf.float32),
            tf.TensorSpec([None], tf.int32),
        ]
    )
    def model(image: Any, boxes: Any, indices: Any) -> Any:
        return tf.image.crop_and_resize(image, boxes, indices, size)

    return openvino.compile_model(openvino.convert_model(model), "CPU", _EXACT)


def pool_snippet(inputs: RoiInputs, direction: Direction, index: tuple[int, ...]) -> str:
    choices = ", ".join(map(repr, _choices(inputs)))
    return program(
        "import numpy as np, openvino as ov",
        "from openvino import opset9 as op",
        f"image = {literal(inputs.image)}",
        f"boxes = {literal(inputs.boxes[:, 1:])}",
        f"indices = {literal(inputs.boxes[:, 0].astype(np.int32))}",
        "given = [op.parameter(a.shape, a.dtype) for a in (image, boxes, indices)]",
        f"model = ov.Model([op.roi_align(*given, {choices})], given, 'm')",
        f"compiled = ov.compile_model(model, 'CPU', {_EXACT})",
        f"print(compiled([image, boxes, indices])[0][{place(index)}])",
    )


def crop_snippet(inputs: Inputs, direction: Direction, index: tuple[int, ...]) -> str:
    m, c, i, j = index
    return program(
        "import numpy as np, openvino as ov, tensorflow as tf",
        f"image = {literal(inputs.image.transpose(0, 2, 3, 1))}",
        f"boxes = {literal(inputs.boxes)}",
        f"indices = {literal(inputs.box_indices.astype(np.int32))}",
        "given = [tf.TensorSpec(a.shape, a.dtype) for a in (image, boxes, indices)]",
        f"crop = tf.function(lambda x, b, i: tf.image.crop_and_resize(x, b, i, {inputs.crop_size}), given)",
        f"compiled = ov.compile_model(ov.convert_model(crop), 'CPU', {_EXACT})",
        f"print(compiled([image, boxes, indices])[0][{place((m, i, j, c))}])",
    )
