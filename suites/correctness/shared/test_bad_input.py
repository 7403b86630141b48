"""The contract for bad input: which exception, with which words, and never a crash, a wrap-around or a silent zero.

The inputs named after an issue or a CVE have crashed other implementations of this operator. Only the data can tell of
an index without an image, and a GPU that were asked would have to be waited for: there that crop is NaN, and only
`validate=True` asks. What CUDA does without it stands in test_cuda.py.
"""

from __future__ import annotations

import math

import pytest
import torch

from roi_align import RoIAlign, crop_and_resize

pytestmark = pytest.mark.package

NAN, INF, MAX = math.nan, math.inf, 3.4e38


@pytest.fixture
def call(device):
    """A good call, but for the changes."""

    def crop(**changes):
        arguments = {
            "image": torch.rand(2, 3, 5, 7),
            "boxes": torch.tensor([[0.1, 0.2, 0.8, 0.7], [0.0, 0.0, 1.0, 1.0]]),
            "box_indices": torch.tensor([0, 1]),
            "crop_size": (4, 3),
            **changes,
        }
        for name, value in arguments.items():
            if isinstance(value, torch.Tensor) and not value.is_meta:
                arguments[name] = value.to(device)
        return crop_and_resize(**arguments)

    return crop


# Who notices an index without an image: the CPU always, CUDA where it is told to look.
NOTICED = pytest.mark.parametrize(
    "validate", [pytest.param(False, marks=pytest.mark.cpu), True], ids=["", "validate=True"]
)


NOT_FINITE = {
    "NaN": [NAN, 0.0, 1.0, 1.0],
    "all NaN": [NAN] * 4,
    "infinite": [0.0, -INF, 1.0, INF],
    "1e40, infinite in float32 (CVE-2020-15266)": [0.0, 0.0, 1e40, 1e40],
    "finite, but the difference overflows": [MAX, 0.0, -MAX, 1.0],
    "finite, but the position overflows": [0.0, 0.0, MAX, MAX],
}


@pytest.mark.parametrize("row", NOT_FINITE.values(), ids=NOT_FINITE)
@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_a_box_that_is_not_finite_is_outside(device, row, method):
    image = torch.rand(1, 2, 5, 7, device=device, requires_grad=True)
    boxes = torch.tensor([row, [0.1, 0.2, 0.8, 0.7]], device=device, requires_grad=True)
    crops = crop_and_resize(image, boxes, torch.tensor([0, 0], device=device), (4, 3), method, -9.0)
    # A first sample may still be inside: 0 + 0 * huge is 0. Every other one is not.
    assert (crops[0, :, 1:, 1:] == -9).all()
    assert torch.isfinite(crops).all()
    alone = crop_and_resize(image, boxes[1:], torch.tensor([0], device=device), (4, 3), method, -9.0)
    assert torch.equal(crops[1:], alone)
    image_gradient, box_gradient = torch.autograd.grad(crops.sum(), (image, boxes))
    assert torch.isfinite(image_gradient).all()
    assert torch.isfinite(box_gradient[1]).all()


@pytest.mark.parametrize("row", [NOT_FINITE["NaN"], NOT_FINITE["all NaN"], [INF] * 4, [1e10, 1e10, 2e10, 2e10]])
def test_what_is_outside_gets_no_gradient(device, row):
    image = torch.rand(1, 2, 5, 7, device=device, requires_grad=True)
    boxes = torch.tensor([row], device=device, requires_grad=True)
    crops = crop_and_resize(image, boxes, torch.tensor([0], device=device), (4, 3), extrapolation_value=-9.0)
    assert (crops == -9).all()
    for gradient in torch.autograd.grad(crops.sum(), (image, boxes)):
        assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("row", NOT_FINITE.values(), ids=NOT_FINITE)
def test_validate_names_the_first_bad_row(call, row):
    boxes = torch.tensor([[0.1, 0.2, 0.8, 0.7], row, [NAN] * 4])
    with pytest.raises(ValueError, match=r"boxes\[1\] has an edge or leads to a sample position that is not finite"):
        call(boxes=boxes, box_indices=torch.tensor([0, 0, 0]), validate=True)


def test_validate_lets_good_boxes_pass_even_far_outside(call):
    boxes = torch.tensor([[1e10, -1e10, 2e10, 0.0], [0.8, 0.7, 0.1, 0.2]])
    assert call(boxes=boxes, validate=True, image=torch.ones(2, 3, 5, 7)).unique().tolist() == [0.0, 1.0]


