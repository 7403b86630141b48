"""Compares with TensorFlow: equal bits where promised, a bound elsewhere.

TensorFlow's forward and its image gradient (with operator determinism) are order A in float32, step by step, so there
is no tolerance: one differing bit is a bug. Its box gradient computes positions in another order and sums serially; it
is compared only if no sample is near a pixel centre or the border, where the two orders could take different branches.

TensorFlow's crops of float16 images are float32; ours are these, rounded once. Its image gradient of float16 images
sums in half precision, which is not a reference, and it does not support bfloat16.
"""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from harness.judging.sample import judge_sample
from harness.judging.trial import failure
from harness.operators.arrays import differing
from harness.operators.crop_and_resize import strategy
from harness.operators.crop_and_resize.case import Case
from harness.operators.judgement import unlike_peer
from suites.correctness import sizes

# TensorFlow computes float32, and may end the process on a box that is not finite.
FLOAT32 = {"image_dtypes": ["float32"], "boxes_dtypes": ["float32"], "finite_boxes": True}
FLOAT16 = {**FLOAT32, "image_dtypes": ["float16"]}
FLOATS = {**FLOAT32, "image_dtypes": ["float32", "float32", "float16"]}
MANY_CHANNELS = (4, 7, 8, 15, 16, 17, 40, 67)
BOTH, FORWARD = ("forward", "grad_image"), ("forward",)
# The minimum number of cases in every profile, the directions whose bits are compared, and the choices of the cases.
CASES = {
    "of every kind": (2000, BOTH, FLOAT32),
    "touching boxes": (
        2000, BOTH, {**FLOAT32, "box_families": ["border", "on_pixel"], "longest_side": 70, "layouts": ["contiguous"]}),
    # Each pixel is first cast to float32: the only rounding of an int64 beyond 2^24.
    "integer images": (
        600, FORWARD,
        {**FLOAT32, "image_dtypes": ["uint8", "int8", "uint16", "int16", "int32", "int64"], "channels": (1, 3, 16)}),
    # Enough channels and samples for full and partial vectors, and for planes in blocks.
    "many channels": (1, BOTH, {**FLOAT32, "channels": MANY_CHANNELS, "most_outputs": 20_000, "longest_side": 20}),
    "halves, rounded once": (500, FORWARD, {**FLOAT16, "channels": (1, 2, 3, *MANY_CHANNELS), "most_outputs": 2000}),
    # Many samples per pixel: the bits depend on the order of the sum.
    "overlapping boxes": (
        1, ("grad_image",), {**FLOAT32, "box_families": ["interior"], "longest_side": 4, "empty": ()}),
}  # fmt: skip


@pytest.mark.parametrize(("least", "directions", "choices"), CASES.values(), ids=CASES)
def test_random_cases_have_tensorflows_bits(backend, tensorflow, tally, least, directions, choices):
    pinned = [direction for direction in directions if direction in backend.sheet.pinned]
    if not pinned:
        pytest.skip(f"{backend.title} does not claim TensorFlow's order of rounding")

    @settings(max_examples=max(least, settings().max_examples))
    @given(case=strategy.cases(**choices))
    def holds(case):
        for direction in pinned:
            inputs = case.inputs()
            if backend.refuses(inputs, direction) or tensorflow.refuses(inputs, direction):
                continue
            result, expected = backend.run(inputs, direction), tensorflow.run(inputs, direction)
            unlike = unlike_peer(backend.sheet, inputs, direction, result, expected)
            if result.shape == expected.shape:
                of = "" if case.image_dtype == "float32" else f" of {case.image_dtype} images"
                tally.bits(f"{direction}{of} against TensorFlow", result.size, int(differing(result, expected).sum()))
            assert unlike is None, failure(backend, case, direction, unlike)

    holds()


@given(case=strategy.cases(**FLOATS, box_families=["interior", "inverted", "outside"], empty=()))
def test_box_gradients_agree_with_tensorflow_within_two_bounds(backend, tensorflow, case):
    inputs = case.inputs()
    if backend.refuses(inputs, "grad_boxes") or tensorflow.refuses(inputs, "grad_boxes"):
        return
    result, expected = backend.run(inputs, "grad_boxes"), tensorflow.run(inputs, "grad_boxes")
    unlike = unlike_peer(backend.sheet, inputs, "grad_boxes", result, expected)
    assert unlike is None, failure(backend, case, "grad_boxes", unlike)


@sizes.of("crop_and_resize")
@pytest.mark.parametrize("method", ["bilinear", "nearest"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_bits_do_not_depend_on_the_size(backend, tensorflow, tally, size, method, layout):
    inputs = replace(sizes.inputs_of("crop_and_resize", size, layout), method=method)
    for direction in ("forward", "grad_image"):
        if backend.refuses(inputs, direction) or direction not in backend.sheet.pinned:
            continue
        result = backend.run(inputs, direction)
        if direction not in backend.sheet.tensorflow_bits:
            verdict = judge_sample(inputs, direction, result, pinned=True)
            assert verdict.passed, str(verdict)
            continue
        different = int(differing(result, tensorflow.run(inputs, direction)).sum())
        tally.bits(f"{direction} against TensorFlow, large", result.size, different)
        assert different == 0, direction


def test_whole_image_box_drops_the_last_row_as_tensorflow_does(backend, tensorflow):
    """[0,0,1,1] from 8 to 14 puts the last sample one ulp past the border in order A, and so in ours."""
    case = Case(
        shape=(1, 1, 8, 8), boxes=((0.0, 0.0, 1.0, 1.0),), box_indices=(0,), crop_size=(14, 14), values="ramp",
        extrapolation_value=-5.0,
    )  # fmt: skip
    inputs = case.inputs()
    for each in (backend, tensorflow):
        if "forward" not in each.sheet.pinned:
            pytest.skip(f"{each.title} does not claim TensorFlow's order of rounding")
        crops = each.run(inputs, "forward")
        assert (crops[0, 0, -1] == -5).all()
        assert (crops[0, 0, :, -1] == -5).all()
        assert (crops[0, 0, :-1, :-1] != -5).all()
