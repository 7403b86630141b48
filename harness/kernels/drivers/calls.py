"""Calls the drivers' functions with a case's inputs, doing what the operators do around their kernels on a GPU.

A caller provides a library of the kernels and drivers, and a function that launches them from it. The kernels of
roi_align pool a pyramid; a RoiInputs is a pyramid of one level.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.kernels.drivers.arrays import ArrayDescription, dense, describe, full
from harness.operators.arrays import HALVES, Array, Direction, crops_dtype
from harness.operators.crop_and_resize.case import BOX_RULES, METHODS, Inputs
from harness.operators.roi_align.case import Mode, RoiInputs
from harness.operators.sheet import OperatorName

Library = Callable[[], Path]
# Runs a driver's function: (library, name, order of threads or None, boxes, arguments, results).
Launch = Callable[[Path, str, int | None, Array, ctypes.Structure, Sequence[Array]], None]


class _CropCall(ctypes.Structure):
    """The argument of crop_and_resize.cpp."""

    _fields_ = (
        ("image", ArrayDescription),
        ("crops", ArrayDescription),
        ("boxes", ArrayDescription),
        ("box_indices", ArrayDescription),
        ("box_gradient", ArrayDescription),
        ("box_rule", ctypes.c_int64),
        ("method", ctypes.c_int64),
        ("extrapolation_value", ctypes.c_double),
    )


@dataclass(frozen=True)
class CropKernels:
    """The kernels of one library, with a fixed order of threads, or one selected by the boxes of a call."""

    library: Library
    launch: Launch
    order: int | None
    atomics: bool

    def run(self, inputs: Inputs, direction: Direction) -> Array:
        result = self._fresh(inputs, direction)
        if inputs.upstream.size:  # without samples or channels the operator calls no kernel
            self._call(inputs, direction, result)
        if direction != "grad_image":
            return result
        with np.errstate(over="ignore"):  # a sum may be infinite as a half
            return result.astype(inputs.image.dtype)

    def _call(self, inputs: Inputs, direction: Direction, result: Array) -> None:
        call = _CropCall(
            describe(result if direction == "grad_image" else inputs.image),
            describe(result if direction == "forward" else inputs.upstream),
            describe(inputs.boxes),
            describe(inputs.box_indices),
            describe(result if direction == "grad_boxes" else inputs.boxes),
            BOX_RULES.index(inputs.box_rule),
            METHODS.index(inputs.method),
            inputs.extrapolation_value,
        )
        name: str = direction
        if direction == "grad_image":
            name += "_atomic" if self.atomics else "_gather"
        self.launch(self.library(), name, self.order, inputs.boxes, call, [result])

    def _fresh(self, inputs: Inputs, direction: Direction) -> Array:
        """Memory for the result: zeros if kernels add to it or none runs, else NaN, like fresh memory on a GPU."""
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
_Levels = ArrayDescription * _MOST_LEVELS


class _PyramidCall(ctypes.Structure):
    """The argument of roi_align.cpp."""

    _fields_ = (
        ("levels", ctypes.c_int64),
        ("maps", _Levels),
        ("values", _Levels),
        ("grad_maps", _Levels),
        ("scales", ctypes.c_double * _MOST_LEVELS),
        ("crops", ArrayDescription),
        ("boxes", ArrayDescription),
        ("box_gradient", ArrayDescription),
        ("sampling_ratio", ctypes.c_int64),
        ("aligned", ctypes.c_int64),
        ("first_level", ctypes.c_int64),
        ("canonical_scale", ctypes.c_double),
        ("canonical_level", ctypes.c_int64),
    )


@dataclass(frozen=True)
class PyramidCall:
    """One call of the operator; the fields are its arguments. For mode max, `values` is pooled at the maxima of
    `maps`."""

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
    """The kernels of one library, with a fixed order of threads, or one selected by the boxes of a call."""

    library: Library
    launch: Launch
    order: int | None = None

    def run(self, of: PyramidCall, direction: Direction) -> list[Array]:
        """The result of a direction: crops, the gradient of each level, or that of the boxes."""
        first = of.maps[0]
        dtype = first.dtype.name
        # As in the operator: without upstream values there is nothing to sum, and no kernel runs for boxes or crops.
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
            crops=describe(results[0] if direction == "forward" else of.upstream),
            boxes=describe(of.boxes),
            box_gradient=describe(results[0] if direction == "grad_boxes" else of.boxes),
            sampling_ratio=of.sampling_ratio,
            aligned=of.aligned,
            first_level=of.first_level,
            canonical_scale=of.canonical_scale,
            canonical_level=of.canonical_level,
        )
        self.launch(self.library(), f"roi_{of.mode}_{direction}", self.order, of.boxes, arguments, results)
        return results


def _levels(arrays: Sequence[Array]) -> Any:
    return _Levels(*map(describe, arrays))


def caller(
    operator: OperatorName, library: Library, launch: Launch, *, order: int | None = None, atomics: bool = False
) -> Callable[[Any, Direction], Array]:
    """An operator's kernels as a function of a case's inputs and a direction."""
    if operator == "crop_and_resize":
        return CropKernels(library, launch, order, atomics).run
    pyramids = RoiKernels(library, launch, order)
    return lambda inputs, direction: pyramids.run(of_one_level(inputs), direction)[0]
