"""Correctness before speed: what must hold before a result may have a time.

The very arrays that are about to be timed are judged. A sample of the outputs goes to the oracle, which is too slow
for all of them; all of them are compared with a reference, by equality of bits where that is promised: TensorFlow, or
on a machine without it this project's CPU kernels, which have its bits. The sample is cut out first (the oracle gets
the boxes it needs and no others), so that a hundred thousand boxes cost no more than a hundred.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from harness.backends import Backend
from harness.operators.crop_and_resize.agreement import differing
from harness.operators.crop_and_resize.case import Array, Direction, Inputs
from harness.operators.verdict import judge

# Outputs per (workload, direction, backend, layout) that go to the oracle. A box gradient sums all of a crop, in plain
# Python: as many boxes as this many terms allow, with all four of their coordinates; where the crop of one has more
# terms than that, one box with a coordinate of each axis.
_SAMPLE = {"forward": 48, "grad_image": 12}
_TERMS, _BOXES = 30_000, 4

OTHER_RULE = "OTHER_RULE"


@dataclass(frozen=True)
class Gate:
    """What the gate found.

    status     EXACT or WITHIN (the judge's word) or OTHER_RULE for what may be timed; else what went wrong.
    passed     whether it may be timed.
    message    what a reader should know if not.
    compared   outputs compared bit by bit with the reference, differing of which were different.
    compared_with  what that reference is called, "" if nothing was compared.
    digest     BLAKE2b of the output in NCHW order: equal digests are equal results.
    """

    status: str
    passed: bool
    message: str = ""
    compared: int = 0
    differing: int = 0
    digest: str = ""
    compared_with: str = ""


def check(
    backend: Backend[Inputs],
    inputs: Inputs,
    direction: Direction,
    got: Array,
    reference: Callable[[], Array | None],
    before: Gate | None = None,
    reference_title: str = "TensorFlow",
) -> Gate:
    """Judge what a backend returned.

    reference: the result for the same inputs of what has TensorFlow's bits; None if there is none.
    before: what an earlier process of this run found for the same row. Inputs are the same in every process, so a
    result of the same digest is the very one that has been judged.
    """
    digest = hashlib.blake2b(np.ascontiguousarray(got).tobytes(), digest_size=16).hexdigest()
    if before is not None and before.passed and before.digest == digest:
        return before
    if not backend.same_rule:
        return Gate(OTHER_RULE, True, "It computes another rule and is timed for scale only.", digest=digest)
    places = _places(inputs, direction, got)
    cut, cut_got, cut_places = _cut(inputs, direction, got, places)
    verdict = judge(cut, direction, cut_got, order_a=direction in backend.sheet.pinned, places=cut_places)
    status = verdict.status.name
    if not verdict.passed:
        return Gate(status, False, str(verdict), digest=digest)
    # Where TensorFlow's bits are not promised (nobody's box gradient has them) only the oracle can say.
    want = reference() if direction in backend.sheet.tensorflow_bits and backend.name != "tensorflow" else None
    if want is None:
        return Gate(status, True, digest=digest)
    different = int(np.count_nonzero(differing(got, want)))
    if different:
        message = f"{different} of {got.size} outputs differ from those of {reference_title}, where no bit should."
        return Gate("DIFFERS", False, message, got.size, different, digest, reference_title)
    return Gate(status, True, "", got.size, 0, digest, reference_title)


def _places(inputs: Inputs, direction: Direction, got: Array) -> list[tuple[int, ...]]:
    """Places of the output, the same ones for every backend."""
    if got.size == 0:
        return []
    random = np.random.default_rng(0)
    if direction == "grad_boxes":
        terms = inputs.upstream[0].size
        columns = range(4) if terms <= _TERMS else random.integers(0, 2, 2) * 2 + (0, 1)
        rows = random.integers(0, len(got), min(_BOXES, max(1, _TERMS // terms)))
        return [(int(row), int(column)) for row in rows for column in columns]
    flat = random.integers(0, got.size, _SAMPLE[direction])
    return [tuple(int(axis) for axis in np.unravel_index(place, got.shape)) for place in flat]


def _cut(
    inputs: Inputs, direction: Direction, got: Array, places: list[tuple[int, ...]]
) -> tuple[Inputs, Array, list[tuple[int, ...]]]:
    """The inputs with only those boxes that can have a part in these places, and the result and places to match."""
    if direction == "grad_image":
        rows = np.flatnonzero(_reach(inputs, places))
        return _with_boxes(inputs, rows), got, places
    rows, renumbered = np.unique([place[0] for place in places], return_inverse=True)
    moved = [(int(row), *place[1:]) for row, place in zip(renumbered, places, strict=True)]
    return _with_boxes(inputs, rows), got[rows], moved


def _with_boxes(inputs: Inputs, rows: Array) -> Inputs:
    return replace(
        inputs, boxes=inputs.boxes[rows], box_indices=inputs.box_indices[rows], upstream=inputs.upstream[rows]
    )


def _reach(inputs: Inputs, places: list[tuple[int, ...]]) -> Array:
    """Which boxes (M,) come within two pixels of a place (n,c,y,x): more than those that touch it, never fewer."""
    _, _, height, width = inputs.image.shape
    pixels = inputs.boxes.astype(np.float64) * [height - 1, width - 1, height - 1, width - 1]
    low, high = np.minimum(pixels[:, :2], pixels[:, 2:]) - 2, np.maximum(pixels[:, :2], pixels[:, 2:]) + 2
    reached = np.zeros(len(pixels), dtype=bool)
    for n, _, y, x in places:
        near = (low <= (y, x)).all(axis=1) & (high >= (y, x)).all(axis=1)
        reached |= near & (inputs.box_indices == n)
    return reached
