"""roi_align's contract for bad input: which exception, with which words, and never a crash or a silent wrap-around.

Several of these have ended other implementations' processes: an index outside (torchvision 4828), a NaN (9273), a box
so large that its adaptive grid has more samples than memory (9629).
"""

from __future__ import annotations

import math

import pytest
import torch

from roi_align import multiscale_roi_align, roi_align

pytestmark = [pytest.mark.package, pytest.mark.cpu]

NAN, INF, MAX = math.nan, math.inf, 3.4e38
GOOD = [0.0, 0.5, 1.0, 5.0, 4.0]


def call(**changes):
    """A good call, but for the changes."""
    arguments = {
        "input": torch.rand(2, 3, 5, 7),
        "boxes": torch.tensor([GOOD, [1.0, 0, 0, 7, 5]]),
        "output_size": (4, 3),
        **changes,
    }
    return roi_align(**arguments)


NOT_FINITE = {
    "NaN": [NAN, 1.0, 5.0, 4.0],
    "all NaN": [NAN] * 4,
    "infinite": [-INF, 0.0, INF, 4.0],
    "1e40, infinite in float32": [0.0, 0.0, 1e40, 1e40],
    "finite, but the size overflows": [-MAX, 0.0, MAX, 4.0],
    "a grid of 10^37 samples": [0.0, 0.0, MAX, 4.0],
    "a grid of 10^9 samples": [0.0, 0.0, 1e10, 4.0],
    "inverted on one axis": [5.0, 1.0, 1.0, 4.0],
}


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [-1, 2])
@pytest.mark.parametrize("row", NOT_FINITE.values(), ids=NOT_FINITE)
def test_a_box_of_any_numbers_is_defined_and_disturbs_no_other(row, ratio, aligned, mode):
    features = torch.rand(1, 2, 5, 7, requires_grad=True)
    boxes = torch.tensor([[0.0, *row], GOOD], requires_grad=True)
    pooled = roi_align(features, boxes, (4, 3), 1.0, ratio, aligned, mode=mode)
    assert torch.isfinite(pooled).all()
    assert torch.equal(pooled[1:], roi_align(features, boxes[1:], (4, 3), 1.0, ratio, aligned, mode=mode))
    if any(map(math.isnan, row)):
        assert (pooled[0] == 0).all()
    of_features, of_boxes = torch.autograd.grad(pooled.sum(), (features, boxes))
    assert torch.isfinite(of_features).all()
    assert torch.isfinite(of_boxes).all()


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("bad", [-1.0, 2.0, 0.5, 1e20, NAN, INF])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_index_without_an_image_is_an_index_error(bad, dtype, mode):
    boxes = torch.tensor([GOOD, [bad, 0, 0, 7, 5]], dtype=dtype)
    with pytest.raises(IndexError, match=r"boxes\[1\] has the index .*, but the input has N = 2"):
        call(boxes=boxes, mode=mode)


@pytest.mark.parametrize("row", [NOT_FINITE[name] for name in list(NOT_FINITE)[:5]], ids=list(NOT_FINITE)[:5])
def test_a_box_that_is_not_finite_is_a_value_error_if_asked_to_validate(row):
    with pytest.raises(ValueError, match=r"boxes\[1\] has an edge or leads to a sample position that is not finite"):
        call(boxes=torch.tensor([GOOD, [1.0, *row]]), validate=True)
    assert torch.equal(call(input=torch.ones(2, 3, 5, 7), validate=True), call(input=torch.ones(2, 3, 5, 7)))


def test_validate_is_asked_inside_a_vmap_and_a_compiled_graph():
    def pooled(features, rows):
        return roi_align(features, rows, 2, validate=True)

    rows = torch.tensor([[0.0, *GOOD[1:]], [0.0, 0.0, NAN, 7.0, 5.0]])
    for function, arguments in (
        (torch.func.vmap(pooled), (torch.rand(2, 1, 3, 8, 8), torch.stack([rows] * 2))),
        (torch.compile(pooled, backend="eager"), (torch.rand(1, 3, 8, 8), rows)),
    ):
        with pytest.raises(
            ValueError, match=r"boxes\[1\] has an edge or leads to a sample position that is not finite"
        ):
            function(*arguments)


