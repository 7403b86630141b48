"""This project's CUDA kernels, run on the CPU by harness/kernels/cuda_on_host: slow, and right only where they are.

The order in which threads run, forward, backward or at random, is picked by the boxes of the call: cases meet all
three, and the same call always meets the same one. The kernels of roi_align pool a pyramid; a RoiInputs is one of a
single level.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import Makers
from harness.kernels import compiling
from harness.kernels.cuda_on_host import kernel_library
from harness.kernels.drivers.arrays import Described, dense, described, full, launch
from harness.operators.arrays import (
    DIRECTIONS,
    FLOATS,
    HALVES,
    LAYOUTS,
    SINGLE_AND_DOUBLE,
    Array,
    Direction,
    crops_dtype,
)
from harness.operators.crop_and_resize.case import BOX_RULES, METHODS, Inputs
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import SAMPLED, Mode, RoiInputs
from harness.operators.sheet import EMPTY, OperatorName, Sheet

Library = Callable[[], Path]


def make_crop_and_resize(
    name: str, *, atomics: bool, library: Library = kernel_library, order: int | None = None
) -> Backend[Inputs]:
    """The kernels of a library as a backend, with the threads in one order if it is given.

    atomics: the image gradient is added up by atomics, as the operator does by default, or gathered in the CPU's order,
    as it does under torch.use_deterministic_algorithms(True). MissingLibrary if there is no compiler here.
    """
    compiling.compiler()
    kernels = CropKernels(library, order, atomics)
    sheet = _sheet(
        "crop_and_resize",
        index_dtypes=("int32", "int64"),
        methods=METHODS,
        box_rules=BOX_RULES,
        tensorflow_bits=("forward",) if atomics else ("forward", "grad_image"),
        unordered=("grad_image",) if atomics else (),
    )
    title = f"roi_align (CUDA kernels on the CPU, {'atomics' if atomics else 'deterministic'})"
    return Backend(name, title, sheet, lambda inputs, direction: lambda: kernels.run(inputs, direction), np.asarray)


def make_roi_align(name: str, *, library: Library = kernel_library, order: int | None = None) -> Backend[RoiInputs]:
    """Likewise of roi_align."""
    compiling.compiler()
    kernels = RoiKernels(library, order)

    def prepare(inputs: RoiInputs, direction: Direction) -> Callable[[], Array]:
        return lambda: kernels.run(of_one_level(inputs), direction)[0]

    sheet = _sheet("roi_align", modes=SAMPLED, grids=("fixed", "adaptive"))
    return Backend(name, "roi_align (CUDA kernels on the CPU)", sheet, prepare, np.asarray)


BACKENDS: Makers = {
    ("crop_and_resize", "cuda_on_host"): partial(make_crop_and_resize, atomics=True),
    ("crop_and_resize", "cuda_on_host_gather"): partial(make_crop_and_resize, atomics=False),
    ("roi_align", "cuda_on_host"): make_roi_align,
}


def _sheet(operator: OperatorName, **declared: Any) -> Sheet:
    """What both operators declare, and what one declares beside it. The operators widen integers before the kernels."""
    return Sheet(
        operator=operator,
        directions=DIRECTIONS,
        image_dtypes=FLOATS,
        boxes_dtypes=SINGLE_AND_DOUBLE,
        layouts=LAYOUTS,
        bad_input=("boxes",),
        empty=EMPTY,
        special_values=DIRECTIONS,
        pinned=DIRECTIONS,
        layout_bits=("forward", "grad_image"),
        list_bits=DIRECTIONS,
        **declared,
    )


class _CropCall(ctypes.Structure):
    """What driver.cpp takes."""

    _fields_ = (
        ("image", Described),
        ("crops", Described),
        ("boxes", Described),
        ("box_indices", Described),
        ("box_gradient", Described),
        ("box_rule", ctypes.c_int64),
        ("method", ctypes.c_int64),
        ("extrapolation_value", ctypes.c_double),
    )


@dataclass(frozen=True)
class CropKernels:
    """The kernels of one library, with threads in the given order, or in one that the boxes of a call pick."""

    library: Library
    order: int | None
    atomics: bool

    def run(self, inputs: Inputs, direction: Direction) -> Array:
        result = self._fresh(inputs, direction)
        if inputs.upstream.size:  # else there are no samples or no channels, and the operator calls no kernel
            self._launch(inputs, direction, result)
        if direction != "grad_image":
            return result
        with np.errstate(over="ignore"):  # a sum may be infinite as a half
            return result.astype(inputs.image.dtype)

    def _launch(self, inputs: Inputs, direction: Direction, result: Array) -> None:
        call = _CropCall(
            described(result if direction == "grad_image" else inputs.image),
            described(result if direction == "forward" else inputs.upstream),
            described(inputs.boxes),
            described(inputs.box_indices),
            described(result if direction == "grad_boxes" else inputs.boxes),
            BOX_RULES.index(inputs.box_rule),
            METHODS.index(inputs.method),
            inputs.extrapolation_value,
        )
        name: str = direction
        if direction == "grad_image":
            name += "_atomic" if self.atomics else "_gather"
        launch(self.library(), name, self.order, inputs.boxes, call, [result])

    def _fresh(self, inputs: Inputs, direction: Direction) -> Array:
        """Where the result goes: zeros if it is added to or nothing is, else NaN, as fresh memory on a GPU may be."""
        image, upstream = inputs.image, inputs.upstream
        if direction == "forward":
            shape = (len(inputs.boxes), image.shape[1], *inputs.crop_size)
            return dense(shape, crops_dtype(image.dtype.name), np.nan, like=image)
        fill = np.nan if upstream.size else 0
        if direction == "grad_boxes":
            return full(inputs.boxes.shape, inputs.boxes.dtype.name, fill)
        if not self.atomics:
            return dense(image.shape, image.dtype.name, fill, like=image)
        sums = "float32" if image.dtype.name in HALVES else image.dtype.name
        return dense(image.shape, sums, 0, like=image)


_MOST_LEVELS = 16
_Levels = Described * _MOST_LEVELS


class _PyramidCall(ctypes.Structure):
    """What roi_driver.cpp takes."""

    _fields_ = (
        ("levels", ctypes.c_int64),
        ("maps", _Levels),
        ("values", _Levels),
        ("grad_maps", _Levels),
        ("scales", ctypes.c_double * _MOST_LEVELS),
        ("crops", Described),
        ("boxes", Described),
        ("box_gradient", Described),
        ("sampling_ratio", ctypes.c_int64),
        ("aligned", ctypes.c_int64),
        ("first_level", ctypes.c_int64),
        ("canonical_scale", ctypes.c_double),
        ("canonical_level", ctypes.c_int64),
    )


@dataclass(frozen=True)
class PyramidCall:
    """One call of the operator: the fields are its arguments. `values` is pooled where `maps` are the largest."""

    maps: Sequence[Array]
    boxes: Array
    upstream: Array
    output_size: tuple[int, int]
    scales: Sequence[float]
    sampling_ratio: int
    aligned: bool
    mode: Mode
    values: Sequence[Array] | None = None
    first_level: int = 0
    canonical_scale: float = 224.0
    canonical_level: int = 4


def of_one_level(inputs: RoiInputs) -> PyramidCall:
    return PyramidCall(
        maps=[inputs.image],
        boxes=inputs.boxes,
        upstream=inputs.upstream,
        output_size=inputs.output_size,
        scales=[inputs.spatial_scale],
        sampling_ratio=inputs.sampling_ratio,
        aligned=inputs.aligned,
        mode=inputs.mode,
    )


@dataclass(frozen=True)
class RoiKernels:
    """The kernels of one library, with threads in the given order, or in one that the boxes of a call pick."""

    library: Library = kernel_library
    order: int | None = None

    def run(self, of: PyramidCall, direction: Direction) -> list[Array]:
        """What a direction gives: crops, the gradient of each level, or that of the boxes."""
        first = of.maps[0]
        dtype = first.dtype.name
        # As in the operator: with nothing upstream there is nothing to sum, and no kernel is called for boxes or crops.
        empty = 0 in (len(of.boxes), first.shape[1])
        fill = 0.0 if empty else np.nan
        if direction == "forward":
            results = [dense((len(of.boxes), first.shape[1], *of.output_size), crops_dtype(dtype), fill, like=first)]
        elif direction == "grad_image":
            results = [dense(each.shape, dtype, np.nan, like=first) for each in of.maps]
            empty = all(each.size == 0 for each in of.maps)
        else:
            results = [full(of.boxes.shape, of.boxes.dtype.name, fill)]
        if empty:
            return results
        arguments = _PyramidCall(
            levels=len(of.maps),
            maps=_levels(of.maps),
            values=_levels(of.maps if of.values is None else of.values),
            grad_maps=_levels(results if direction == "grad_image" else of.maps),
            scales=(ctypes.c_double * _MOST_LEVELS)(*of.scales),
            crops=described(results[0] if direction == "forward" else of.upstream),
            boxes=described(of.boxes),
            box_gradient=described(results[0] if direction == "grad_boxes" else of.boxes),
            sampling_ratio=of.sampling_ratio,
            aligned=of.aligned,
            first_level=of.first_level,
            canonical_scale=of.canonical_scale,
            canonical_level=of.canonical_level,
        )
        launch(self.library(), f"roi_{of.mode}_{direction}", self.order, of.boxes, arguments, results)
        return results


def _levels(arrays: Sequence[Array]) -> Any:
    return _Levels(*map(described, arrays))
