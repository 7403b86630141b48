"""MNN's expr.roi_align and expr.crop_and_resize on the CPU.

roi_align takes rows (index, x1, y1, x2, y2) and images in MNN's own layout NC4HW4; with `output_grad` it gives the
gradient of the image, of the mean alone. Its maximum is that of the samples. crop_and_resize is TensorFlow's operator
on NHWC images. Both are float32, and a sampling ratio of 0 is an adaptive grid. Expressions are evaluated lazily, when
they are read.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import MNN.expr as mnn
import numpy as np

from harness.backends import Makers
from harness.backends.peers.snippets import literal, place, program
from harness.operators.arrays import LAYOUTS, Array, Direction
from harness.operators.crop_and_resize.case import METHODS, Inputs
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import RoiInputs
from harness.operators.sheet import Sheet

_VERSION = version("mnn")
_TITLE = f"MNN {_VERSION} (CPU)"
# An adaptive grid has as many samples as a box has pixels.
_LARGEST = 1e4


def make_roi_align(name: str) -> Backend[RoiInputs]:
    sheet = Sheet(
        operator="roi_align",
        # expr.roi_align: "output_grad: bool, if true, use backward mode, output the grad of input".
        directions=("forward", "grad_image"),
        version=_VERSION,
        scale_dtype="float32",
        layouts=LAYOUTS,
        largest=_LARGEST,
        empty=("boxes",),
        # expr.roi_align: "pooling_mode: F.Pooling_Mode.AVEPOOL or F.Pooling_Mode.MAXPOOL".
        modes=("avg", "max"),
        grids=("fixed", "adaptive"),
    )
    return Backend(name, _TITLE, sheet, pool, np.asarray, avoids, snippet=pool_snippet)


def make_crop_and_resize(name: str) -> Backend[Inputs]:
    # expr.crop_and_resize: "method: Interp_Method, [NEAREST, BILINEAR]", "extrapolation_value: float".
    sheet = Sheet(
        operator="crop_and_resize",
        version=_VERSION,
        index_dtypes=("int32", "int64"),
        layouts=LAYOUTS,
        empty=("boxes",),
        methods=METHODS,
    )
    return Backend(name, _TITLE, sheet, crop, np.asarray, snippet=crop_snippet)


BACKENDS: Makers = {("roi_align", "mnn"): make_roi_align, ("crop_and_resize", "mnn"): make_crop_and_resize}


def avoids(inputs: RoiInputs, direction: Direction) -> str | None:
    if direction == "grad_image" and inputs.mode == "max":
        return 'MNN says of it: "backward of RoiAlign with max pool type is not supported currently".'
    return None


def pool(inputs: RoiInputs, direction: Direction) -> Callable[[], Array]:
    image, boxes, upstream = _pack(inputs.image), _constant(inputs.boxes), _pack(inputs.upstream)
    mode = mnn.Pooling_Mode.AVEPOOL if inputs.mode == "avg" else mnn.Pooling_Mode.MAXPOOL
    rule = (*inputs.output_size, float(inputs.spatial_scale), max(inputs.sampling_ratio, 0), inputs.aligned, mode)
    gradient = (True, upstream) if direction == "grad_image" else ()
    shape = inputs.image.shape if gradient else (len(inputs.boxes), inputs.image.shape[1], *inputs.output_size)

    def call() -> Array:
        return _read(mnn.roi_align(image, boxes, *rule, *gradient), mnn.NCHW, shape)

    return call


def crop(inputs: Inputs, direction: Direction) -> Callable[[], Array]:
    image = _constant(inputs.image.transpose(0, 2, 3, 1), mnn.NHWC)
    boxes, indices = _constant(inputs.boxes), _constant(inputs.box_indices.astype(np.int32))
    size = _constant(np.array(inputs.crop_size, np.int32))
    method = mnn.Interp_Method.BILINEAR if inputs.method == "bilinear" else mnn.Interp_Method.NEAREST
    shape = (len(inputs.boxes), *inputs.crop_size, inputs.image.shape[1])

    def call() -> Array:
        crops = mnn.crop_and_resize(image, boxes, indices, size, method, float(inputs.extrapolation_value))
        return np.moveaxis(_read(crops, mnn.NHWC, shape), 3, 1)

    return call


def _constant(array: Array, layout: Any = mnn.NCHW) -> Any:
    kind = mnn.int if array.dtype.kind == "i" else mnn.float
    return mnn.const(np.ascontiguousarray(array), list(array.shape), layout, kind)


def _pack(array: Array) -> Any:
    return mnn.convert(_constant(array), mnn.NC4HW4)


def _read(result: Any, layout: Any, shape: tuple[int, ...]) -> Array:
    return np.array(mnn.convert(result, layout).read(), np.float32).reshape(shape)


_START = (
    "import numpy as np, MNN.expr as F",
    "const = lambda a, layout=F.NCHW: F.const(a, list(a.shape), layout, F.int if a.dtype.kind == 'i' else F.float)",
)


def pool_snippet(inputs: RoiInputs, direction: Direction, index: tuple[int, ...]) -> str:
    mode = "F.Pooling_Mode.AVEPOOL" if inputs.mode == "avg" else "F.Pooling_Mode.MAXPOOL"
    rule = f"{inputs.spatial_scale}, {max(inputs.sampling_ratio, 0)}, {inputs.aligned}, {mode}"
    upstream = f"upstream = F.convert(const({literal(inputs.upstream)}), F.NC4HW4)"
    gradient = direction == "grad_image"
    return program(
        *_START,
        f"image = F.convert(const({literal(inputs.image)}), F.NC4HW4)",
        f"boxes = const({literal(inputs.boxes)})",
        *((upstream,) if gradient else ()),
        f"y = F.roi_align(image, boxes, *{inputs.output_size}, {rule}{', True, upstream' if gradient else ''})",
        f"print(F.convert(y, F.NCHW).read()[{place(index)}])",
    )


def crop_snippet(inputs: Inputs, direction: Direction, index: tuple[int, ...]) -> str:
    m, c, i, j = index
    value = float(inputs.extrapolation_value)
    return program(
        *_START,
        f"image = const({literal(inputs.image.transpose(0, 2, 3, 1))}, F.NHWC)",
        f"boxes = const({literal(inputs.boxes)})",
        f"indices = const({literal(inputs.box_indices.astype(np.int32))})",
        f"size = const({literal(np.array(inputs.crop_size, np.int32))})",
        f"y = F.crop_and_resize(image, boxes, indices, size, F.Interp_Method.{inputs.method.upper()}, {value})",
        f"print(F.convert(y, F.NHWC).read()[{place((m, i, j, c))}])",
    )