@pytest.mark.parametrize("bad", [-1.0, 2.0, 0.5, 1e20, NAN, INF])
def test_validate_names_an_index_without_an_image_as_the_kernels_do(bad):
    for validate in (False, True):
        with pytest.raises(IndexError, match=r"boxes\[1\] has the index .*, but the input has N = 2: .* whole number"):
            call(boxes=torch.tensor([GOOD, [bad, 0, 0, 7, 5]]), validate=validate)
    with pytest.raises(IndexError, match=r"boxes\[1\] has the index"):
        multiscale_roi_align([torch.rand(2, 1, 8, 8)], torch.tensor([GOOD, [bad, *GOOD[1:]]]), 2, [1.0], validate=True)


def test_more_tensors_of_boxes_than_images_are_an_index_error():
    with pytest.raises(IndexError, match=r"boxes\[2\] has the index 2, but the input has N = 2"):
        call(boxes=[torch.rand(1, 4)] * 3)


WRONG = {
    "input of rank 3": ({"input": torch.rand(3, 5, 7)}, ValueError, r"input must have shape \(N, C, H, W\)"),
    "no rows": ({"input": torch.rand(2, 3, 0, 7)}, ValueError, "at least one row and one column"),
    "input of bool": ({"input": torch.ones(2, 3, 5, 7, dtype=torch.bool)}, TypeError, "input must be torch.float32 or"),
    "no input": ({"input": None}, TypeError, "input must be a torch.Tensor, not NoneType"),
    "boxes of four columns": ({"boxes": torch.rand(2, 4)}, ValueError, r"five columns \(index.*\(2, 4\)"),
    "boxes of rank 1": ({"boxes": torch.rand(5)}, ValueError, r"boxes must have .*five columns.*\(5,\)"),
    "a list of five columns": ({"boxes": [torch.rand(2, 5)] * 2}, ValueError, r"boxes\[0\] must have .*four columns"),
    "an empty list": ({"boxes": []}, ValueError, "one tensor .* for each image, not none"),
    "a list of lists": ({"boxes": [[0, 0, 1, 1]]}, TypeError, r"boxes\[0\] must be a torch.Tensor, not list"),
    "boxes of integers": ({"boxes": torch.ones(2, 5, dtype=torch.int64)}, TypeError, "boxes must be torch.float32 or"),
    "boxes as a number": ({"boxes": 3}, TypeError, r"a tensor \(K, 5\) or a sequence .*not int"),
    "mixed devices": ({"boxes": torch.rand(2, 5, device="meta")}, ValueError, "on one device, not on cpu and meta"),
    "unknown mode": ({"mode": "mean"}, ValueError, "mode must be 'avg' or 'max', not 'mean'"),
    "output size of 0": ({"output_size": (0, 3)}, ValueError, r"output_size must be positive .*\(0, 3\)"),
    "negative output size": ({"output_size": -3}, ValueError, "output_size must be positive"),
    "three numbers": ({"output_size": (1, 2, 3)}, ValueError, "an integer or two"),
    "a fraction": ({"output_size": 2.5}, TypeError, "an integer or two, .*not 2.5"),
    "a fraction for a ratio": ({"sampling_ratio": 1.5}, TypeError, "float"),
    "an output of 2^31-1 squared": ({"output_size": 2**31 - 1}, MemoryError, "cannot be allocated"),
}


