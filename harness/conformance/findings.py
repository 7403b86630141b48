"""Turns a failed cell into a finding for readers outside this project: one call, one value, and why it is wrong.

A finding names a library, so it must not rest on the judge alone: it is kept only if the reference's formulation, run
in float64, agrees with the oracle. The two share no code (operators/*/reference.py), so an error would have to be made
twice. Other failed cells stay in the table, unconfirmed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness import backends, properties
from harness.backends.peers import programs
from harness.conformance.cells import Cell, is_bad
from harness.conformance.rules import rule_of
from harness.judging import trial
from harness.judging.sample import judge_sample, with_boxes
from harness.measuring.findings import Finding, apart, confirms
from harness.operators import AnyCase, operator_of, parse
from harness.operators.arrays import Array, Direction
from harness.operators.implementation import Backend
from harness.operators.judgement import judge
from harness.operators.verdict import Crash, Hang, Status, Verdict, without_result
from harness.repository import MissingLibrary

# The oracle is plain Python: results of more values than this are judged by a sample.
_ALL = 20_000
# The longest snippet in characters; failures that need hundreds of boxes are shown by their case only.
_MOST = 1500


@dataclass(frozen=True)
class _Call:
    """One call of a failed check and its verdict; alone: whether it is the case's own call, in a fresh process."""

    inputs: Any
    direction: Direction
    verdict: Verdict
    alone: bool = False


def finding(backend: Backend[Any], each: Cell) -> Finding | None:
    """The finding of a failed cell; None if it does not fail again, or if the second formulation does not confirm
    it."""
    if not is_bad(each) or not each.counterexample:
        return None
    case = parse(each.counterexample)
    try:
        for simpler in _simpler(each, case):
            for call in _wrong_calls(backend, each, simpler):
                second = _second(call)
                if second is not None and _confirms(call, second):
                    return _finding(backend, each, simpler, call, second)
    except (Crash, Hang):
        pass  # the backend cannot even answer; a cell without a finding is better than a run that stops
    return None


def _simpler(each: Cell, case: AnyCase) -> Iterator[AnyCase]:
    """The case with simpler pixel values, then unchanged; the first that fails is shown."""
    if each.status == "fail":  # do not repeat crashes and hangs
        for values in ("ramp", "dyadic"):
            yield replace(case, values=values, seed=0)
    yield case


def _wrong_calls(backend: Backend[Any], each: Cell, case: AnyCase) -> Iterator[_Call]:
    """The case's own call if it is wrong, else the wrong ones among the property's calls."""
    direction = each.direction
    backend.restart()
    inputs = case.inputs()
    if backend.refuses(inputs, direction) is None:
        verdict = _verdict_on(backend, inputs, direction, trial.run(backend, case.inputs(), direction))
        if not verdict.passed:
            yield _Call(inputs, direction, verdict, alone=True)
            return
    calls: list[tuple[Any, Direction, Any]] = []
    properties.find(each.property, each.operator).holds(_recording(backend, calls), case, direction)
    for inputs, way, result in calls:
        verdict = _verdict_on(backend, inputs, way, result)
        if not verdict.passed:
            yield _Call(inputs, way, verdict)


def _recording(backend: Backend[Any], calls: list[tuple[Any, Direction, Any]]) -> Backend[Any]:
    """A copy of the backend that appends its calls with their results or exceptions to a list."""

    def prepare(inputs: Any, direction: Direction) -> Any:
        call = backend.prepare(inputs, direction)

        def record() -> Any:
            try:
                result = call()
            except Exception as error:
                calls.append((inputs, direction, error))
                raise
            calls.append((inputs, direction, backend.to_numpy(result)))
            return result

        return record

    def observe(series: Sequence[Any], direction: Direction) -> Any:
        copies = [replace(each) for each in series]
        observation = backend.observe(series, direction)
        calls.extend((inputs, direction, result) for inputs, result in zip(copies, observation.results, strict=False))
        return observation

    return replace(backend, prepare=prepare, remote=observe)


def _verdict_on(backend: Backend[Any], inputs: Any, direction: Direction, result: Array | BaseException) -> Verdict:
    pinned = direction in backend.sheet.pinned
    if isinstance(result, BaseException):
        return without_result(result)
    if result.size + inputs.image.size > _ALL:
        return judge_sample(inputs, direction, result, pinned=pinned)
    return judge(inputs, direction, result, pinned=pinned)


