"""Every verdict occurs, and a failure's message has the necessary details."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from harness import properties
from harness.backends import load
from harness.faults.reference.crop_and_resize import FAULTS
from harness.judging.trial import assert_no_side_effect, assert_passes, run
from harness.operators import CROP_AND_RESIZE
from harness.operators.arrays import DIRECTIONS, HALVES, Array, Direction
from harness.operators.crop_and_resize.case import Case, Inputs
from harness.operators.implementation import Backend
from harness.operators.judgement import judge
from harness.operators.sheet import Sheet
from harness.operators.verdict import JudgementError, Status, Verdict
from harness.verbs import judging as verbs

BOXES = ((0.1, 0.2, 0.8, 0.9), (-0.2, 0.1, 0.6, 1.3))
CASE = Case((2, 2, 5, 4), BOXES, box_indices=(1, 0), crop_size=(3, 2), extrapolation_value=0.5)
# The last sample of [0, 1] from 8 to 14 pixels: one ulp past the border in order A, on it in another order.
PAST_THE_BORDER = Case((1, 1, 8, 1), ((0.0, 0.0, 1.0, 0.0),), box_indices=(0,), crop_size=(14, 1))
REFERENCE = load("reference")
each_direction = pytest.mark.parametrize("direction", DIRECTIONS)


def reference(case: Case, direction: Direction) -> Array:
    result = run(REFERENCE, case.inputs(), direction)
    assert isinstance(result, np.ndarray)
    return result


@each_direction
def test_reference_is_within(direction: Direction) -> None:
    verdict = judge(CASE.inputs(), direction, reference(CASE, direction), pinned=True)
    assert verdict.status is Status.WITHIN
    assert 0 < verdict.fraction < 1
    assert 0 < verdict.exact < verdict.compared == reference(CASE, direction).size


def test_copies_are_exact() -> None:
    """The nearest method rounds nothing."""
    case = replace(CASE, method="nearest")
    assert judge(case.inputs(), "forward", reference(case, "forward"), pinned=True).status is Status.EXACT


@each_direction
def test_one_wrong_value_is_out(direction: Direction) -> None:
    result = reference(CASE, direction)
    place = tuple(size - 1 for size in result.shape)
    result[place] += np.float32(1e-3)
    verdict = judge(CASE.inputs(), direction, result, pinned=True)
    assert verdict.status is Status.OUT
    assert (verdict.place, verdict.value) == (place, result[place])
    assert verdict.fraction > 1
    assert not verdict.passed


@each_direction
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_is_out(direction: Direction, value: float) -> None:
    result = reference(CASE, direction)
    result.flat[0] = value
    assert judge(CASE.inputs(), direction, result, pinned=True).status is Status.OUT
    assert judge(CASE.inputs(), direction, result, pinned=False).status is Status.OUT


def test_nan_is_not_inf() -> None:
    """In the forward of order A the formula determines the sign."""
    inputs = Case((1, 1, 2, 2), ((0.5, 0.5, 0.5, 0.5),), box_indices=(0,), crop_size=(1, 1)).inputs()
    inputs.image[0, 0, 1, 1] = np.inf
    for value, status in ((np.inf, Status.EXACT), (-np.inf, Status.OUT), (np.nan, Status.OUT)):
        assert judge(inputs, "forward", np.full((1, 1, 1, 1), value, np.float32), pinned=True).status is status


@each_direction
def test_bound_is_a_few_roundings(direction: Direction) -> None:
    """Without cancellation an error of 64 unit roundoffs fails."""
    case = replace(CASE, values="ramp", shape=(1, 1, 5, 4), box_indices=(0, 0))
    result = reference(case, direction)
    place = np.unravel_index(np.argmax(np.abs(result)), result.shape)
    result[place] *= np.float32(1 + 64 * 2.0**-24) if direction != "grad_boxes" else np.float32(1 + 1024 * 2.0**-24)
    assert judge(case.inputs(), direction, result, pinned=True).status is Status.OUT


@pytest.mark.parametrize("image_dtype", HALVES)
@pytest.mark.parametrize("direction", ["forward", "grad_image"])
def test_the_neighbour_of_a_half_is_out(direction: Direction, image_dtype: str) -> None:
    """Exactly one half value is correct, not all within a half's unit roundoff of it."""
    case = replace(CASE, image_dtype=image_dtype)
    right = reference(case, direction)
    assert judge(case.inputs(), direction, right, pinned=True).passed
    passes = []
    for place in zip(*np.nonzero(right), strict=True):
        for step in (-1, 1):
            result = right.copy()
            result.view(np.int16)[place] += step
            verdict = judge(case.inputs(), direction, result, pinned=True)
            assert verdict.passed or verdict.place == place
            assert verdict.passed or "is rounded; it must be" in verdict.reason
            passes.append(verdict.passed)
    # A few sums lie midway between two halves, within float32's precision.
    assert sum(passes) <= len(passes) / 20