@pytest.mark.parametrize(("changes", "error", "words"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_refused_in_a_sentence(changes, error, words):
    with pytest.raises(error, match=words):
        call(**changes)


def pyramid(**changes):
    arguments = {
        "features": [torch.rand(2, 3, 16 >> k, 16 >> k) for k in range(3)],
        "boxes": torch.tensor([GOOD]),
        "output_size": 3,
        "spatial_scales": [0.25, 0.125, 0.0625],
        **changes,
    }
    return multiscale_roi_align(**arguments)


WRONG_LEVELS = {
    "a tensor": ({"features": torch.rand(3, 2, 3, 4)}, TypeError, "a sequence of tensors, one for each level"),
    "none": ({"features": []}, ValueError, "at least one level, not none"),
    "other channels": (
        {"features": [torch.rand(2, 3, 4, 4), torch.rand(2, 4, 2, 2)], "spatial_scales": [1, 0.5]}, ValueError,
        r"features\[1\] must have the N, C, dtype and device of features\[0\], \(2, 3\)"),
    "other dtypes": (
        {"features": [torch.rand(2, 3, 4, 4), torch.rand(2, 3, 2, 2).double()], "spatial_scales": [1, 0.5]},
        ValueError, "torch.float32 and cpu, not .* torch.float64"),
    "two scales": ({"spatial_scales": [0.25, 0.125]}, ValueError, "one scale for each of the 3 levels, not 2"),
    "scales that grow": ({"spatial_scales": [0.25, 0.5, 1]}, ValueError, "must halve from level to level"),
    "a scale of a third": ({"spatial_scales": [1 / 3, 1 / 6, 1 / 12]}, ValueError, "must be powers of two"),
    "a negative scale": ({"spatial_scales": [-1, -0.5, -0.25]}, ValueError, "must be powers of two"),
    "no canonical scale": ({"canonical_scale": 0}, ValueError, "canonical_scale must be positive, not 0"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "error", "words"), WRONG_LEVELS.values(), ids=WRONG_LEVELS)
def test_wrong_levels_are_refused_in_a_sentence(changes, error, words):
    with pytest.raises(error, match=words):
        pyramid(**changes)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize(
    ("shape", "rows"), [((2, 3, 5, 7), 0), ((0, 3, 5, 7), 0), ((2, 0, 5, 7), 2), ((0, 0, 5, 7), 0)]
)
def test_empty_inputs_give_empty_results_and_zero_gradients(shape, rows, mode):
    features = torch.rand(shape, requires_grad=True)
    boxes = torch.zeros(rows, 5, requires_grad=True)
    pooled = roi_align(features, boxes, (4, 3), mode=mode)
    assert pooled.shape == (rows, shape[1], 4, 3)
    for gradient, of in zip(torch.autograd.grad(pooled.sum(), (features, boxes)), (features, boxes), strict=True):
        assert torch.equal(gradient, torch.zeros_like(of))


def test_the_bare_operators_keep_memory_safe():
    """Called past the public functions, with what they would have refused."""
    ops, x, boxes = torch.ops.roi_align, torch.rand(2, 3, 5, 7), torch.tensor([GOOD, GOOD])
    grad, rule = torch.rand(2, 3, 4, 4), (2, True, 0, 0, 224.0, 4)
    largest = (2, True, 1, 0, 224.0, 4)
    bad_calls = [
        lambda: ops.roi_align([], boxes, [], 4, 4, *rule, False),
        lambda: ops.roi_align([x], boxes, [1.0, 0.5], 4, 4, *rule, False),
        lambda: ops.roi_align([x[0]], boxes, [1.0], 4, 4, *rule, False),
        lambda: ops.roi_align([x, x.double()], boxes, [1.0, 0.5], 4, 4, *rule, False),
        lambda: ops.roi_align([x, x[:1]], boxes, [1.0, 0.5], 4, 4, *rule, False),
        lambda: ops.roi_align([x], boxes[:, :4], [1.0], 4, 4, *rule, False),
        lambda: ops.roi_align([x], boxes.half(), [1.0], 4, 4, *rule, False),
        lambda: ops.roi_align([x], boxes, [1.0], 0, 4, *rule, False),
        lambda: ops.roi_align([x], boxes, [1.0], 4, 4, 2, True, 7, 0, 224.0, 4, False),
        lambda: ops.roi_align_grad_features(grad[:1], [], boxes, [2, 5, 7], False, [1.0], *rule),
        lambda: ops.roi_align_grad_features(grad, [], boxes, [2, 0, 7], False, [1.0], *rule),
        lambda: ops.roi_align_grad_features(grad, [], boxes, [2, 5], False, [1.0], *rule),
        lambda: ops.roi_align_grad_features(grad, [x], boxes, [2, 4, 7], False, [1.0], *largest),
        lambda: ops.roi_align_grad_features(grad, [], boxes, [2, 5, 7], False, [1.0], *largest),
        lambda: ops.roi_align_grad_boxes(grad[:, :2], [x], boxes, [1.0], *rule),
        lambda: ops.roi_align_grad_boxes(grad.double(), [x], boxes, [1.0], *rule),
        lambda: ops.roi_align_at_largest([x[:, :, 1:]], [x], boxes, [1.0], 4, 4, 2, True, 0, 224.0, 4),
        lambda: ops.roi_align_at_largest([x.double()], [x], boxes, [1.0], 4, 4, 2, True, 0, 224.0, 4),
    ]
    for bad_call in bad_calls:
        with pytest.raises(ValueError, match=r"^roi_align: "):
            bad_call()
    boxes = torch.tensor([[2.0, 0, 0, 1, 1]] * 2)
    for bad_call in (
        lambda: ops.roi_align_grad_features(grad, [], boxes, [2, 5, 7], False, [1.0], *rule),
        lambda: ops.roi_align_grad_boxes(grad, [x], boxes, [1.0], *rule),
    ):
        with pytest.raises(IndexError, match="N = 2"):
            bad_call()