def _second(call: _Call) -> float | None:
    """The value in the second formulation; the first value for a call without a result. None if it has no answer."""
    inputs, place = call.inputs, tuple(call.verdict.place or ())
    shape = operator_of(inputs).result_type(inputs, call.direction)[0]
    if not math.prod(shape):
        return 0.0  # an empty result is the right answer
    place = place or (0,) * len(shape)
    if call.direction != "grad_image":
        inputs, place = with_boxes(inputs, [place[0]]), (0, *place[1:])
    elif len(inputs.boxes):
        inputs = with_boxes(inputs, np.flatnonzero(operator_of(inputs).near(inputs, [place])))
    wide = {name: getattr(inputs, name).astype(np.float64) for name in ("image", "boxes", "upstream")}
    reference = backends.load("reference", operator_of(inputs).name)
    inputs = replace(inputs, **wide)
    if reference.refuses(inputs, call.direction) is not None:
        return None
    return float(reference.run(inputs, call.direction)[place])


def _confirms(call: _Call, second: float) -> bool:
    """Whether the second formulation agrees with the oracle and not with the library."""
    verdict = call.verdict
    if verdict.status is Status.JUDGE:
        return False
    if verdict.status is not Status.OUT:
        return math.isfinite(second)  # a right answer exists, but the call gave none
    assert verdict.expected is not None
    assert verdict.value is not None
    return confirms(second, value=verdict.value, expected=float(verdict.expected.value), bound=verdict.expected.bound)


def _finding(backend: Backend[Any], each: Cell, case: AnyCase, call: _Call, second: float) -> Finding:
    verdict, rule = call.verdict, rule_of(each.operator, each.property, call.direction)
    index = tuple(verdict.place or ()) if verdict.status is Status.OUT else ()
    snippet, output = _snippet_and_output(backend, each, call, index)
    expected = verdict.expected if index else None
    return Finding(
        operator=each.operator,
        backend=each.backend,
        title=each.title,
        versions=each.versions,
        device=each.device,
        property=each.property,
        direction=each.direction,
        status=each.status,
        case=repr(case),
        index=index,
        value=verdict.value if index else None,
        expected=None if expected is None else float(expected.value),
        bound=None if expected is None else expected.bound,
        second=second,
        reason=verdict.reason,
        rule=rule.heading,
        why=rule.why,
        snippet=snippet,
        language=programs.language(each.backend),
        output=output,
        alone=call.alone,
        replay=trial.reproduction(each.backend, each.direction, repr(case), each.property),
    )


def _snippet_and_output(backend: Backend[Any], each: Cell, call: _Call, index: tuple[int, ...]) -> tuple[str, str]:
    """A snippet and its output, both "" unless they show the failure."""
    if backend.snippet is None:
        return "", ""
    shape = operator_of(call.inputs).result_type(call.inputs, call.direction)[0]
    try:
        source = backend.snippet(call.inputs, call.direction, index or (0,) * len(shape))
        if len(source) > _MOST:
            return "", ""
        output = programs.output(each.backend, each.operator, source)
    except (ValueError, RuntimeError, MissingLibrary, Crash, Hang):
        return "", ""
    return (source, output) if _shows(output, call.verdict) else ("", "")


def _shows(output: str, verdict: Verdict) -> bool:
    """Whether a snippet prints the wrong value, or no value if the call gave none."""
    try:
        value = float(output)
    except ValueError:
        return verdict.status is not Status.OUT
    if verdict.status is not Status.OUT or verdict.value is None or verdict.expected is None:
        return False
    # Uninitialised memory differs each time, so any wrong value counts.
    return apart(value, verdict.value) == 0 or apart(value, float(verdict.expected.value)) > verdict.expected.bound


def merge(old: Iterable[Finding], cells: Iterable[Cell], new: Iterable[Finding]) -> list[Finding]:
    """Merges old and new findings; old ones whose cell was checked again are dropped."""
    again = {(each.operator, each.backend, each.device, each.property, each.direction) for each in cells}
    others = [
        each for each in old if (each.operator, each.backend, each.device, each.property, each.direction) not in again
    ]
    return sorted(
        [*others, *new], key=lambda each: (each.operator, each.backend, each.property, each.direction, each.device)
    )
