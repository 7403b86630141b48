"""RoiAlign as onnx's own ReferenceEvaluator computes it: the specification's rule, as its authors run it, in Python.

It loops over every sample and is slow. Its maximum is that of weighted pixels. It computes in NumPy scalars of the
image's dtype.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from onnx import parser
from onnx.reference import ReferenceEvaluator

from harness.backends import Makers
from harness.backends.peers import onnx_model
from harness.backends.peers.snippets import place, program
from harness.operators.arrays import LAYOUTS, SINGLE_AND_DOUBLE, Array, Direction
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import RoiInputs
from harness.operators.sheet import Sheet

_VERSION = version("onnx")
# An adaptive grid has as many samples as a box has pixels.
_LARGEST = 1e4
# More boxes than this take minutes.
_MOST_BOXES = 2000


def make_roi_align(name: str) -> Backend[RoiInputs]:
    sheet = Sheet(
        operator="roi_align",
        version=_VERSION,
        image_dtypes=SINGLE_AND_DOUBLE,
        boxes_dtypes=SINGLE_AND_DOUBLE,
        same_dtype=True,  # RoiAlign-16: X and rois are both of the type T1
        scale_dtype="float32",
        layouts=LAYOUTS,
        largest=_LARGEST,
        empty=("boxes",),
        # RoiAlign-16: "Two modes are supported: 'avg' and 'max'".
        modes=("avg", "weighted_max"),
        grids=("fixed", "adaptive"),
    )
    return Backend(name, f"onnx {_VERSION} (reference)", sheet, prepare, np.asarray, avoids, snippet=snippet)


BACKENDS: Makers = {("roi_align", "onnx_reference"): make_roi_align}


def avoids(inputs: RoiInputs, direction: Direction) -> str | None:
    if len(inputs.boxes) > _MOST_BOXES:
        return f"The evaluator is a loop in Python: more than {_MOST_BOXES:,} boxes take minutes."
    return None


def prepare(inputs: RoiInputs, direction: Direction) -> Callable[[], Array]:
    evaluator = _evaluator(onnx_model.text(inputs))
    feed = {"x": inputs.image, "boxes": inputs.boxes[:, 1:], "indices": inputs.boxes[:, 0].astype(np.int64)}
    return lambda: np.asarray(evaluator.run(None, feed)[0])


@functools.lru_cache(maxsize=64)
def _evaluator(text: str) -> Any:
    return ReferenceEvaluator(parser.parse_model(text))


def snippet(inputs: RoiInputs, direction: Direction, index: tuple[int, ...]) -> str:
    return program(
        "import numpy as np",
        "from onnx.reference import ReferenceEvaluator",
        *onnx_model.snippet(inputs),
        "y, = ReferenceEvaluator(model).run(None, {'x': x, 'boxes': boxes, 'indices': indices})",
        f"print(y[{place(index)}])",
    )
