"""Functions outside this project in the benchmarks: their columns, their checks, and the inputs of timed calls.

A kernel under development may crash, so each of its calls is first judged in a process of its own
(judging/isolation.py), and runs in the measuring process only if it was right. And a function that caches results by
address would look fast, so each timed call gets new values at the same addresses, and the last result is judged again:
a cached one is wrong by then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from harness.backends import is_foreign
from harness.judging.isolation import isolated
from harness.measuring import gate
from harness.measuring.columns import Column
from harness.measuring.gate import Gate
from harness.measuring.record import Record
from harness.measuring.settings import Settings
from harness.operators import operator_of
from harness.operators.arrays import DIRECTIONS, FLOATS, Direction, Layout
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName, Sheet
from harness.operators.verdict import Hang, without_result

_LAYOUTS: tuple[Layout, ...] = ("contiguous", "channels_last")
# The factors for images and upstream gradients in successive calls, exact in any floating type. The first factor never
# repeats, so a result cached from the first call is wrong in every timed call.
_FACTORS = (1, -2, 4, -8, 2, -4, 8, -1)
# The functions with a call that did not return; each further call would cost the time limit again.
_HANGING: set[str] = set()


def path() -> str:
    """PYTHONPATH for a process that imports a function: its module may be in the current folder."""
    return os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH"))))


def functions(settings: Settings, backend: str) -> tuple[str, ...]:
    """The functions that a process times: those in its settings, and pytest's --backend if that is a function."""
    return tuple(dict.fromkeys((*settings.backends, *((backend,) if is_foreign(backend) else ()))))


@cache
def apart(name: str) -> Backend[Any]:
    """The function in a process of its own; raises the errors of `isolated`, and ValueError if it cannot be timed."""
    if not is_foreign(name):
        raise ValueError(
            f"{name!r} is no function: --backend takes module:function, or an entry point's name. The columns of this "
            "project and of its peers are in every run."
        )
    # Its sheet says which operator it is.
    backend = isolated(name, "crop_and_resize")
    if backend.sheet.border == "inside":
        raise ValueError(
            f"{name} declares border 'inside', and the workloads have boxes that reach over the edge: it can be "
            "judged, not timed."
        )
    return backend


def beside(
    columns: dict[OperatorName, tuple[Column, ...]], names: Sequence[str], device: str
) -> dict[OperatorName, tuple[Column, ...]]:
    """The columns of these functions' operators, then the functions' own; ValueError for one on another device.

    A dtype that only a function has is also measured in the columns of float32, for comparison.
    """
    all_columns: dict[OperatorName, tuple[Column, ...]] = {}
    for name in names:
        sheet = apart(name).sheet
        if sheet.device.partition(":")[0] != device:
            raise ValueError(f"{name} runs on {sheet.device}, and {device} is measured: use --device {sheet.device}.")
        usual = all_columns.get(sheet.operator, columns[sheet.operator])
        own = columns_of(name, sheet, series=any(column.series for column in usual))
        lacking = [dtype for dtype in sheet.image_dtypes if dtype not in {column.dtype for column in usual}]
        more = [
            replace(column, dtype=dtype)
            for dtype in lacking
            for column in columns[sheet.operator]
            if dtype in FLOATS and column.dtype == "float32" and not column.late
        ]
        all_columns[sheet.operator] = (*usual, *more, *own)
    return all_columns


def columns_of(name: str, sheet: Sheet, *, series: bool) -> tuple[Column, ...]:
    """A column for each layout and floating dtype of a sheet that the workloads have."""
    directions = tuple(each for each in DIRECTIONS if each in sheet.directions)
    return tuple(
        Column(name, layout, dtype, directions, series)
        for dtype in FLOATS
        for layout in _LAYOUTS
        if dtype in sheet.image_dtypes and layout in sheet.layouts
    )


