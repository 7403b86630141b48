"""The gate before the clock: correct results pass it, and every kind of wrong result fails it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.backends import load
from harness.measuring import gate
from harness.measuring.workloads import SMOKE
from harness.operators import CROP_AND_RESIZE
from harness.operators.arrays import DIRECTIONS, HALVES, Array, Direction
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.implementation import Backend


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return SMOKE.inputs()


@pytest.fixture(scope="module")
def backend() -> Backend:
    return load("reference")


@pytest.fixture(scope="module")
def right(backend: Backend, inputs: Inputs) -> dict[Direction, Array]:
    return {direction: backend.run(inputs, direction) for direction in DIRECTIONS}


def nothing() -> None:
    """There is no TensorFlow to compare with."""


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_right_result_passes_and_is_compared_in_full(
    backend: Backend, inputs: Inputs, right: dict[Direction, Array], direction: Direction
) -> None:
    result = right[direction]
    verdict = gate.check(backend, inputs, direction, result, lambda: result)
    assert verdict.passed
    assert verdict.status in ("EXACT", "WITHIN")
    # The peer rounds the positions of its box gradient in another order, so there is no reference.
    assert verdict.compared == (0 if direction == "grad_boxes" else result.size)
    assert verdict.differing == 0


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_wrong_result_fails_by_the_oracle_alone(
    backend: Backend, inputs: Inputs, right: dict[Direction, Array], direction: Direction
) -> None:
    verdict = gate.check(backend, inputs, direction, right[direction] + np.float32(1), nothing)
    assert not verdict.passed
    assert verdict.status == "OUT"
    assert verdict.message


@pytest.mark.parametrize("direction", ["forward", "grad_image"])
def test_a_single_different_bit_fails_against_the_peer(
    backend: Backend, inputs: Inputs, right: dict[Direction, Array], direction: Direction
) -> None:
    result = right[direction].copy()
    bits = result.reshape(-1).view(np.uint32)
    bits[np.flatnonzero(result)[-1]] ^= 1
    verdict = gate.check(backend, inputs, direction, result, lambda: right[direction])
    assert (verdict.passed, verdict.status, verdict.differing) == (False, "DIFFERS", 1)


@pytest.mark.parametrize("image_dtype", HALVES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_half_images_pass_and_a_single_different_bit_fails(
    backend: Backend, inputs: Inputs, direction: Direction, image_dtype: str
) -> None:
    halves = replace(inputs, image=inputs.image.astype(image_dtype), upstream=inputs.upstream.astype(image_dtype))
    result = backend.run(halves, direction)
    assert gate.check(backend, halves, direction, result, lambda: result).passed
    if direction in backend.sheet.tensorflow_bits:
        other = result.copy()
        other.reshape(-1).view(np.uint16)[np.flatnonzero(result)[-1]] ^= 1
        verdict = gate.check(backend, halves, direction, result, lambda: other)
        assert (verdict.status, verdict.compared, verdict.differing) == ("DIFFERS", result.size, 1)


def test_a_wrong_shape_fails(backend: Backend, inputs: Inputs, right: dict[Direction, Array]) -> None:
    turned = np.ascontiguousarray(right["grad_image"].transpose(0, 1, 3, 2))
    assert gate.check(backend, inputs, "grad_image", turned, nothing).status == "SHAPE"


def test_another_rule_is_marked_and_not_judged(backend: Backend, inputs: Inputs, right: dict[Direction, Array]) -> None:
    verdict = gate.check(replace(backend, same_rule=False), inputs, "forward", right["forward"] + 1, nothing)
    assert (verdict.passed, verdict.status) == (True, gate.OTHER_RULE)


def test_an_earlier_verdict_holds_for_the_same_bits_only(
    backend: Backend, inputs: Inputs, right: dict[Direction, Array]
) -> None:
    before = gate.check(backend, inputs, "forward", right["forward"], nothing)
    earlier = replace(before, message="from before")
    verdicts = {earlier.digest: earlier}
    assert gate.check(backend, inputs, "forward", right["forward"], nothing, verdicts) == earlier
    assert not gate.check(backend, inputs, "forward", right["forward"] + 1, nothing, verdicts).passed
    failures = {earlier.digest: replace(earlier, passed=False)}
    assert gate.check(backend, inputs, "forward", right["forward"], nothing, failures).message == ""


def test_the_verdict_names_the_reference(backend: Backend, inputs: Inputs, right: dict[Direction, Array]) -> None:
    result = right["forward"]
    assert gate.check(backend, inputs, "forward", result, lambda: result).compared_with == "TensorFlow"
    assert gate.check(backend, inputs, "forward", result, nothing).compared_with == ""
    wrong = gate.check(backend, inputs, "forward", result, lambda: result + 1, {}, "the CPU")
    assert (wrong.status, wrong.compared_with) == ("DIFFERS", "the CPU")
    assert "those of the CPU" in wrong.message


def test_only_the_oracle_judges_results_without_promised_bits(
    backend: Backend, inputs: Inputs, right: dict[Direction, Array]
) -> None:
    """Atomics sum in no fixed order: other bits than the reference's pass if the oracle accepts them."""
    atomics = replace(backend, sheet=replace(backend.sheet, tensorflow_bits=("forward",)))
    result = right["grad_image"]
    nearly = np.nextafter(result, np.float32(np.inf), where=result != 0, out=result.copy())
    verdict = gate.check(atomics, inputs, "grad_image", nearly, lambda: result)
    assert (verdict.passed, verdict.compared) == (True, 0)
    assert gate.check(backend, inputs, "grad_image", nearly, lambda: result).status == "DIFFERS"


def test_large_box_gradients_are_sampled_on_both_axes() -> None:
    upstream = np.zeros((3, 64, 32, 32), np.float32)
    boxes = np.zeros((3, 4), np.float32)
    large = Inputs(np.zeros((1, 64, 4, 4), np.float32), boxes, np.zeros(3, np.int32), upstream, (32, 32))
    places = CROP_AND_RESIZE.sample(large, "grad_boxes", boxes)
    assert len(places) == 2
    assert {column % 2 for _, column in places} == {0, 1}
    assert len({row for row, _ in places}) == 1
