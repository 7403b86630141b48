"""What everything here may ask of an operator, so that it is asked of both in the same lines.

How a case is drawn, judged, repeated, timed or compared does not depend on which operator it is of: the differences are
the fields of this record. crop_and_resize/operator.py and roi_align/operator.py fill them in.
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
    """One operator. `inputs` are those that its cases make: image (N,C,H,W), boxes, upstream and its own arguments.

    case, inputs  the classes of its cases and of their arrays.
    arrays        the arrays of its inputs by name: first the image, last the upstream gradient, between them the boxes.
    size          the field of its inputs that is (height, width) of a result.
    peer          the library whose rule it is.
    settings      the ways in which a workload is asked of it, "" where there is one only.

    expected             (inputs, direction, *, pinned, places) -> each place, all if None, and what the oracle expects.
    least_roundings      (inputs, direction) -> how many roundings of a result each bound has room for at least.
    most_places          at how many of the places that differ the oracle is asked, None for all.
    choices              inputs -> (name in words, value, field of the sheet that declares it), of its own arguments.
    undefined            (inputs, direction) -> why the rule has no such result, in words, or None.
    extrapolation_value  inputs -> what a sample outside gives.
    nothing_outside      inputs -> the call with 0 for what a sample outside gives: it is linear in the image then.
    within               (sheet, **choices) -> cases that the sheet declares; UndeclaredError if there are none.
    bad_row              (sheet, box, seed) -> a case with a box of these four numbers beside a good one.
    with_index           (inputs, index) -> the same call, its first box of an image that there may not be.
    twice_on_one_image   case -> the case with its first box twice, on its only image.
    elsewhere            inputs -> the same call with every box half as far from the origin, and of the next image.
    sample               (inputs, direction, got) -> the places at which a large result is judged: the oracle is slow.
    near                 (inputs, places) -> which boxes may have a part in these places (n,c,y,x) of an image gradient.
    from_workload        (crop_and_resize's inputs, setting) -> the call of this operator on the same image and boxes.
    reach                inputs -> what its samples ask of memory.
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
        """The arrays that a direction reads: the upstream gradient is no part of a forward."""
        return self.arrays[:-1] if direction == "forward" else self.arrays

    def result_type(self, inputs: Any, direction: Direction) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
        """The shape and dtype of a result."""
        if direction == "forward":
            shape = (len(inputs.boxes), inputs.image.shape[1], *getattr(inputs, self.size))
            return shape, np.dtype(crops_dtype(inputs.image.dtype.name))
        like = inputs.image if direction == "grad_image" else inputs.boxes
        return like.shape, like.dtype
