"""TensorFlow's crop_and_resize on the CPU: the implementation that ours must equal to the last bit.

Three settings make it usable as an oracle. Operator determinism is on, because otherwise its image gradient is a race
between threads; the GPU is hidden, because its kernels round in another order; and it gets as many threads as PyTorch
uses by default, for fair timing. All is NHWC: the transposes happen in `prepare` and `to_numpy`, which are not timed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from harness.backends import Makers
from harness.operators.arrays import DIRECTIONS, LAYOUTS, Array, Direction
from harness.operators.crop_and_resize.case import METHODS, Inputs
from harness.operators.implementation import Backend
from harness.operators.sheet import EMPTY, Sheet

# Read once, when TensorFlow's library is loaded. oneDNN has no crop_and_resize, and would only print a notice.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import tensorflow as tf

_THREADS = int(os.environ.get("OMP_NUM_THREADS", "0")) or len(os.sched_getaffinity(0))
tf.config.set_visible_devices([], "GPU")
tf.config.threading.set_intra_op_parallelism_threads(_THREADS)
tf.config.experimental.enable_op_determinism()
tf.random.set_seed(0)

_IMAGE_DTYPES = ("uint8", "uint16", "int8", "int16", "int32", "int64", "float16", "float32")


def make_crop_and_resize(name: str) -> Backend[Inputs]:
    return Backend(
        name=name,
        title=f"TensorFlow {tf.__version__} (CPU)",
        # It accepts float64 images but computes in float32: another rule. It casts positions to integers before testing
        # whether they are inside, in the gradients too, and crashes on positions that do not fit: [3.4e38, 0, -3.4e38,
        # 1] ends the process.
        sheet=Sheet(
            operator="crop_and_resize",
            directions=DIRECTIONS,
            image_dtypes=_IMAGE_DTYPES,
            gradient_dtypes=("float32",),  # of float16 images it is summed in half precision
            index_dtypes=("int32", "int64"),
            layouts=LAYOUTS,
            empty=EMPTY,
            special_values=DIRECTIONS,
            methods=METHODS,
            pinned=("forward", "grad_image"),
            tensorflow_bits=("forward", "grad_image"),
            layout_bits=DIRECTIONS,
            list_bits=DIRECTIONS,
        ),
        prepare=prepare,
        to_numpy=to_numpy,
    )


BACKENDS: Makers = {("crop_and_resize", "tensorflow"): make_crop_and_resize}


def prepare(inputs: Inputs, direction: Direction) -> Callable[[], Any]:
    """The call on NHWC copies. Its result is NHWC, float32 (float16 for a float16 image); boxes' gradient (M,4)."""
    image = tf.constant(_channels_last(inputs.image))
    boxes = tf.constant(inputs.boxes)
    indices = tf.constant(inputs.box_indices.astype(np.int32))
    if direction == "forward":
        crop_size = tf.constant(inputs.crop_size, tf.int32)
        method, value = inputs.method, inputs.extrapolation_value

        def forward() -> Any:
            return tf.raw_ops.CropAndResize(
                image=image,
                boxes=boxes,
                box_ind=indices,
                crop_size=crop_size,
                method=method,
                extrapolation_value=value,
            )

        # TensorFlow always returns float32; a half image's crops are rounded once to half here.
        return (lambda: tf.cast(forward(), tf.float16)) if image.dtype == tf.float16 else forward
    upstream = tf.constant(_channels_last(inputs.upstream).astype(np.float32))
    if direction == "grad_image":
        size = tf.constant(image.shape, tf.int32)
        return lambda: tf.raw_ops.CropAndResizeGradImage(
            grads=upstream, boxes=boxes, box_ind=indices, image_size=size, T=tf.float32, method=inputs.method
        )
    # The box gradient has no method: it is the bilinear formula's in any case.
    return lambda: tf.raw_ops.CropAndResizeGradBoxes(grads=upstream, image=image, boxes=boxes, box_ind=indices)


def to_numpy(result: Any) -> Array:
    """A result as an array of its own: NCHW, or (M,4) as it is."""
    array: Array = result.numpy()
    return np.array(array.transpose(0, 3, 1, 2) if array.ndim == 4 else array, order="C")


def _channels_last(array: Array) -> Array:
    """A contiguous NHWC copy of an array in NCHW index order."""
    return np.array(array.transpose(0, 2, 3, 1), order="C")
