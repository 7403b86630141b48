"""One trial of an implementation: it is run on a case, and its result judged, repeated, or told as a failure.

Nothing here knows which operator the case is of (operators.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from harness.operators import AnyCase, operator_of
from harness.operators.arrays import Array, Direction
from harness.operators.expected import Place
from harness.operators.implementation import Backend
from harness.operators.judgement import judge
from harness.operators.verdict import JudgeFailed, Status, Verdict


def run(backend: Backend[Any], inputs: Any, direction: Direction) -> Array | BaseException:
    """What a backend returns or raises."""
    try:
        return backend.run(inputs, direction)
    except Exception as error:
        return error


def judged(
    backend: Backend[Any], case: AnyCase, direction: Direction, places: Iterable[Place] | None = None
) -> Verdict:
    """A backend's result for a case against the oracle, which is given arrays of its own: a call that wrote to its
    inputs must not be judged by what it wrote."""
    got = run(backend, case.inputs(), direction)
    return judge(case.inputs(), direction, got, pinned=direction in backend.sheet.pinned, places=places)


_OTHER_BITS = "The same call gives other bits the second time"


def side_effect(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    """What a call does beside its result, or None: inputs it writes to, and results that depend on what ran before.

    The second run comes after one on other values (the same shapes, so that freed memory is found again, full of them),
    and must give the very bits of the first; where sums have no fixed order, it must be as right as the first.
    """
    found, second = _repeated(case.inputs, lambda inputs: run(backend, inputs, direction), operator_of(case).arrays)
    if found != _OTHER_BITS:
        return found
    if direction not in backend.sheet.unordered:
        return f"{found}: it depends on what ran in between."
    verdict = judge(case.inputs(), direction, second, pinned=direction in backend.sheet.pinned)
    if verdict.status is Status.JUDGE:
        raise JudgeFailed(verdict)
    return None if verdict.passed else f"The second time the same call is wrong: {verdict}"


def _repeated(
    make: Callable[[], Any], call: Callable[[Any], Array | BaseException], names: tuple[str, ...]
) -> tuple[str | None, Array | BaseException]:
    """What is wrong with a call that is made twice, or None, and its last result.

    make gives fresh inputs, names are their arrays: first what is read as an image, last the upstream gradient.
    """
    inputs, untouched = make(), make()
    first = call(inputs)
    for name in names:
        if getattr(inputs, name).tobytes() != getattr(untouched, name).tobytes():
            return f"The call writes to {name}, one of its inputs.", first
    if isinstance(first, BaseException):
        return None, first
    kept = first.tobytes()
    other = make()
    image, upstream = getattr(other, names[0]), getattr(other, names[-1])
    image[...] = np.asarray(7).astype(image.dtype)
    upstream[...] = 7
    call(other)
    if first.tobytes() != kept:
        return "A later call changes the result of an earlier one: they share memory.", first
    second = call(make())
    if isinstance(second, BaseException):
        return f"The same call fails the second time, with {type(second).__name__}: {second}", second
    return None if second.tobytes() == kept else _OTHER_BITS, second


def assert_passes(
    *, backend: Backend[Any], case: AnyCase, direction: Direction, places: Iterable[Place] | None = None
) -> Verdict:
    """Runs a backend on a case and judges it; AssertionError with everything a reader needs if it does not pass."""
    verdict = judged(backend, case, direction, places)
    if not verdict.passed:
        raise AssertionError(failure(backend, case, direction, str(verdict)))
    return verdict


def assert_no_side_effect(*, backend: Backend[Any], case: AnyCase, direction: Direction) -> None:
    """AssertionError if a call writes to its inputs or depends on what ran before it."""
    effect = side_effect(backend, case, direction)
    if effect:
        raise AssertionError(failure(backend, case, direction, effect))


def failure(backend: Backend[Any], case: AnyCase, direction: Direction, what: str, of: str = "") -> str:
    """The message of a failed check: what is wrong, in which call, and the line that shows it again.

    of: the property that it is a check of, if it is not the oracle's judgement.
    """
    return (
        f"{backend.title}, {direction}: {what}\n"
        f"  call       {case!r}\n"
        f"  reproduce  {reproduction(backend.name, direction, repr(case), of)}"
    )


def reproduction(name: str, direction: Direction, line: str, of: str = "") -> str:
    """The command that asks the backend of that name for the case of a line again, judged as in `failure`."""
    shown = f'--property "{of}" ' if of else ""
    return f'python -m harness judge --backend {name} --direction {direction} {shown}"{line}"'
