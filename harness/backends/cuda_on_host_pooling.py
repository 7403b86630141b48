"""roi_align's CUDA kernels, run on the CPU by harness/cuda_on_host, as cuda_on_host.py is for crop_and_resize's.

The kernels pool a pyramid; a RoiInputs is one of a single level.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.kernels import compiling, cuda_on_host
from harness.kernels.cuda_on_host.memory import Described, call, dense, described, full, picked_order, written_beside
from harness.operators.arrays import DIRECTIONS, FLOATS, LAYOUTS, SINGLE_AND_DOUBLE, Array, Direction, crops_dtype
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import MODES, Mode, RoiInputs
from harness.operators.sheet import Sheet

compiling.compiler()  # or this backend is not here

_MOST_LEVELS = 16
_Levels = Described * _MOST_LEVELS


class _Call(ctypes.Structure):
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
class Kernels:
    """The kernels of one library, with threads in the given order, or in one that the boxes of a call pick."""

    library: Callable[[], Path] = cuda_on_host.kernel_library
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
        crops = results[0] if direction == "forward" else of.upstream
        values = of.maps if of.values is None else of.values
        arguments = _Call(
            levels=len(of.maps),
            maps=_levels(of.maps),
            values=_levels(values),
            grad_maps=_levels(results if direction == "grad_image" else of.maps),
            scales=(ctypes.c_double * _MOST_LEVELS)(*of.scales),
            crops=described(crops),
            boxes=described(of.boxes),
            box_gradient=described(results[0] if direction == "grad_boxes" else of.boxes),
            sampling_ratio=of.sampling_ratio,
            aligned=of.aligned,
            first_level=of.first_level,
            canonical_scale=of.canonical_scale,
            canonical_level=of.canonical_level,
        )
        order = picked_order(of.boxes) if self.order is None else self.order
        name = f"roi_{of.mode}_{direction}"
        call(self.library(), name, order, arguments)
        if any(written_beside(result) for result in results):
            raise RuntimeError(f"{name} has written outside of its result.")
        return results


def _levels(arrays: Sequence[Array]) -> Any:
    return _Levels(*map(described, arrays))


def make(*, library: Callable[[], Path] = cuda_on_host.kernel_library, order: int | None = None) -> Backend[RoiInputs]:
    """The kernels of a library as a backend, with the threads in one order if it is given."""
    kernels = Kernels(library, order)

    def prepare(inputs: RoiInputs, direction: Direction) -> Callable[[], Any]:
        return lambda: kernels.run(of_one_level(inputs), direction)[0]

    return Backend(
        name="cuda_on_host",
        title="roi_align (CUDA kernels on the CPU)",
        # The operator widens maps of integers before the kernels.
        sheet=Sheet(
            operator="roi_align",
            directions=DIRECTIONS,
            image_dtypes=FLOATS,
            boxes_dtypes=SINGLE_AND_DOUBLE,
            layouts=LAYOUTS,
            bad_input=("boxes",),
            empty=True,
            special_values=True,
            modes=MODES,
            grids=("fixed", "adaptive"),
            pinned=DIRECTIONS,
            layout_order=("grad_boxes",),
        ),
        prepare=prepare,
        to_numpy=lambda result: result,
    )


backend = make()
