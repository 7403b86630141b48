"""This project's CUDA kernels, run on the CPU by harness/cuda_on_host: slow, and right only where they are right.

`backend` adds the image gradient up by atomics, `gather` in the CPU's order, as the operator does by default and under
torch.use_deterministic_algorithms(True). The order in which threads run, forward, backward or at random, is picked by
the boxes of the call: cases meet all three, and the same call always meets the same one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.kernels import compiling, cuda_on_host
from harness.kernels.cuda_on_host.memory import Described, dense, described, full, picked_order, written_beside
from harness.kernels.cuda_on_host.memory import call as run_kernels
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
from harness.operators.sheet import Sheet

compiling.compiler()  # or this backend is not here


class _Call(ctypes.Structure):
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
class Kernels:
    """The kernels of one library, with the image gradient by `atomics` or gathered, and threads in the given order."""

    library: Callable[[], Path]
    atomics: bool
    order: int | None = None

    def call(self, inputs: Inputs, direction: Direction) -> Array:
        result = self._fresh(inputs, direction)
        if inputs.upstream.size:  # else there are no samples or no channels, and the operator calls no kernel
            self._run(inputs, direction, result)
        if direction != "grad_image":
            return result
        with np.errstate(over="ignore"):  # a sum may be infinite as a half
            return result.astype(inputs.image.dtype)

    def _run(self, inputs: Inputs, direction: Direction, result: Array) -> None:
        call = _Call(
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
        order = picked_order(inputs.boxes) if self.order is None else self.order
        run_kernels(self.library(), name, order, call)
        if written_beside(result):
            raise RuntimeError(f"{name} has written outside of its result.")

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


def make(
    *, atomics: bool, library: Callable[[], Path] = cuda_on_host.kernel_library, order: int | None = None
) -> Backend[Inputs]:
    """The kernels of a library as a backend, with the threads in one order if it is given."""
    kernels = Kernels(library, atomics, order)

    def prepare(inputs: Inputs, direction: Direction) -> Callable[[], Any]:
        return lambda: kernels.call(inputs, direction)

    return Backend(
        name="cuda_on_host" if atomics else "cuda_on_host_gather",
        title=f"roi_align (CUDA kernels on the CPU, {'atomics' if atomics else 'deterministic'})",
        sheet=Sheet(
            operator="crop_and_resize",
            directions=DIRECTIONS,
            image_dtypes=FLOATS,
            boxes_dtypes=SINGLE_AND_DOUBLE,
            index_dtypes=("int32", "int64"),
            layouts=LAYOUTS,
            bad_input=("boxes",),
            empty=True,
            special_values=True,
            methods=METHODS,
            box_rules=BOX_RULES,
            pinned=DIRECTIONS,
            tensorflow_bits=("forward",) if atomics else ("forward", "grad_image"),
            layout_order=("grad_boxes",),
            unordered=("grad_image",) if atomics else (),
        ),
        prepare=prepare,
        to_numpy=lambda result: result,
    )


backend = make(atomics=True)
gather = make(atomics=False)