def test_between_two_halves_both_are_within() -> None:
    """A sample midway between 1 and the next half: exactly a tie, and a float32 result may lie on either side."""
    inputs = Case((1, 1, 1, 2), ((0.0, 0.5, 0.0, 0.5),), (0,), crop_size=(1, 1), image_dtype="float16").inputs()
    inputs.image[...] = 1, 1 + 2.0**-10
    right, wrong = {1.0: Status.EXACT, 1 + 2.0**-10: Status.WITHIN}, (1 - 2.0**-11, 1 + 2.0**-9)
    for value, status in {**right, **dict.fromkeys(wrong, Status.OUT)}.items():
        result = np.full((1, 1, 1, 1), value, np.float16)
        assert judge(inputs, "forward", result, pinned=True).status is status, value


@pytest.mark.parametrize(
    ("upstream", "right"),
    [
        ((60000.0, 5516.0), {65504.0}),
        ((65504.0, 16.0), {65504.0, math.inf}),  # midway between the largest half and the next power of two
        ((65504.0, 17.0), {math.inf}),
        ((-65504.0, -65504.0), {-math.inf}),
    ],
)
def test_halves_overflow_when_they_are_rounded(upstream: tuple[float, float], right: set[float]) -> None:
    """Neither too early nor too late, and not to another non-finite value."""
    inputs = Case((1, 1, 1, 1), ((0.0,) * 4,) * 2, (0, 0), crop_size=(1, 1), image_dtype="float16").inputs()
    inputs.upstream[:, 0, 0, 0] = upstream
    for value in (65504.0, math.inf, -65504.0, -math.inf, math.nan):
        result = np.full((1, 1, 1, 1), value, np.float16)
        assert judge(inputs, "grad_image", result, pinned=True).passed == (value in right), value


@pytest.mark.parametrize("image_dtype", HALVES)
def test_the_box_gradient_of_a_half_image_is_not_rounded_to_half(image_dtype: str) -> None:
    case = replace(CASE, image_dtype=image_dtype)
    result = reference(case, "grad_boxes")
    assert judge(case.inputs(), "grad_boxes", result, pinned=True).passed
    rounded = result.astype(image_dtype)
    assert judge(case.inputs(), "grad_boxes", rounded, pinned=True).status is Status.DTYPE
    assert judge(case.inputs(), "grad_boxes", rounded.astype(np.float32), pinned=True).status is Status.OUT


@pytest.mark.parametrize(("image_dtype", "right"), [("float16", math.inf), ("bfloat16", 999424.0)])
def test_the_extrapolation_value_is_rounded_to_half(image_dtype: str, right: float) -> None:
    outside = replace(CASE, boxes=((2.0,) * 4,), box_indices=(0,))
    case = replace(outside, extrapolation_value=1e6, image_dtype=image_dtype)
    with np.errstate(over="ignore"):
        result = np.full((1, 2, 3, 2), 1e6).astype(image_dtype)
    assert float(result[0, 0, 0, 0]) == right
    assert judge(case.inputs(), "forward", result, pinned=True).status is Status.EXACT