def fit_to_sheet(inputs: Any, sheet: Sheet) -> Any:
    """A workload's inputs with the dtypes of boxes and indices cast to ones that a sheet declares."""
    boxes = inputs.image.dtype if sheet.same_dtype else inputs.boxes.dtype
    types = {"boxes": (boxes.name, () if sheet.same_dtype else sheet.boxes_dtypes)}
    if "box_indices" in operator_of(inputs).arrays:
        types["box_indices"] = (inputs.box_indices.dtype.name, sheet.index_dtypes)
    return replace(
        inputs,
        **{
            name: getattr(inputs, name).astype(own if own in choices or not choices else choices[0], copy=False)
            for name, (own, choices) in types.items()
        },
    )


def judge_apart(name: str, inputs: Any, direction: Direction) -> Gate:
    """The gate for a call of the function in a process of its own; a crash or a hang becomes the row's status."""
    backend, own = apart(name), _copy(inputs)
    if name in _HANGING:
        return Gate("NO_TIME", False, "An earlier call of it did not end: no other one was begun.")
    try:
        result = backend.run(own, direction)
    except Exception as error:
        if isinstance(error, Hang):
            _HANGING.add(name)
        verdict = without_result(error)
        return Gate(verdict.status.name, False, verdict.reason)
    return _check_inputs(own, inputs) or gate.check(backend, inputs, direction, result, lambda: None)


class RenewableCall:
    """A call of a backend on its own inputs; `renew` changes their values in place."""

    def __init__(self, backend: Backend[Any], inputs: Any, direction: Direction) -> None:
        self.backend, self.direction, self.inputs = backend, direction, inputs
        self.own = _copy(inputs)
        self.times = 0
        self.call: Callable[[], Any] | None = backend.prepare(self.own, direction)

    def __call__(self) -> Any:
        assert self.call is not None
        return self.call()

    def renew(self) -> None:
        """Runs before a timed call: changes the values in place, and prepares the call again in the same memory."""
        self.call = None
        before, self.times = _factor(self.times), self.times + 1
        for name, array in self._arrays():
            if name.startswith("box"):
                array[...] = np.roll(getattr(self.inputs, name), self.times, axis=0)
            else:  # in place, so the cache is as an earlier call would leave it
                np.multiply(array, array.dtype.type(_factor(self.times) / before), out=array)
        self.call = self.backend.prepare(self.own, self.direction)

    def judge_last(self, row: Record, result: Any) -> Record:
        """The row, or if the last result is wrong the row without samples but with the reason."""
        values = {
            name: np.roll(getattr(self.inputs, name), self.times, axis=0)
            if name.startswith("box")
            else getattr(self.inputs, name) * array.dtype.type(_factor(self.times))
            for name, array in self._arrays()
        }
        inputs = replace(self.inputs, **values)
        last = self.backend.to_numpy(result)
        verdict = _check_inputs(self.own, inputs) or gate.check(
            self.backend, inputs, self.direction, last, lambda: None
        )
        if verdict.passed:
            return row
        message = f"The last timed call, whose inputs were none that it had before: {verdict.message}"
        return replace(row, status=verdict.status, message=message, samples=())

    def _arrays(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self.own, name)) for name in operator_of(self.own).arrays]


def _factor(times: int) -> int:
    return _FACTORS[1 + (times - 1) % (len(_FACTORS) - 1)] if times else _FACTORS[0]


def _copy(inputs: Any) -> Any:
    """Copies a call's arrays in the same layout: the workload's arrays are shared by all columns."""
    names = operator_of(inputs).arrays
    return replace(inputs, **{name: np.array(getattr(inputs, name), order="K") for name in names})


def _check_inputs(own: Any, expected: Any) -> Gate | None:
    """The gate for a call that wrote to its inputs, None if it did not."""
    for name in operator_of(expected).arrays:
        if getattr(own, name).tobytes() != getattr(expected, name).tobytes():
            return Gate("BROKEN", False, f"The call writes to {name}, one of its inputs.")
    return None
