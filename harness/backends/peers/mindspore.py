"""MindSpore on the CPU: ops.ROIAlign with the gradient of the image, and ops.CropAndResize (NHWC) with both gradients.

roi_end_mode=0 of ROIAlign is this operator's rule where boxes are not aligned; the default of 1 makes a box one pixel
longer and is another. Neither shifts by half a pixel, so aligned boxes are not declared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore  # type: ignore[import-not-found, unused-ignore]
import numpy as np
from mindspore import Tensor, ops  # type: ignore[import-not-found, unused-ignore]

from harness.backends import Makers
from harness.backends.peers.snippets import literal, place, program
from harness.operators.arrays import DIRECTIONS, LAYOUTS, Array, Direction
from harness.operators.crop_and_resize.case import METHODS, Inputs
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import RoiInputs
from harness.operators.sheet import Sheet

mindspore.set_device("CPU")
_TITLE = f"MindSpore {mindspore.__version__} (CPU)"
_IMPORTS = "import numpy as np, mindspore; from mindspore import Tensor, ops"


def make_roi_align(name: str) -> Backend[RoiInputs]:
    """The documentation is the docstring of mindspore.ops.ROIAlign."""
    sheet = Sheet(
        operator="roi_align",
        directions=("forward", "grad_image"),
        # "float16 or float32", of which it computes positions and sums in float16 too: another rule of rounding
        layouts=LAYOUTS,
        scale_dtype="float32",
        aligned=(
            False,
        ),  # "roi_end_mode (int): Number must be 0 or 1. If roi_end_mode=0, use the legacy implementation"
        grids=("fixed",),  # "sample_num (int): Number of sampling points": there is no word of a number below 1
        empty=("boxes",),
    )
    return Backend(name, _TITLE, sheet, _prepare_roi_align, _to_numpy, snippet=_roi_align_snippet)


def make_crop_and_resize(name: str) -> Backend[Inputs]:
    """The documentation is the docstring of mindspore.ops.CropAndResize."""
    sheet = Sheet(
        operator="crop_and_resize",
        directions=DIRECTIONS,
        # It takes float64 too, and returns "type: float32": another rule.
        image_dtypes=("uint8", "uint16", "int8", "int16", "int32", "int64", "float16", "float32"),
        gradient_dtypes=("float32",),
        index_dtypes=("int32", "int64"),
        layouts=LAYOUTS,
        methods=METHODS,
        empty=("boxes",),
    )
    return Backend(name, _TITLE, sheet, _prepare_crop, _crops_to_numpy, _avoids, snippet=_crop_snippet)


BACKENDS: Makers = {
    ("crop_and_resize", "mindspore"): make_crop_and_resize,
    ("roi_align", "mindspore"): make_roi_align,
}


def _prepare_roi_align(inputs: RoiInputs, direction: Direction) -> Callable[[], Any]:
    image, boxes = Tensor(np.ascontiguousarray(inputs.image)), Tensor(np.ascontiguousarray(inputs.boxes))
    operator = ops.ROIAlign(*inputs.output_size, float(inputs.spatial_scale), inputs.sampling_ratio, 0)
    if direction == "forward":
        return lambda: operator(image, boxes)
    upstream = Tensor(np.ascontiguousarray(inputs.upstream))
    gradient = ops.GradOperation(sens_param=True)(lambda x: operator(x, boxes))
    return lambda: gradient(image, upstream)


def _prepare_crop(inputs: Inputs, direction: Direction) -> Callable[[], Any]:
    image, boxes = Tensor(_channels_last(inputs.image)), Tensor(np.ascontiguousarray(inputs.boxes))
    indices = Tensor(inputs.box_indices.astype(np.int32))
    operator = ops.CropAndResize(inputs.method, float(inputs.extrapolation_value))

    def crops() -> Any:
        return operator(image, boxes, indices, inputs.crop_size)

    if direction == "forward":
        # Whatever the image, the result is float32; a half image's crops are halves here, rounded once.
        return (lambda: crops().astype(mindspore.float16)) if inputs.image.dtype == np.float16 else crops
    upstream = Tensor(_channels_last(inputs.upstream).astype(np.float32))
    if direction == "grad_image":
        of_image = ops.GradOperation(sens_param=True)(lambda x: operator(x, boxes, indices, inputs.crop_size))
        return lambda: of_image(image, upstream)
    of_boxes = ops.GradOperation(sens_param=True)(lambda b: operator(image, b, indices, inputs.crop_size))
    return lambda: of_boxes(boxes, upstream)


def _avoids(inputs: Inputs, direction: Direction) -> str | None:
    if direction != "forward" and inputs.method != "bilinear":
        return "MindSpore documents that the backward supports bilinear only: for other methods it returns 0."
    return None


def _to_numpy(result: Any) -> Array:
    return np.array(result.asnumpy())


def _crops_to_numpy(result: Any) -> Array:
    array = _to_numpy(result)
    return np.array(array.transpose(0, 3, 1, 2) if array.ndim == 4 else array, order="C")


def _channels_last(array: Array) -> Array:
    """A contiguous NHWC copy of an array in NCHW index order."""
    return np.array(array.transpose(0, 2, 3, 1), order="C")


def _roi_align_snippet(inputs: RoiInputs, direction: Direction, index: tuple[int, ...]) -> str:
    rule = f"{inputs.output_size[0]}, {inputs.output_size[1]}, {float(inputs.spatial_scale)!r}, {inputs.sampling_ratio}"
    gradient = f"ops.GradOperation(sens_param=True)(lambda x: op(x, rois))(x, Tensor({literal(inputs.upstream)}))"
    return program(
        _IMPORTS,
        'mindspore.set_device("CPU")',
        f"x = Tensor({literal(inputs.image)})",
        f"rois = Tensor({literal(inputs.boxes)})",
        f"op = ops.ROIAlign({rule}, 0)",
        f"y = {'op(x, rois)' if direction == 'forward' else gradient}",
        f"print(y.asnumpy()[{place(index)}])",
    )


def _crop_snippet(inputs: Inputs, direction: Direction, index: tuple[int, ...]) -> str:
    call = f"x, boxes, indices, {inputs.crop_size}"
    upstream = literal(_channels_last(inputs.upstream).astype(np.float32))
    of = "x" if direction == "grad_image" else "boxes"
    gradient = f"ops.GradOperation(sens_param=True)(lambda {of}: op({call}))({of}, Tensor({upstream}))"
    channels_last = (index[0], *index[2:], index[1]) if len(index) == 4 else index
    return program(
        _IMPORTS,
        'mindspore.set_device("CPU")',
        f"x = Tensor({literal(_channels_last(inputs.image))})",
        f"boxes = Tensor({literal(inputs.boxes)})",
        f"indices = Tensor({literal(inputs.box_indices.astype(np.int32))})",
        f'op = ops.CropAndResize("{inputs.method}", {float(inputs.extrapolation_value)!r})',
        f"y = {f'op({call})' if direction == 'forward' else gradient}",
        f"print(y.asnumpy()[{place(channels_last)}])",
    )
