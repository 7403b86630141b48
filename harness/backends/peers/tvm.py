"""Apache TVM on the CPU, forward only: topi's roi_align_nchw and crop_and_resize, compiled for each call's shapes.

The operators are compiled without a schedule, for one thread. The timed part is the compiled function.

Its `aligned` is documented as "aligned ROIAlign semantics without the legacy 1-pixel clamp" (relax.op.vision.roi_align)
and does not shift boxes by half a pixel: TVM's own importers shift them before the call (relax/frontend/torch, onnx).
This backend does the same, by half a pixel of the map.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm  # type: ignore[import-not-found, unused-ignore]
from tvm import te, topi  # type: ignore[import-not-found, unused-ignore]

from harness.backends import Makers
from harness.backends.peers.snippets import literal, number, place, program
from harness.operators.arrays import LAYOUTS, SINGLE_AND_DOUBLE, Array, Direction
from harness.operators.crop_and_resize.case import METHODS, Inputs
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import SAMPLED, RoiInputs
from harness.operators.sheet import Sheet

_TITLE = f"Apache TVM {tvm.__version__} (CPU)"
# An adaptive grid has as many samples as a box has pixels.
_MOST = 1e4
# Compiling takes a fifth of a second, or several seconds on a busy machine.
_LIMIT_S = 120.0
_METHODS = {"bilinear": "bilinear", "nearest": "nearest_neighbor"}
# The lines with which a snippet compiles a tensor expression.
_IMPORTS = "import numpy as np, tvm; from tvm import te, topi"
_COMPILE_LINE = 'f = tvm.compile(tvm.IRModule({"main": te.create_prim_func([%s, y])}), target="llvm")["main"]'


def make_roi_align(name: str) -> Backend[RoiInputs]:
    """The documentation is the docstring of tvm.relax.op.vision.roi_align; topi's function says less."""
    sheet = Sheet(
        operator="roi_align",
        limit=_LIMIT_S,
        image_dtypes=SINGLE_AND_DOUBLE,
        boxes_dtypes=SINGLE_AND_DOUBLE,
        same_dtype=True,  # no types are documented; it computes in the boxes' and returns that
        layouts=LAYOUTS,
        modes=SAMPLED,  # "Supported values are `avg` and `max`"
        grids=("fixed", "adaptive"),  # "Non-positive values use adaptive sampling"
        largest=_MOST,
        empty=("boxes",),
    )
    return Backend(name, _TITLE, sheet, _prepare_roi_align, _to_numpy, snippet=_roi_align_snippet)


def make_crop_and_resize(name: str) -> Backend[Inputs]:
    """The documentation is the docstring of tvm.topi.image.crop_and_resize, whose rule is "tf_crop_and_resize"."""
    sheet = Sheet(
        operator="crop_and_resize",
        limit=_LIMIT_S,
        index_dtypes=("int32", "int64"),
        layouts=LAYOUTS,
        methods=METHODS,  # {"bilinear", "nearest_neighbor"}
        empty=("boxes",),
    )
    return Backend(name, _TITLE, sheet, _prepare_crop, _to_numpy, snippet=_crop_snippet)


BACKENDS: Makers = {
    ("crop_and_resize", "tvm"): make_crop_and_resize,
    ("roi_align", "tvm"): make_roi_align,
}


def _prepare_roi_align(inputs: RoiInputs, direction: Direction) -> Callable[[], Any]:
    image, boxes = np.ascontiguousarray(inputs.image), _shift(inputs)
    rule = (inputs.output_size, inputs.spatial_scale, inputs.mode, inputs.sampling_ratio, inputs.aligned)
    function = _roi_align(image.shape, boxes.shape, image.dtype.name, *rule)
    return _call(function, [image, boxes], (len(boxes), image.shape[1], *inputs.output_size))


def _prepare_crop(inputs: Inputs, direction: Direction) -> Callable[[], Any]:
    image, boxes = np.ascontiguousarray(inputs.image), np.ascontiguousarray(inputs.boxes)
    function = _crop(image.shape, boxes.shape, inputs.crop_size, inputs.method, inputs.extrapolation_value)
    indices = inputs.box_indices.astype(np.int32)
    return _call(function, [image, boxes, indices], (len(boxes), image.shape[1], *inputs.crop_size))


