"""The interface of an implementation of an operator: a record of functions and a capability sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from harness.operators import operator_of
from harness.operators.arrays import FLOATS, Array, Direction, layout_of
from harness.operators.sheet import Sheet

AnyInputs = TypeVar("AnyInputs")


def _avoids_nothing(inputs: Any, direction: Direction) -> str | None:
    return None


@dataclass(frozen=True)
class HeldCall:
    """A call whose inputs keep their addresses, so it can be repeated with other values in the same memory.

    call       calls the library again and returns its result unchanged.
    overwrite  overwrites the call's inputs with those of another call of the same shapes and dtypes.
    read       the current value of an input, by name.
    """

    call: Callable[[], Any]
    overwrite: Callable[[Any], None]
    read: Callable[[str], Array]


@dataclass(frozen=True)
class Observation:
    """A series of calls on the same memory: each result or exception, and the first side effect."""

    results: tuple[Array | Exception, ...]
    effect: str | None


_VIEW = "The result changes when its inputs do: it is a view of one."


@dataclass(frozen=True)
class Backend(Generic[AnyInputs]):
    """One implementation of one operator; AnyInputs are the inputs of that operator's cases.

    title       its name in tables, library and version, e.g. "TensorFlow 2.21.0 (CPU)".
    sheet       its capability sheet.
    prepare     copies the inputs to the device and form that the library needs and returns the call to judge or time.
    to_numpy    converts that call's result to an NCHW array on the host (box gradients: (M,4) or (K,5)).
    avoids      why a direction of inputs is skipped although the sheet declares them, or None: known differences of the
                rule, and known crashes.
    same_rule   False if it computes another rule than its operator's: it may be timed for scale, not judged.
    hold        (inputs, direction) -> a HeldCall; by default one on NumPy's own arrays.
    remote      (series, direction) -> Observation: replaces `observe` for a backend in another process.
    restart     discards all state of earlier calls, as far as possible.
    snippet     (inputs, direction, index) -> at most ten lines in the library's own API, without this project, that
                make the call and print the element of its NCHW result that is at the index. None if it has none.
    timed       (inputs, direction) -> the seconds of a few calls, measured in the process of an isolated backend.
    """

    name: str
    title: str
    sheet: Sheet
    prepare: Callable[[AnyInputs, Direction], Callable[[], Any]]
    to_numpy: Callable[[Any], Array]
    avoids: Callable[[AnyInputs, Direction], str | None] = _avoids_nothing
    same_rule: bool = True
    hold: Callable[[AnyInputs, Direction], HeldCall] | None = None
    remote: Callable[[Sequence[AnyInputs], Direction], Observation] | None = None
    restart: Callable[[], None] = lambda: None
    snippet: Callable[[AnyInputs, Direction, tuple[int, ...]], str] | None = None
    seconds: Callable[[AnyInputs, Direction], tuple[float, ...]] | None = None

    def refuses(self, inputs: AnyInputs, direction: Direction) -> str | None:
        """Why this backend cannot compute a direction of these inputs, or None if it can."""
        return lacks(self.sheet, inputs, direction) or self.avoids(inputs, direction)

    def run(self, inputs: AnyInputs, direction: Direction) -> Array:
        """One direction of one call, as NumPy."""
        return self.to_numpy(self.prepare(inputs, direction)())

    def observe(self, series: Sequence[Any], direction: Direction) -> Observation:
        """Calls the backend on each of these inputs in turn, in the memory of the first, and keeps the results.

        Each result is compared again after every later call, and after the inputs have been overwritten: it must own
        its memory.
        """
        if self.remote is not None:
            return self.remote(series, direction)
        held_call = (self.hold or self._hold)(series[0], direction)
        names = operator_of(series[0]).arrays
        raw: list[Any] = []
        results: list[Array | Exception] = []
        for inputs in series:
            held_call.overwrite(inputs)
            if self._other_now(raw, results):
                return Observation(tuple(results), _VIEW)
            try:
                raw.append(held_call.call())
                results.append(np.array(self.to_numpy(raw[-1])))
            except Exception as error:
                return Observation((*results, error), None)
            for name in names:
                if held_call.read(name).tobytes() != getattr(inputs, name).tobytes():
                    return Observation(tuple(results), f"The call writes to {name}, one of its inputs.")
            if self._other_now(raw[:-1], results):
                effect = "A later call changes the result of an earlier one: they share memory."
                return Observation(tuple(results), effect)
        held_call.overwrite(series[1 if len(series) > 1 else 0])
        return Observation(tuple(results), _VIEW if self._other_now(raw, results) else None)

    def _other_now(self, raw: Sequence[Any], results: Sequence[Any]) -> bool:
        return any(self.to_numpy(each).tobytes() != copy.tobytes() for each, copy in zip(raw, results, strict=False))

    def _hold(self, inputs: Any, direction: Direction) -> HeldCall:
        def overwrite(other: Any) -> None:
            for name in operator_of(inputs).arrays:
                getattr(inputs, name)[...] = getattr(other, name)

        return HeldCall(lambda: self.prepare(inputs, direction)(), overwrite, lambda name: getattr(inputs, name))


def lacks(sheet: Sheet, inputs: Any, direction: Direction) -> str | None:
    """What the call needs that its sheet does not declare, in words, or None if all of it is declared."""
    if direction not in sheet.directions:
        return f"{direction} is not declared"
    image, boxes = inputs.image, inputs.boxes
    choices = [
        ("images", image.dtype.name, sheet.image_dtypes),
        ("the layout", layout_of(image), ("contiguous", *sheet.layouts)),
        ("boxes", boxes.dtype.name, sheet.boxes_dtypes),
        *((name, value, getattr(sheet, field)) for name, value, field in operator_of(inputs).choices(inputs)),
    ]
    for name, value, declared in choices:
        if value not in declared:
            return f"{name} {value!r}: not declared, only {', '.join(map(repr, declared))}"
    undefined = operator_of(inputs).undefined(inputs, direction)
    if undefined is not None:
        return undefined
    if direction == "grad_image":
        with_gradient = sheet.gradient_dtypes or FLOATS
        if image.dtype.name not in with_gradient:
            return f"images of {image.dtype} have no gradient, only {', '.join(with_gradient)}"
    if sheet.same_dtype and boxes.dtype != image.dtype:
        return "boxes of another dtype than the image's are not declared"
    edges = boxes[:, -4:].astype(np.float64)
    if "boxes" not in sheet.bad_input and not bool(np.all(np.abs(edges) <= sheet.largest)):
        return f"boxes that are not finite, or beyond {sheet.largest:,.0f}, are not declared"
    without_extent = (edges[:, 2:] <= edges[:, :2]) & np.isfinite(edges).all(axis=1, keepdims=True)
    if without_extent.any() and not _may_lack_extent(sheet, inputs):
        return f"boxes that are empty or inverted are not declared: extent is {sheet.extent!r}"
    if direction not in sheet.special_values and not bool(np.all(np.isfinite(image.astype(np.float64)))):
        return "pixels that are NaN or infinite are not declared"
    for kind, count in (("boxes", len(boxes)), ("channels", image.shape[1]), ("images", image.shape[0])):
        if not count and kind not in sheet.empty:
            return f"no {kind} are not declared"
    if sheet.border == "zero" and operator_of(inputs).extrapolation_value(inputs) != 0:
        return "an extrapolation value other than 0 is not declared"
    return None


def _may_lack_extent(sheet: Sheet, inputs: Any) -> bool:
    """Whether boxes of a call may be empty or inverted; unaligned boxes are always at least a pixel long."""
    if sheet.extent == "any":
        return True
    values = {field: value for _, value, field in operator_of(inputs).choices(inputs)}
    adaptive = values.get("grids") == "adaptive" and values.get("aligned") is True
    return sheet.extent == "positive where adaptive" and not adaptive