def test_shape() -> None:
    result = reference(CASE, "forward").transpose(0, 1, 3, 2)
    verdict = judge(CASE.inputs(), "forward", result, pinned=True)
    assert verdict.status is Status.SHAPE
    assert "(2, 2, 3, 2)" in verdict.reason


@each_direction
def test_dtype(direction: Direction) -> None:
    verdict = judge(CASE.inputs(), direction, reference(CASE, direction).astype(np.float64), pinned=True)
    assert verdict.status is Status.DTYPE
    assert "float32" in verdict.reason


def test_error() -> None:
    verdict = judge(CASE.inputs(), "forward", ValueError("no"), pinned=True)
    assert verdict.status is Status.ERROR
    assert verdict.reason == "It raised ValueError: no"


def test_a_failure_of_the_judge_can_be_pickled() -> None:
    verdict = Verdict(Status.JUDGE, reason="of the judge")
    assert pickle.loads(pickle.dumps(JudgementError(verdict))).verdict == verdict


def _broken_oracle(*_: object, **__: object) -> Any:
    raise ZeroDivisionError("a grid of no samples")


@pytest.mark.parametrize("name", ["within bound, normalized boxes", "no side effect"])
def test_an_exception_of_the_judge_is_no_error_of_the_implementation(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(9))
    sheet = replace(REFERENCE.sheet, unordered=DIRECTIONS)

    def noisy(inputs: Inputs, direction: Direction) -> Callable[[], Any]:
        return lambda: REFERENCE.prepare(inputs, direction)() + np.float32(next(calls))

    other_bits = replace(REFERENCE, sheet=sheet, prepare=noisy)
    broken = replace(CROP_AND_RESIZE, expected=_broken_oracle)
    monkeypatch.setattr("harness.operators.judgement.operator_of", lambda inputs: broken)
    verdict = properties.find(name, "crop_and_resize").holds(other_bits, CASE, "forward")
    assert verdict is not None
    assert (verdict.status, verdict.passed) == (Status.JUDGE, False)
    assert "please report it with this case: ZeroDivisionError: a grid of no samples (suites/meta/" in str(verdict)
    # An exception of a check itself is a failure of the judge too.
    property_ = replace(properties.find(name, "crop_and_resize"), check=_broken_oracle)
    verdict = property_.holds(REFERENCE, CASE, "forward")
    assert verdict is not None
    assert verdict.status is Status.JUDGE


def test_judge_exits_with_3_if_the_judge_itself_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(CROP_AND_RESIZE, expected=_broken_oracle)
    arguments = ["judge", "--backend", "reference", repr(CASE)]
    assert CliRunner().invoke(verbs.app, arguments).exit_code == 0
    monkeypatch.setattr("harness.operators.judgement.operator_of", lambda inputs: broken)
    result = CliRunner().invoke(verbs.app, arguments)
    assert result.exit_code == 3
    assert (
        "JUDGE: The judge itself failed, which is not held against the implementation; please report" in result.output
    )


