"""RoIAlign as keras-hub computes it for SAM 3, in Keras operations over TensorFlow, with TensorFlow's gradient.

Keras itself has no RoIAlign. Over PyTorch, the same function calls torchvision's operator, so its rule is torchvision's
with an adaptive grid. It reads the whole map for each bin and masks all pixels outside the bin.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

# Read once, when Keras and TensorFlow are loaded.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from keras_hub.src.models.sam3.roi_align import roi_align  # type: ignore[import-not-found, import-untyped, unused-ignore]

from harness.backends import Makers
from harness.backends.peers.snippets import literal, number, place, program
from harness.operators.arrays import LAYOUTS, Array, Direction
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import RoiInputs
from harness.operators.sheet import Sheet

_VERSION = version("keras-hub")
# The samples of a call: every bin has one for each pixel of the map.
_MOST_SAMPLES = 2**24


def make_roi_align(name: str) -> Backend[RoiInputs]:
    """It has no documentation. On PyTorch keras-hub calls `roi_align_torch` instead, which calls
    torchvision.ops.roi_align without a sampling_ratio: that defines the rule."""
    sheet = Sheet(
        operator="roi_align",
        directions=("forward", "grad_image"),  # torchvision gives the boxes no gradient
        version=_VERSION,
        layouts=LAYOUTS,
        scale_dtype="float32",
        grids=("adaptive",),  # "roi_bin_grid_h = ops.ceil(ops.divide(roi_height, out_h))"
        empty=("boxes",),
    )
    title = f"keras-hub {_VERSION} (TensorFlow, CPU)"
    return Backend(name, title, sheet, prepare, to_numpy, avoids, snippet=snippet)


BACKENDS: Makers = {("roi_align", "keras_hub"): make_roi_align}


def avoids(inputs: RoiInputs, direction: Direction) -> str | None:
    samples = len(inputs.boxes) * inputs.image[0].size * inputs.output_size[0] * inputs.output_size[1]
    if samples > _MOST_SAMPLES:
        return f"It samples each bin at every pixel of the map: {samples:,} samples take gigabytes."
    return None


def prepare(inputs: RoiInputs, direction: Direction) -> Callable[[], Any]:
    """The call on NHWC copies; its result is NHWC."""
    image, boxes = tf.constant(_channels_last(inputs.image)), tf.constant(inputs.boxes)
    _, channels, height, width = inputs.image.shape
    scale, aligned = float(inputs.spatial_scale), inputs.aligned

    def forward() -> Any:
        return roi_align(image, boxes, inputs.output_size, height, width, channels, scale, aligned)

    if direction == "forward":
        return forward
    upstream = tf.constant(_channels_last(inputs.upstream))

    def gradient() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(image)
            crops = forward()
        return tf.convert_to_tensor(tape.gradient(crops, image, upstream, tf.UnconnectedGradients.ZERO))

    return gradient


def to_numpy(result: Any) -> Array:
    array: Array = result.numpy().transpose(0, 3, 1, 2)
    return array


def _channels_last(array: Array) -> Array:
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1))


def snippet(inputs: RoiInputs, direction: Direction, index: tuple[int, ...]) -> str:
    _, channels, height, width = inputs.image.shape
    rule = f"{height}, {width}, {channels}, {number(inputs.spatial_scale)}, {inputs.aligned}"
    gradient = f"tape.gradient(y, x, {literal(_channels_last(inputs.upstream))}, 'zero')"
    n, c, i, j = index
    return program(
        "import os; os.environ['KERAS_BACKEND'] = 'tensorflow'",
        "import numpy as np, tensorflow as tf",
        "from keras_hub.src.models.sam3.roi_align import roi_align",
        f"x = tf.constant({literal(_channels_last(inputs.image))})",
        f"boxes = tf.constant({literal(inputs.boxes)})",
        "with tf.GradientTape() as tape:",
        "    tape.watch(x)",
        f"    y = roi_align(x, boxes, {inputs.output_size}, {rule})",
        *([] if direction == "forward" else [f"y = tf.convert_to_tensor({gradient})"]),
        f"print(y.numpy()[{place((n, i, j, c))}])",
    )
