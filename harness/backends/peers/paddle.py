"""PaddlePaddle's roi_align on the CPU, with its gradient of the image.

Boxes must be in the order of their images, with a count for each image: they are sorted before the call and the result
is reordered after it, both outside the timed part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle  # type: ignore[import-not-found, unused-ignore]
from paddle.vision.ops import roi_align  # type: ignore[import-not-found, unused-ignore]

from harness.backends import Makers
from harness.backends.peers.snippets import literal, number, place, program
from harness.operators.arrays import LAYOUTS, SINGLE_AND_DOUBLE, Array, Direction
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import RoiInputs
from harness.operators.sheet import Sheet

paddle.set_device("cpu")
# An adaptive grid has as many samples as a box has pixels.
_MOST = 1e4


def make_roi_align(name: str) -> Backend[RoiInputs]:
    """The documentation is the docstring of paddle.vision.ops.roi_align."""
    sheet = Sheet(
        operator="roi_align",
        directions=("forward", "grad_image"),  # the boxes get none
        image_dtypes=SINGLE_AND_DOUBLE,  # "The data type is float32 or float64", of both
        boxes_dtypes=SINGLE_AND_DOUBLE,
        same_dtype=True,  # boxes of the other type are refused: "does not match the type of data"
        layouts=LAYOUTS,
        grids=("fixed", "adaptive"),  # "If <= 0, then an adaptive number of grid points are used"
        scale_dtype="float32",
        largest=_MOST,
        empty=("boxes",),
    )
    return Backend(name, f"PaddlePaddle {paddle.__version__} (CPU)", sheet, prepare, to_numpy, snippet=snippet)


BACKENDS: Makers = {("roi_align", "paddle"): make_roi_align}


def prepare(inputs: RoiInputs, direction: Direction) -> Callable[[], tuple[Any, Array]]:
    """The call on boxes in the order of their images; it returns the result with the caller's order of rows."""
    order, boxes, counts = _by_image(inputs)
    image = paddle.to_tensor(np.ascontiguousarray(inputs.image), stop_gradient=direction == "forward")
    rest = (paddle.to_tensor(boxes), paddle.to_tensor(counts), inputs.output_size, inputs.spatial_scale)

    def forward() -> Any:
        return roi_align(image, *rest, inputs.sampling_ratio, inputs.aligned)

    if direction == "forward":
        back = np.argsort(order, kind="stable")
        return lambda: (forward(), back)
    upstream = paddle.to_tensor(np.ascontiguousarray(inputs.upstream[order]))
    everything = np.arange(len(inputs.image))
    return lambda: (paddle.grad(forward(), image, upstream)[0], everything)


def to_numpy(result: tuple[Any, Array]) -> Array:
    tensor, rows = result
    array: Array = tensor.numpy()[rows]
    return array


def snippet(inputs: RoiInputs, direction: Direction, index: tuple[int, ...]) -> str:
    order, boxes, counts = _by_image(inputs)
    gradient = direction == "grad_image"
    sorted_index = index if gradient else (int(np.argsort(order, kind="stable")[index[0]]), *index[1:])
    call = f"{inputs.output_size}, {number(inputs.spatial_scale)}, {inputs.sampling_ratio}, {inputs.aligned}"
    upstream = literal(inputs.upstream[order])
    return program(
        "import numpy as np, paddle",
        f"x = paddle.to_tensor({literal(inputs.image)}{', stop_gradient=False' if gradient else ''})",
        f"boxes = paddle.to_tensor({literal(boxes)})",
        f"boxes_num = paddle.to_tensor({literal(counts)})",
        f"y = paddle.vision.ops.roi_align(x, boxes, boxes_num, {call})",
        *([f"y = paddle.grad(y, x, paddle.to_tensor({upstream}))[0]"] if gradient else []),
        f"print(y.numpy()[{place(sorted_index)}])",
    )


def _by_image(inputs: RoiInputs) -> tuple[Array, Array, Array]:
    """The order of boxes by image, the boxes without their indices in that order, and the number of boxes per image."""
    indices = inputs.boxes[:, 0].astype(np.int64)
    order = np.argsort(indices, kind="stable")
    counts = np.bincount(indices, minlength=len(inputs.image)).astype(np.int32)
    return order, np.ascontiguousarray(inputs.boxes[order, 1:]), counts