@pytest.mark.parametrize("name", ["within bound, normalized boxes", "permuted boxes", "split list"])
@pytest.mark.parametrize("where", ["prepare", "to_numpy", "avoids"])
def test_an_exception_of_the_implementation_is_its_error(
    name: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Independently of the oracle."""

    def raising(*_: object) -> Any:
        raise ZeroDivisionError("of the implementation")

    broken = replace(CROP_AND_RESIZE, expected=_broken_oracle)
    monkeypatch.setattr("harness.operators.judgement.operator_of", lambda inputs: broken)
    backend = replace(REFERENCE, **{where: raising})
    verdict = properties.find(name, "crop_and_resize").holds(backend, CASE, "forward")
    assert verdict is not None
    assert verdict.status is Status.ERROR
    assert verdict.reason == "It raised ZeroDivisionError: of the implementation"


def test_a_result_that_is_no_array_is_an_error_of_the_implementation() -> None:
    verdict = judge(CASE.inputs(), "forward", None, pinned=True)  # type: ignore[arg-type]
    assert (verdict.status, verdict.reason) == (Status.ERROR, "It returned a NoneType; an array is expected.")


def test_ambiguity_excuses_other_orders_and_never_order_a() -> None:
    case = replace(PAST_THE_BORDER, extrapolation_value=9.0)
    result = reference(case, "forward")
    assert result[0, 0, 13, 0] == 9
    result[0, 0, 13, 0] = case.inputs().image[0, 0, 7, 0]
    assert judge(case.inputs(), "forward", result, pinned=True).status is Status.OUT
    assert judge(case.inputs(), "forward", result, pinned=False).status is Status.AMBIGUOUS
    result[0, 0, 13, 0] = (result[0, 0, 13, 0] + 9) / 2
    assert judge(case.inputs(), "forward", result, pinned=False).status is Status.OUT, "neither branch"


def test_ambiguous_gradients() -> None:
    """The gradient of a sample that may or may not contribute."""
    case = PAST_THE_BORDER
    result, upstream = reference(case, "grad_image"), case.inputs().upstream
    result[0, 0, 7, 0] += upstream[0, 0, 13, 0]
    assert judge(case.inputs(), "grad_image", result, pinned=True).status is Status.OUT
    assert judge(case.inputs(), "grad_image", result, pinned=False).status is Status.AMBIGUOUS
    result[0, 0, 7, 0] += upstream[0, 0, 13, 0]
    assert judge(case.inputs(), "grad_image", result, pinned=False).status is Status.OUT, "twice is neither"


def test_only_the_given_places_are_judged() -> None:
    result = reference(CASE, "forward")
    result[1, 1, 2, 1] += 1
    assert judge(CASE.inputs(), "forward", result, pinned=True, places=[(0, 0, 0, 0), (0, 1, 2, 1)]).passed
    assert not judge(CASE.inputs(), "forward", result, pinned=True, places=[(1, 1, 2, 1)]).passed


@each_direction
def test_empty_is_exact(direction: Direction) -> None:
    case = replace(CASE, boxes=(), box_indices=())
    assert judge(case.inputs(), direction, reference(case, direction), pinned=True).status is Status.EXACT


def test_a_failures_message_has_the_value_and_a_command() -> None:
    fault = next(fault for fault in FAULTS if fault.name == "ignored_extrapolation")
    with pytest.raises(AssertionError) as failure:
        assert_passes(backend=fault.backend, case=CASE, direction="forward")
    message = str(failure.value)
    assert "crops[1, 0, 0, 0] is 0.0; it must be exactly 0.5" in message
    line = message.splitlines()[-1]
    assert line.strip().startswith("reproduce  python -m harness judge --backend fault:ignored_extrapolation")
    assert Case.parse(line.split('"')[1]) == CASE


def backend_of(call: Callable[[Inputs], Any]) -> Backend:
    sheet = Sheet(operator="crop_and_resize", index_dtypes=("int32",))
    return Backend("made", "made for this test", sheet, lambda i, d: lambda: call(i), np.asarray)


def test_writing_to_an_input_fails() -> None:
    def call(inputs: Inputs) -> Array:
        inputs.upstream[...] *= 2
        return np.zeros((2, 2, 3, 2), dtype=np.float32)

    with pytest.raises(AssertionError, match="writes to upstream"):
        assert_no_side_effect(backend=backend_of(call), case=CASE, direction="forward")


def test_a_result_of_an_earlier_call_fails() -> None:
    memory = [0.0]

    def call(inputs: Inputs) -> Array:
        before, memory[0] = memory[0], float(inputs.image.flat[0])
        return np.full((2, 2, 3, 2), before, dtype=np.float32)

    with pytest.raises(AssertionError, match="other bits the second time"):
        assert_no_side_effect(backend=backend_of(call), case=CASE, direction="forward")
