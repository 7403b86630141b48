"""One trial of an implementation: runs a case, judges the result, repeats the call, or reports the failure.

Nothing here depends on the operator.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from harness.operators import AnyCase, operator_of
from harness.operators.arrays import Array, Direction
from harness.operators.expected import Place
from harness.operators.implementation import Backend
from harness.operators.judgement import judge
from harness.operators.verdict import JudgementError, Status, Verdict, implementation_code


def run(backend: Backend[Any], inputs: Any, direction: Direction) -> Array | BaseException:
    """A backend's result, or its exception as a value."""
    try:
        return backend.run(inputs, direction)
    except Exception as error:
        return error


def judge_case(
    backend: Backend[Any], case: AnyCase, direction: Direction, places: Iterable[Place] | None = None
) -> Verdict:
    """Judges a backend's result for a case. The oracle gets fresh arrays, in case the call wrote to its inputs."""
    result = run(backend, case.inputs(), direction)
    return judge(case.inputs(), direction, result, pinned=direction in backend.sheet.pinned, places=places)


def side_effect(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    """The side effect of a call in words, or None: an input it writes to, memory it shares, state it keeps.

    Between two calls one input is overwritten in place: results cached from the old values are wrong then, even if
    cached by address. The last call repeats the first and must give the same bits; without a fixed order of summation
    it must be within the same bounds.
    """
    operator, inputs = operator_of(case), case.inputs()
    other = operator.elsewhere(replace(case, seed=case.seed + 1).inputs())
    names, series = ["", *operator.arrays_of(direction)], [inputs]
    for name in names[1:]:
        series.append(replace(series[-1], **{name: getattr(other, name)}))
    with implementation_code():
        calls = [(name, each) for name, each in zip(names, series, strict=True) if not backend.refuses(each, direction)]
        # The arrays of the first call are overwritten by the later ones.
        observation = backend.observe([case.inputs(), *(each for _, each in calls[1:]), inputs], direction)
    if observation.effect is not None:
        return observation.effect

    def verdict_on(inputs: Any, result: Array | Exception) -> Verdict:
        verdict = judge(inputs, direction, result, pinned=direction in backend.sheet.pinned)
        if verdict.status is Status.JUDGE:
            raise JudgementError(verdict)
        return verdict

    first, *later = observation.results
    # A result that is wrong from the start is no side effect; other properties cover it.
    if verdict_on(inputs, first).passed:
        for (name, each), result in zip(calls[1:], later, strict=False):
            verdict = verdict_on(each, result)
            if not verdict.passed:
                return f"After {name} is overwritten in place the result is wrong: {verdict}"
    again = observation.results[-1]
    if isinstance(first, Exception):
        return None
    if isinstance(again, Exception) or direction in backend.sheet.unordered:
        verdict = verdict_on(inputs, again)
        return None if verdict.passed else f"The second time the same call is wrong: {verdict}"
    if again.tobytes() != first.tobytes():
        return "The same call gives other bits the second time: it depends on what ran in between."
    return None


def assert_passes(
    *, backend: Backend[Any], case: AnyCase, direction: Direction, places: Iterable[Place] | None = None
) -> Verdict:
    """Runs a backend on a case and judges the result; AssertionError with the full `failure` message if it fails."""
    verdict = judge_case(backend, case, direction, places)
    if not verdict.passed:
        raise AssertionError(failure(backend, case, direction, str(verdict)))
    return verdict


def assert_no_side_effect(*, backend: Backend[Any], case: AnyCase, direction: Direction) -> None:
    """AssertionError if a call writes to its inputs or depends on earlier calls."""
    effect = side_effect(backend, case, direction)
    if effect:
        raise AssertionError(failure(backend, case, direction, effect))


def failure(
    backend: Backend[Any],
    case: AnyCase,
    direction: Direction,
    problem: str,
    of: str = "",
    after: Iterable[AnyCase] = (),
) -> str:
    """The message of a failed check: the problem, the call, and the command that reproduces it.

    of: the property checked, "" for the oracle's judgement; after: cases to run before this one.
    """
    return (
        f"{backend.title}, {direction}: {problem}\n"
        f"  call       {case!r}\n"
        f"  reproduce  {reproduction(backend.name, direction, repr(case), of, map(repr, after))}"
    )


def reproduction(name: str, direction: Direction, line: str, of: str = "", after: Iterable[str] = ()) -> str:
    """The command that runs the case of this line again on the backend of this name, judged as in `failure`."""
    options = "".join((f'--property "{of}" ' if of else "", *(f'--after "{each}" ' for each in after)))
    return f'python -m harness judge --backend {name} --direction {direction} {options}"{line}"'
