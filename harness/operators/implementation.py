"""What an implementation of an operator is to everything here: a record of functions and a capability sheet."""

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
    """A call whose inputs stay where they are, so that it can be asked again with other values at the same addresses.

    call       asks the library anew; what it returns is handed back as it is.
    overwrite  writes the values of other inputs, of the same shapes and dtypes, over those of the call.
    read       the value that an input, by name, has now.
    """

    call: Callable[[], Any]
    overwrite: Callable[[Any], None]
    read: Callable[[str], Array]


@dataclass(frozen=True)
class Observation:
    """A series of calls on the same memory: the result of each, or what it raised, and the first side effect."""

    results: tuple[Array | Exception, ...]
    effect: str | None


_VIEW = "The result changes when its inputs do: it is a view of one."


@dataclass(frozen=True)
class Backend(Generic[AnyInputs]):
    """One implementation of one operator; AnyInputs are the inputs of that operator's cases.

    title       what tables call it, library and version, e.g. "TensorFlow 2.21.0 (CPU)".
    sheet       what it declares of itself.
    prepare     copies the inputs to where and how the library wants them and returns the call to be judged or timed.
    to_numpy    what that call returned, as an NCHW array (boxes: (M,4) or (K,5)), copied to the host.
    avoids      why it is not asked for a direction of inputs though its sheet declares them, or None: what is known to
                be another rule, or to end the process.
    same_rule   False if it computes another rule than its operator's and may only be timed, for scale.
    hold        (inputs, direction) -> the call on inputs that stay where they are; by default NumPy's arrays stay.
    remote      (series, direction) -> what `observe` gives, of a backend that runs in another process.
    restart     forgets all calls that were made, as far as it can.
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
    timed: Callable[[AnyInputs, Direction], tuple[float, ...]] | None = None

    def refuses(self, inputs: AnyInputs, direction: Direction) -> str | None:
        """Why this backend cannot be asked for a direction of these inputs, or None if it can."""
        return lacks(self.sheet, inputs, direction) or self.avoids(inputs, direction)

    def run(self, inputs: AnyInputs, direction: Direction) -> Array:
        """One direction of one call, as NumPy."""
        return self.to_numpy(self.prepare(inputs, direction)())

    def observe(self, series: Sequence[Any], direction: Direction) -> Observation:
        """Asks for each of these inputs in turn, written over the first where those lie, and keeps what is returned.

        A result is looked at again after every later call, and after the inputs have been overwritten: it must be
        memory of its own.
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
    """What of a call its sheet does not declare, in words, or None if all of it is declared."""
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
    """Whether boxes of a call may be empty or inverted; one that is not aligned is a pixel long at least."""
    if sheet.extent == "any":
        return True
    values = {field: value for _, value, field in operator_of(inputs).choices(inputs)}
    adaptive = values.get("grids") == "adaptive" and values.get("aligned") is True
    return sheet.extent == "positive where adaptive" and not adaptive