@NOTICED
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("bad", [-1, 2, 1000, -(2**31), 2**31 - 1])
def test_an_index_without_an_image_is_an_index_error(call, bad, dtype, validate):
    with pytest.raises(IndexError, match=rf"box_indices\[1\] is {bad}, but the image has N = 2"):
        call(box_indices=torch.tensor([0, bad], dtype=dtype), validate=validate)


@NOTICED
def test_an_index_that_does_not_fit_int32_is_not_wrapped(call, validate):
    with pytest.raises(IndexError, match=r"box_indices\[0\] is 4294967296"):
        call(box_indices=torch.tensor([2**32, 0]), validate=validate)


@NOTICED
def test_boxes_without_any_image_are_an_index_error(call, validate):
    with pytest.raises(IndexError, match="the image has N = 0"):
        call(image=torch.rand(0, 3, 5, 7), validate=validate)


WRONG = {
    "image of rank 3": (
        {"image": torch.rand(3, 5, 7)}, ValueError, r"image must have shape \(N, C, H, W\), not \(3, 5, 7\)"),
    "boxes of five columns": ({"boxes": torch.rand(2, 5)}, ValueError, r"boxes must have shape \(M, 4\).*\(2, 5\)"),
    "boxes of rank 1": ({"boxes": torch.rand(4)}, ValueError, r"boxes must have shape \(M, 4\).*\(4,\)"),
    "too few indices (an out-of-bounds read once)": (
        {"box_indices": torch.tensor([0])}, ValueError, r"box_indices must have shape \(2,\).*\(1,\)"),
    "indices of rank 2": ({"box_indices": torch.zeros(2, 1, dtype=torch.int64)}, ValueError, r"not \(2, 1\)"),
    "no rows": ({"image": torch.rand(2, 3, 0, 7)}, ValueError, "at least one row and one column"),
    "no columns": ({"image": torch.rand(2, 3, 5, 0)}, ValueError, "at least one row and one column"),
    "mixed devices": (
        {"boxes": torch.rand(2, 4, device="meta")}, ValueError,
        r"on one device, not on (cpu|cuda:0), meta and (cpu|cuda:0)"),
    "image of bool": (
        {"image": torch.ones(2, 3, 5, 7, dtype=torch.bool)}, TypeError, "image must be torch.float32 or"),
    "complex image": ({"image": torch.ones(2, 3, 5, 7, dtype=torch.complex64)}, TypeError, "not torch.complex64"),
    "boxes of integers": ({"boxes": torch.ones(2, 4, dtype=torch.int64)}, TypeError, "boxes must be torch.float32 or"),
    "boxes of halves": ({"boxes": torch.ones(2, 4, dtype=torch.float16)}, TypeError, "boxes must be torch.float32 or"),
    "indices of floats (misread once)": (
        {"box_indices": torch.zeros(2)}, TypeError, "box_indices must be torch.int32 or"),
    "indices of int16": ({"box_indices": torch.zeros(2, dtype=torch.int16)}, TypeError, "not torch.int16"),
    "boxes as a list": ({"boxes": [[0, 0, 1, 1]]}, TypeError, "boxes must be a torch.Tensor, not list"),
    "no image": ({"image": None}, TypeError, "image must be a torch.Tensor, not NoneType"),
    "unknown method": ({"method": "bicubic"}, ValueError, "must be 'bilinear' or 'nearest', not 'bicubic'"),
    "crop size of 0": ({"crop_size": (0, 3)}, ValueError, r"crop_size must be positive .*\(0, 3\)"),
    "negative crop size": ({"crop_size": (4, -3)}, ValueError, r"crop_size must be positive .*\(4, -3\)"),
    "one number for a crop size": ({"crop_size": 7}, TypeError, "two integers, .*not 7"),
    "three numbers for a crop size": ({"crop_size": (1, 2, 3)}, ValueError, "two integers, .*not (1, 2, 3)"),
    "a fraction for a crop size": ({"crop_size": (2.5, 3)}, TypeError, "two integers"),
    "a crop of 2^31-1 squared (CVE-2021-41197)": (
        {"crop_size": (2**31 - 1, 2**31 - 1)}, MemoryError, r"\(2, 3, 2147483647, 2147483647\) cannot be allocated"),
    "a crop of 2^25 squared": ({"crop_size": (2**25, 2**25)}, MemoryError, "cannot be allocated; it needs"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "error", "words"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_refused_in_a_sentence(call, changes, error, words):
    with pytest.raises(error, match=words.replace("(1, 2, 3)", r"\(1, 2, 3\)")):
        call(**changes)


def test_the_modules_refuse_in_the_same_words(device):
    image, boxes, indices = torch.rand(1, 1, 5, 5), torch.rand(1, 4), torch.tensor([0])
    with pytest.raises(ValueError, match="crop_size must be positive"):
        RoIAlign(0, 3)(image.to(device), boxes.to(device), indices.to(device))
    with pytest.raises(IndexError, match="has N = 1"):
        RoIAlign(2, 3)(image, boxes, indices + 1)  # on the CPU, whatever the backend: see above


@pytest.mark.parametrize(
    ("shape", "rows"), [((2, 3, 5, 7), 0), ((0, 3, 5, 7), 0), ((2, 0, 5, 7), 2), ((0, 0, 5, 7), 0)]
)
def test_empty_inputs_give_empty_results_and_zero_gradients(device, shape, rows):
    image = torch.rand(shape, device=device, requires_grad=True)
    boxes = torch.rand(rows, 4, device=device, requires_grad=True)
    crops = crop_and_resize(image, boxes, torch.zeros(rows, dtype=torch.int64, device=device), (4, 3))
    assert crops.shape == (rows, shape[1], 4, 3)
    for gradient, of in zip(torch.autograd.grad(crops.sum(), (image, boxes)), (image, boxes), strict=True):
        assert torch.equal(gradient, torch.zeros_like(of))


def test_the_bare_operators_keep_memory_safe(device):
    """Called past the public function, with what it would have refused."""
    ops, image, boxes = torch.ops.roi_align, torch.rand(2, 3, 5, 7, device=device), torch.rand(2, 4, device=device)
    indices, grad = torch.tensor([0, 1], device=device), torch.rand(2, 3, 4, 4, device=device)
    bad_calls = [
        lambda: ops.crop_and_resize(image[0], boxes, indices, 4, 4, 0, 0.0, 0, False),
        lambda: ops.crop_and_resize(image, boxes[:, :3], indices, 4, 4, 0, 0.0, 0, False),
        lambda: ops.crop_and_resize(image, boxes, indices[:1], 4, 4, 0, 0.0, 0, False),
        lambda: ops.crop_and_resize(image, boxes, indices, -1, 4, 0, 0.0, 0, False),
        lambda: ops.crop_and_resize(image, boxes, indices, 4, 4, 7, 0.0, 0, False),
        lambda: ops.crop_and_resize(image, boxes, indices, 4, 4, 0, 0.0, 7, False),
        lambda: ops.crop_and_resize(image.bool(), boxes, indices, 4, 4, 0, 0.0, 0, False),
        lambda: ops.crop_and_resize(image, boxes, indices.float(), 4, 4, 0, 0.0, 0, False),
        lambda: ops.crop_and_resize_grad_image(grad[:1], boxes, indices, 2, 5, 7, False, 0, 0, False),
        lambda: ops.crop_and_resize_grad_image(grad, boxes, indices, 2, 0, 7, False, 0, 0, True),
        lambda: ops.crop_and_resize_grad_boxes(grad[:, :2], image, boxes, indices, 0),
        lambda: ops.crop_and_resize_grad_boxes(grad.double(), image, boxes, indices, 0),
    ]
    for bad_call in bad_calls:
        with pytest.raises(ValueError, match=r"^roi_align: "):
            bad_call()


@pytest.mark.cpu
def test_the_bare_gradients_notice_an_index_without_an_image():
    ops, image, boxes = torch.ops.roi_align, torch.rand(1, 3, 5, 7), torch.rand(2, 4)
    indices, grad = torch.tensor([0, 1]), torch.rand(2, 3, 4, 4)
    for bad_call in (
        lambda: ops.crop_and_resize_grad_image(grad, boxes, indices, 1, 5, 7, False, 0, 0, False),
        lambda: ops.crop_and_resize_grad_boxes(grad, image, boxes, indices, 0),
    ):
        with pytest.raises(IndexError, match="N = 1"):
            bad_call()