def _shift(inputs: RoiInputs) -> Array:
    """The boxes; aligned ones shifted by half a pixel of the map to the left and up."""
    boxes = np.array(inputs.boxes, order="C")
    if inputs.aligned:
        boxes[:, 1:] = (boxes[:, 1:].astype(np.float64) - 0.5 / inputs.spatial_scale).astype(boxes.dtype)
    return boxes


@functools.lru_cache(maxsize=512)
def _roi_align(image: tuple[int, ...], boxes: tuple[int, ...], dtype: str, *rule: Any) -> Any:
    arguments = [te.placeholder(image, dtype, "x"), te.placeholder(boxes, dtype, "boxes")]
    return _compile(arguments, topi.vision.roi_align_nchw(*arguments, *rule))


@functools.lru_cache(maxsize=512)
def _crop(
    image: tuple[int, ...], boxes: tuple[int, ...], size: tuple[int, int], method: str, extrapolation_value: float
) -> Any:
    places = (("x", image, "float32"), ("boxes", boxes, "float32"), ("indices", boxes[:1], "int32"))
    arguments = [te.placeholder(shape, dtype, name) for name, shape, dtype in places]
    rule = (size, "NCHW", _METHODS[method], float(extrapolation_value))
    return _compile(arguments, topi.image.crop_and_resize(*arguments, *rule))


def _compile(arguments: Sequence[Any], result: Any) -> Any:
    module = tvm.IRModule({"main": te.create_prim_func([*arguments, result])})
    return tvm.compile(module, target="llvm")["main"]


def _call(function: Any, arrays: Sequence[Array], shape: tuple[int, ...]) -> Callable[[], Any]:
    tensors = [tvm.runtime.tensor(each) for each in arrays]
    dtype = arrays[0].dtype

    def call() -> Any:
        # NaN, so that unwritten values are visible.
        result = tvm.runtime.tensor(np.full(shape, np.nan, dtype))
        function(*tensors, result)
        return result

    return call


def _to_numpy(result: Any) -> Array:
    array: Array = result.numpy()
    return array


def _roi_align_snippet(inputs: RoiInputs, direction: Direction, index: tuple[int, ...]) -> str:
    boxes, dtype = _shift(inputs), inputs.image.dtype.name
    shape = (len(boxes), inputs.image.shape[1], *inputs.output_size)
    rule = f'{number(inputs.spatial_scale)}, "{inputs.mode}", {inputs.sampling_ratio}, {inputs.aligned}'
    return program(
        _IMPORTS,
        f"x = {literal(inputs.image)}",
        f"boxes = {literal(boxes)}{_shift_comment(inputs)}",
        f'p, q = te.placeholder(x.shape, "{dtype}"), te.placeholder(boxes.shape, "{dtype}")',
        f"y = topi.vision.roi_align_nchw(p, q, {inputs.output_size}, {rule})",
        _COMPILE_LINE % "p, q",
        f"out = tvm.runtime.tensor(np.full({shape}, np.nan, x.dtype))",
        "f(tvm.runtime.tensor(x), tvm.runtime.tensor(boxes), out)",
        f"print(out.numpy()[{place(index)}])",
    )


def _shift_comment(inputs: RoiInputs) -> str:
    return "  # shifted by 0.5 / spatial_scale, as TVM's importers do" if inputs.aligned else ""


def _crop_snippet(inputs: Inputs, direction: Direction, index: tuple[int, ...]) -> str:
    rule = f'{inputs.crop_size}, "NCHW", "{_METHODS[inputs.method]}", {float(inputs.extrapolation_value)!r}'
    shape = (len(inputs.boxes), inputs.image.shape[1], *inputs.crop_size)
    return program(
        _IMPORTS,
        f"x = {literal(inputs.image)}",
        f"boxes = {literal(inputs.boxes)}; indices = {literal(inputs.box_indices.astype(np.int32))}",
        "p, q, r = (te.placeholder(a.shape, str(a.dtype)) for a in (x, boxes, indices))",
        f"y = topi.image.crop_and_resize(p, q, r, {rule})",
        _COMPILE_LINE % "p, q, r",
        f"out = tvm.runtime.tensor(np.full({shape}, np.nan, x.dtype))",
        "f(*map(tvm.runtime.tensor, (x, boxes, indices)), out)",
        f"print(out.numpy()[{place(index)}])",
    )
