"""One interface for both operators, so that the rest of the harness is written once.

Drawing, judging, repeating, timing and comparing a case are the same for every operator; the differences are fields of
this record. crop_and_resize/operator.py and roi_align/operator.py provide the two instances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis.strategies import SearchStrategy

from harness.operators.arrays import Array, Direction, crops_dtype
from harness.operators.expected import Expected, Place
from harness.operators.peer import Peer
from harness.operators.reach import Reach
from harness.operators.sheet import OperatorName, Sheet


@dataclass(frozen=True)
class Operator:
    """One operator. `inputs` are made by its cases: image (N,C,H,W), boxes, upstream and its own arguments.

    case, inputs  the classes of its cases and of their arrays.
    arrays        the names of its input arrays: first the image, last the upstream gradient, the boxes in between.
    size          the field of its inputs that is (height, width) of a result.
    peer          the library that defines its rule.
    settings      its settings for a workload; ("",) if there is only one.

    expected             (inputs, direction, *, pinned, places) -> each place (all if None) with the oracle's
                         expectation.
    least_roundings      (inputs, direction) -> the number of roundings of a result that every bound covers.
    most_places          the number of differing places at which the oracle is asked, None for all.
    choices              inputs -> (name in words, value, field of the sheet) for each of its own arguments.
    undefined            (inputs, direction) -> why the rule defines no such result, in words, or None.
    extrapolation_value  inputs -> the value of a sample outside.
    nothing_outside      inputs -> the call with 0 for samples outside, which makes it linear in the image.
    within               (sheet, **choices) -> the cases that the sheet declares; UndeclaredError if there are none.
    bad_row              (sheet, box, seed) -> a case with this box of four numbers and a valid one.
    with_index           (inputs, index) -> the same call with this image index, possibly invalid, for its first box.
    twice_on_one_image   case -> the case reduced to one image, with its first box twice.
    elsewhere            inputs -> the same call with halved box coordinates, on the next image.
    sample               (inputs, direction, result) -> the places to judge of a large result: the oracle is slow.
    near                 (inputs, places) -> the boxes that may contribute to these places (n,c,y,x) of an image
                         gradient.
    from_workload        (crop_and_resize's inputs, setting) -> the call of this operator on the same image and boxes.
    reach                inputs -> the memory that its samples access.
    """

    name: OperatorName
    case: type[Any]
    inputs: type[Any]
    arrays: tuple[str, ...]
    size: str
    peer: Peer
    settings: tuple[str, ...]
    expected: Callable[..., Iterator[tuple[Place, Expected]]]
    least_roundings: Callable[[Any, Direction], int]
    most_places: int | None
    choices: Callable[[Any], list[tuple[str, Any, str]]]
    undefined: Callable[[Any, Direction], str | None]
    extrapolation_value: Callable[[Any], float]
    nothing_outside: Callable[[Any], Any]
    within: Callable[..., SearchStrategy[Any]]
    bad_row: Callable[[Sheet, Any, int], Any]
    with_index: Callable[[Any, int], Any]
    twice_on_one_image: Callable[[Any], Any]
    elsewhere: Callable[[Any], Any]
    sample: Callable[[Any, Direction, Array], list[Place]]
    near: Callable[[Any, Iterable[Place]], Array]
    from_workload: Callable[[Any, str], Any]
    reach: Callable[[Any], Reach]

    def arrays_of(self, direction: Direction) -> tuple[str, ...]:
        """The names of the arrays that a direction reads: all, but no upstream gradient in the forward."""
        return self.arrays[:-1] if direction == "forward" else self.arrays

    def result_type(self, inputs: Any, direction: Direction) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
        """The shape and dtype that a result must have."""
        if direction == "forward":
            shape = (len(inputs.boxes), inputs.image.shape[1], *getattr(inputs, self.size))
            return shape, np.dtype(crops_dtype(inputs.image.dtype.name))
        like = inputs.image if direction == "grad_image" else inputs.boxes
        return like.shape, like.dtype
