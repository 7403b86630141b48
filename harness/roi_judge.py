"""roi_align's results against its oracle; what a Verdict is stands in judge.py."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from harness.call import Place
from harness.case import Array, Direction
from harness.judge import Verdict, repeated, verdict_on
from harness.roi_backends import RoiBackend
from harness.roi_call import accumulated_in
from harness.roi_case import RoiCase, RoiInputs, promised
from harness.roi_oracle import expected
from harness.rounding import UNIT, cell


def judge(
    inputs: RoiInputs,
    direction: Direction,
    got: Array | BaseException,
    *,
    pinned: bool,
    places: Iterable[Place] | None = None,
) -> Verdict:
    """`got`, the result or the exception that was raised instead, against the oracle, at all places or the given ones.

    pinned: whether the implementation rounds its positions in the pinned order. Then no ambiguity excuses it.
    """
    shape, dtype = promised(inputs, direction)
    narrow = UNIT[dtype.name] > UNIT[accumulated_in(inputs)]
    unrounded = functools.partial(cell, dtype=dtype.name) if narrow else lambda value: (value, value)
    values = expected(inputs, direction, pinned=pinned, places=places)
    return verdict_on(got, direction, shape, dtype, unrounded, values)


def run(backend: RoiBackend, inputs: RoiInputs, direction: Direction) -> Array | BaseException:
    """What a backend returns or raises."""
    try:
        return backend.run(inputs, direction)
    except Exception as error:
        return error


def side_effect(backend: RoiBackend, case: RoiCase, direction: Direction) -> str | None:
    """What a call does beside its result, or None: see judge.side_effect."""
    call = functools.partial(run, backend, direction=direction)
    found, _ = repeated(case.inputs, call, ("input", "boxes", "upstream"))
    return found


def assert_passes(
    *, backend: RoiBackend, case: RoiCase, direction: Direction, places: Iterable[Place] | None = None
) -> Verdict:
    """Runs a backend on a case and judges it; AssertionError with everything a reader needs if it does not pass."""
    got = run(backend, case.inputs(), direction)
    verdict = judge(case.inputs(), direction, got, pinned=direction in backend.pinned, places=places)
    if not verdict.passed:
        raise AssertionError(failure(backend, case, direction, str(verdict)))
    return verdict


def failure(backend: RoiBackend, case: RoiCase, direction: Direction, what: str) -> str:
    """The message of a failed check: what is wrong, in which call, and the line that shows it again."""
    return (
        f"{backend.title}, {direction}: {what}\n"
        f"  call       {case!r}\n"
        f'  reproduce  python -m harness judge --backend {backend.name} --direction {direction} "{case!r}"'
    )
