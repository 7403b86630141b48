"""Against TensorFlow: equality of bits where it is promised, a bound where it cannot be.

TensorFlow's forward and its image gradient (under operator determinism) are order A in float32, step by step, so there
is nothing to tolerate: one differing bit is a bug. Its box gradient takes positions in another order and sums serially;
it is compared where no sample is near a pixel centre or the border, which is where the two orders could part.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from harness import strategies
from harness.case import Case
from harness.judge import failure
from harness.oracle import expected

# TensorFlow computes float32, and may end the process on a box that is not finite.
FLOAT32 = {"image_dtypes": ["float32"], "boxes_dtypes": ["float32"], "finite_boxes": True}
MANY_CHANNELS = (4, 7, 8, 15, 16, 17, 40, 67)
# At least 2,000 random cases stand behind "equal in every bit", in every profile.
MANY = settings(max_examples=max(2000, settings().max_examples))


def _differing(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Where two float32 arrays differ in a bit; any NaN equals any other, for a payload is nobody's promise."""
    return (got.view(np.int32) != want.view(np.int32)) & ~(np.isnan(got) & np.isnan(want))


def _assert_same_bits(backend, tensorflow, case, direction, tally) -> None:
    if direction not in backend.order_a:
        pytest.skip(f"{backend.title} does not claim TensorFlow's order of rounding")
    inputs = case.inputs()
    for each in (backend, tensorflow):
        if each.refuses(inputs, direction):
            return
    got, want = backend.run(inputs, direction), tensorflow.run(inputs, direction)
    assert got.shape == want.shape, failure(backend, case, direction, f"shape {got.shape}, TensorFlow's {want.shape}")
    assert got.dtype == want.dtype, failure(backend, case, direction, f"dtype {got.dtype}, TensorFlow's {want.dtype}")
    different = _differing(np.ascontiguousarray(got), np.ascontiguousarray(want))
    tally.bits(f"{direction} against TensorFlow", got.size, int(different.sum()))
    if different.any():
        place = tuple(int(axis[0]) for axis in np.nonzero(different))
        said = f"{int(different.sum())} values differ from TensorFlow's; at {place} {got[place]!r}, not {want[place]!r}"
        raise AssertionError(failure(backend, case, direction, said))


@MANY
@given(case=strategies.cases(**FLOAT32))
def test_forward_and_image_gradient_have_tensorflows_bits(backend, tensorflow, tally, case):
    _assert_same_bits(backend, tensorflow, case, "forward", tally)
    _assert_same_bits(backend, tensorflow, case, "grad_image", tally)


@MANY
@given(case=strategies.cases(**FLOAT32, box_families=["border", "on_pixel"], longest_side=70, layouts=["contiguous"]))
def test_touching_boxes_have_tensorflows_bits(backend, tensorflow, tally, case):
    _assert_same_bits(backend, tensorflow, case, "forward", tally)
    _assert_same_bits(backend, tensorflow, case, "grad_image", tally)


@given(case=strategies.cases(**FLOAT32, channels=MANY_CHANNELS, most_outputs=20_000, longest_side=20))
def test_many_channels_have_tensorflows_bits(backend, tensorflow, tally, case):
    """Enough channels and samples that vectors are filled, half filled, and planes are worked on in blocks."""
    _assert_same_bits(backend, tensorflow, case, "forward", tally)
    _assert_same_bits(backend, tensorflow, case, "grad_image", tally)


@given(case=strategies.cases(**FLOAT32, box_families=["interior"], longest_side=4, empty=False))
def test_overlapping_boxes_have_tensorflows_bits(backend, tensorflow, tally, case):
    """Many samples a pixel: the order in which they are added is part of the bits."""
    _assert_same_bits(backend, tensorflow, case, "grad_image", tally)


@given(case=strategies.cases(**FLOAT32, box_families=["interior", "inverted", "outside"], empty=False))
def test_box_gradient_is_tensorflows_within_two_bounds(backend, tensorflow, case):
    inputs = case.inputs()
    for each in (backend, tensorflow):
        if each.refuses(inputs, "grad_boxes"):
            return
    got, want = backend.run(inputs, "grad_boxes"), tensorflow.run(inputs, "grad_boxes")
    # Without order A the oracle names the outputs that another order of rounding may change; the rest must agree.
    for place, value in expected(inputs, "grad_boxes", order_a=False):
        if value.ambiguous or not np.isfinite(float(value.value)):
            continue
        distance = abs(float(got[place]) - float(want[place]))
        assert distance <= 2 * value.bound, failure(
            backend, case, "grad_boxes", f"{got[place]} at {place}, TensorFlow's {want[place]}, {value.bound=}"
        )


def test_whole_image_box_drops_the_last_row_as_tensorflow_does(backend, tensorflow):
    """[0,0,1,1] from 8 to 14 puts the last sample one ulp past the border: a fact of order A, and so ours too."""
    case = Case(
        shape=(1, 1, 8, 8), boxes=((0.0, 0.0, 1.0, 1.0),), box_indices=(0,), crop_size=(14, 14), values="ramp",
        extrapolation_value=-5.0,
    )  # fmt: skip
    inputs = case.inputs()
    for each in (backend, tensorflow):
        if "forward" not in each.order_a:
            pytest.skip(f"{each.title} does not claim TensorFlow's order of rounding")
        crops = each.run(inputs, "forward")
        assert (crops[0, 0, -1] == -5).all()
        assert (crops[0, 0, :, -1] == -5).all()
        assert (crops[0, 0, :-1, :-1] != -5).all()
