"""Bad input raises the documented exception with a clear message, or has a defined result: no crash, no silent
wrap-around.

The inputs named after an issue or a CVE have crashed other implementations of these operators. An index without an
image shows only in the data, and checking it on a GPU would need a synchronisation: without `validate=True` the crop is
NaN there, which test_cuda.py tests.
"""

import itertools
import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from roi_align import _library, roi_align
from suites.correctness.calls import AVG, BILINEAR, MAX, NEAREST, each_call, each_operator, for_calls

pytestmark = pytest.mark.package

NAN, INF, MOST = math.nan, math.inf, 3.4e38
NO_NUMBER = r"boxes\[1\] has an edge or leads to a sample position that is not finite"
# The CPU always checks for an index without an image, CUDA only with validate=True.
each_validation = pytest.mark.parametrize(
    "validate", [pytest.param(False, marks=pytest.mark.cpu), True], ids=["", "validate=True"]
)
# The operator's tensors for boxes in its own units, all of the first image.
OF_FIRST_IMAGE = {
    "crop_and_resize": lambda edges: (edges, torch.zeros(len(edges), dtype=torch.int64, device=edges.device)),
    "roi_align": lambda edges: (torch.nn.functional.pad(edges, (1, 0)),),
}
GOOD = {"crop_and_resize": [0.1, 0.2, 0.8, 0.7], "roi_align": [0.5, 1.0, 5.0, 4.0]}


def boxes_of(call, *rows, device="cpu"):
    return OF_FIRST_IMAGE[call.operator](torch.tensor(rows, device=device))


def call_with(call, device, boxes=(), /, **changes):
    """Calls the operator with these tensors of boxes, and with these arguments by name instead of the valid ones."""
    image, size = call.names
    boxes = boxes or call.on(torch.empty(2, 3, 5, 7), torch.tensor([GOOD["crop_and_resize"], [0.0, 0.0, 1.0, 1.0]]))
    tensors = dict(zip(("boxes", "box_indices"), boxes, strict=False))
    arguments = {image: torch.rand(2, 3, 5, 7), **tensors, size: (4, 3), **call.options, **changes}
    for name, value in arguments.items():
        if isinstance(value, torch.Tensor) and not value.is_meta:
            arguments[name] = value.to(device)
    return call.function(**arguments)


# The first sample may be inside, as 0 + 0 * huge is 0; no other sample is.
_OTHERS, _WHOLE = (slice(None), slice(1, None), slice(1, None)), (slice(None),)
# Extreme boxes, and the part of each result whose samples are certainly outside.
ANY_NUMBERS = {
    "crop_and_resize": {
        "NaN": ([NAN, 0.0, 1.0, 1.0], _OTHERS),
        "all NaN": ([NAN] * 4, _OTHERS),
        "infinite": ([0.0, -INF, 1.0, INF], _OTHERS),
        "1e40, infinite in float32 (CVE-2020-15266)": ([0.0, 0.0, 1e40, 1e40], _OTHERS),
        "finite, but the difference overflows": ([MOST, 0.0, -MOST, 1.0], _OTHERS),
        "finite, but the position overflows": ([0.0, 0.0, MOST, MOST], _OTHERS),
    },
    "roi_align": {
        "NaN (torchvision 9273)": ([NAN, 1.0, 5.0, 4.0], _WHOLE),
        "all NaN": ([NAN] * 4, _WHOLE),
        "infinite": ([-INF, 0.0, INF, 4.0], ()),
        "1e40, infinite in float32": ([0.0, 0.0, 1e40, 1e40], ()),
        "finite, but the size overflows": ([-MOST, 0.0, MOST, 4.0], ()),
        "a grid of 10^37 samples (torchvision 9629)": ([0.0, 0.0, MOST, 4.0], ()),
        "a grid of 10^9 samples": ([0.0, 0.0, 1e10, 4.0], ()),
        "inverted on one axis": ([5.0, 1.0, 1.0, 4.0], ()),
    },
}
NOT_FINITE = {"crop_and_resize": list(ANY_NUMBERS["crop_and_resize"]), "roi_align": list(ANY_NUMBERS["roi_align"])[:5]}
SETTINGS = {str(call): (call, {}) for call in (BILINEAR, NEAREST)} | {
    f"{call}-{ratio}-{'aligned' if aligned else 'legacy'}": (call, {"sampling_ratio": ratio, "aligned": aligned})
    for call, ratio, aligned in itertools.product((AVG, MAX), (-1, 2), (False, True))
}
IN_SETTINGS = {
    f"{setting}-{name}": (call, options, name)
    for setting, (call, options) in SETTINGS.items()
    for name in ANY_NUMBERS[call.operator]
}


@pytest.mark.parametrize(("call", "options", "name"), IN_SETTINGS.values(), ids=IN_SETTINGS)
def test_boxes_of_any_numbers_have_a_result_and_change_no_other(device, call, options, name):
    row, outside = ANY_NUMBERS[call.operator][name]
    image = torch.rand(1, 2, 5, 7, device=device, requires_grad=True)
    edges, *indices = boxes_of(call, row, GOOD[call.operator], device=device)
    result = call(image, edges.requires_grad_(), *indices, **options)
    assert torch.isfinite(result).all()
    if outside:
        assert (result[0][outside] == call.outside).all()
    alone = call(image, *boxes_of(call, GOOD[call.operator], device=device), **options)
    assert torch.equal(result[1:], alone)
    of_image, of_boxes = torch.autograd.grad(result.sum(), (image, edges))
    assert torch.isfinite(of_image).all()
    assert torch.isfinite(of_boxes).all()


FAR = [1e10, 1e10, 2e10, 2e10]


@pytest.mark.parametrize("row", [[NAN, 0.0, 1.0, 1.0], [NAN] * 4, [INF] * 4, FAR], ids=str)
@each_call
def test_boxes_outside_have_no_gradient(device, call, row):
    image = torch.rand(1, 2, 5, 7, device=device)
    upstream = torch.ones(1, 2, 4, 3, device=device)
    result, *gradients = call.results(image, *boxes_of(call, row, device=device), upstream=upstream)
    assert (result == call.outside).all()
    assert not any(gradient.any() for gradient in gradients)


BAD_ROWS = {f"{call}-{name}": (call, name) for call in (BILINEAR, AVG) for name in NOT_FINITE[call.operator]}


@pytest.mark.parametrize(("call", "name"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_validate_names_the_first_bad_row(device, call, name):
    boxes = boxes_of(call, GOOD[call.operator], ANY_NUMBERS[call.operator][name][0], [NAN] * 4)
    with pytest.raises(ValueError, match=NO_NUMBER):
        call_with(call, device, boxes, validate=True)


def test_validate_looks_at_positions_on_the_map(device):
    """Both edges are finite, and the second one times the scale is not."""
    rows = torch.tensor([[0.0, 0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, MOST, MOST]], device=device)
    image = torch.rand(1, 1, 8, 8, device=device)
    assert roi_align(image, rows, 2, 1.0, validate=True).shape == (2, 1, 2, 2)
    with pytest.raises(ValueError, match=NO_NUMBER):
        roi_align(image, rows, 2, 16.0, validate=True)


@each_operator
def test_validate_works_inside_vmap_and_compiled_graphs(device, call):
    def run(image, *boxes):
        return call(image, *boxes, validate=True)

    image = torch.rand(2, 1, 3, 8, 8, device=device)
    boxes = boxes_of(call, GOOD[call.operator], [NAN] * 4, device=device)
    with pytest.raises(ValueError, match=NO_NUMBER):
        torch.func.vmap(run)(image, *(torch.stack([each] * 2) for each in boxes))
    with pytest.raises(ValueError, match=NO_NUMBER):
        torch.compile(run, backend="eager")(image[0], *boxes)


@each_call
def test_validate_accepts_finite_boxes_far_outside(device, call):
    boxes = boxes_of(call, [1e10, -1e10, 2e10, 0.0], GOOD[call.operator], [*GOOD[call.operator][2:], 0.0, 0.0])
    ones = {call.names[0]: torch.ones(2, 3, 5, 7)}
    result = call_with(call, device, boxes, **ones, validate=True)
    assert torch.equal(result, call_with(call, device, boxes, **ones))
    assert {call.outside, 1.0} <= set(result.unique().tolist())


# For each operator the dtypes that hold its indices, and the indices that no image has.
INDICES = {
    "crop_and_resize": ((torch.int32, torch.int64), (-1, 2, 1000, -(2**31), 2**31 - 1)),
    "roi_align": ((torch.float32, torch.float64), (-1.0, 2.0, 0.5, 1e20, NAN, INF)),
}
BAD_INDICES = {
    f"{call}-{dtype}-{bad}": (call, dtype, bad)
    for call in (BILINEAR, AVG, MAX)
    for dtype, bad in itertools.product(*INDICES[call.operator])
}
BAD_INDICES["crop_and_resize-2^32 is not wrapped"] = (BILINEAR, torch.int64, 2**32)
# The message of the IndexError about a row, as a pattern.
NO_IMAGE = {
    "crop_and_resize": r"box_indices\[{row}\] is {index}, but the image has N = {images}: .* whole number",
    "roi_align": r"boxes\[{row}\] has the index .*, but the input has N = {images}: .* whole number",
}


@each_validation
@pytest.mark.parametrize(("call", "dtype", "bad"), BAD_INDICES.values(), ids=BAD_INDICES)
def test_an_index_without_an_image_raises_an_index_error(device, call, dtype, bad, validate):
    boxes = list(call.on(torch.empty(2, 3, 5, 7), torch.rand(2, 4)))
    boxes[-1] = boxes[-1].to(dtype)
    call.indices(*boxes)[1] = bad
    with pytest.raises(IndexError, match=NO_IMAGE[call.operator].format(row=1, index=bad, images=2)):
        call_with(call, device, boxes, validate=validate)


@each_validation
@each_operator
def test_boxes_of_an_empty_batch_raise_an_index_error(device, call, validate):
    with pytest.raises(IndexError, match=NO_IMAGE[call.operator].format(row=0, index=0, images=0)):
        call_with(call, device, validate=validate, **{call.names[0]: torch.rand(0, 3, 5, 7)})


def wrong_for_both(call):
    """Wrong values of arguments that both operators share: the changes, the error and its message."""
    image, size = call.names
    positive = rf"{size} must be positive .*"
    return {
        "image of rank 3": (
            {image: torch.rand(3, 5, 7)}, ValueError, rf"{image} must have shape \(N, C, H, W\), not \(3, 5, 7\)"),
        "no rows": ({image: torch.rand(2, 3, 0, 7)}, ValueError, "at least one row and one column"),
        "no columns": ({image: torch.rand(2, 3, 5, 0)}, ValueError, "at least one row and one column"),
        "image of bool": (
            {image: torch.ones(2, 3, 5, 7, dtype=torch.bool)}, TypeError, f"{image} must be torch.float32 or"),
        "complex image": ({image: torch.ones(2, 3, 5, 7, dtype=torch.complex64)}, TypeError, "not torch.complex64"),
        "no image": ({image: None}, TypeError, f"{image} must be a torch.Tensor, not NoneType"),
        "boxes of rank 1": ({"boxes": torch.rand(5)}, ValueError, r"boxes must have .*\(5,\)"),
        "boxes of integers": (
            {"boxes": torch.ones(2, 4, dtype=torch.int64)}, TypeError, "boxes must be torch.float32 or"),
        "size of 0": ({size: (0, 3)}, ValueError, positive + r"\(0, 3\)"),
        "negative size": ({size: (4, -3)}, ValueError, positive + r"\(4, -3\)"),
        "three numbers for a size": ({size: (1, 2, 3)}, ValueError, r"integer.*not \(1, 2, 3\)"),
        "a fraction for a size": ({size: (2.5, 3)}, TypeError, r"integer.*not \(2.5, 3\)"),
        "a result of 2^31-1 squared (CVE-2021-41197)": (
            {size: (2**31 - 1, 2**31 - 1)}, MemoryError, r"\(2, 3, 2147483647, 2147483647\) cannot be allocated"),
        "a result of 2^25 squared": ({size: (2**25, 2**25)}, MemoryError, "cannot be allocated; it needs"),
    }  # fmt: skip


WRONG = {
    BILINEAR: {
        "boxes of five columns": ({"boxes": torch.rand(2, 5)}, ValueError, r"boxes must have shape \(M, 4\).*\(2, 5\)"),
        "too few indices (an out-of-bounds read once)": (
            {"box_indices": torch.tensor([0])}, ValueError, r"box_indices must have shape \(2,\).*\(1,\)"),
        "indices of rank 2": ({"box_indices": torch.zeros(2, 1, dtype=torch.int64)}, ValueError, r"not \(2, 1\)"),
        "mixed devices": (
            {"boxes": torch.rand(2, 4, device="meta")}, ValueError,
            r"on one device, not on (cpu|cuda:0), meta and (cpu|cuda:0)"),
        "boxes of halves": (
            {"boxes": torch.ones(2, 4, dtype=torch.float16)}, TypeError, "boxes must be torch.float32 or"),
        "indices of floats (misread once)": (
            {"box_indices": torch.zeros(2)}, TypeError, "box_indices must be torch.int32 or"),
        "indices of int16": ({"box_indices": torch.zeros(2, dtype=torch.int16)}, TypeError, "not torch.int16"),
        "boxes as a list": ({"boxes": [[0, 0, 1, 1]]}, TypeError, "boxes must be a torch.Tensor, not list"),
        "one number for a crop size": ({"crop_size": 7}, TypeError, "two integers, .*not 7"),
        "unknown method": ({"method": "bicubic"}, ValueError, "must be 'bilinear' or 'nearest', not 'bicubic'"),
    },
    AVG: {
        "boxes of four columns": ({"boxes": torch.rand(2, 4)}, ValueError, r"five columns \(index.*\(2, 4\)"),
        "a list of five columns": (
            {"boxes": [torch.rand(2, 5)] * 2}, ValueError, r"boxes\[0\] must have .*four columns"),
        "an empty list": ({"boxes": []}, ValueError, "one tensor .* for each image, not none"),
        "a list of lists": ({"boxes": [[0, 0, 1, 1]]}, TypeError, r"boxes\[0\] must be a torch.Tensor, not list"),
        "boxes as a number": ({"boxes": 3}, TypeError, r"a tensor \(K, 5\) or a sequence .*not int"),
        "mixed devices": (
            {"boxes": torch.rand(2, 5, device="meta")}, ValueError, "on one device, not on (cpu|cuda:0) and meta"),
        "unknown mode": ({"mode": "mean"}, ValueError, "mode must be 'avg' or 'max', not 'mean'"),
        "negative number for an output size": ({"output_size": -3}, ValueError, "output_size must be positive"),
        "three numbers": ({"output_size": (1, 2, 3)}, ValueError, "an integer or two"),
        "a fraction": ({"output_size": 2.5}, TypeError, "an integer or two, .*not 2.5"),
        "a fraction for a ratio": ({"sampling_ratio": 1.5}, TypeError, "sampling_ratio must be an integer, not 1.5"),
        "mmcv's order of arguments, misread once": (
            {"aligned": "max"}, TypeError, "True or False, not 'max'; pass the mode by its name, mode='max'"),
        "a number for aligned": ({"aligned": 1}, TypeError, "aligned must be True or False, not 1"),
        "an output of 2^31-1 squared by one number": (
            {"output_size": 2**31 - 1}, MemoryError, "cannot be allocated"),
    },
}  # fmt: skip


ALL_WRONG = {
    f"{call.operator}-{name}": (call, *what)
    for call, own in WRONG.items()
    for name, what in {**wrong_for_both(call), **own}.items()
}


@pytest.mark.parametrize(("call", "changes", "error", "words"), ALL_WRONG.values(), ids=ALL_WRONG)
def test_wrong_arguments_raise_a_clear_error(device, call, changes, error, words):
    if device == "cuda" and "it needs" in words:
        error, words = torch.OutOfMemoryError, "out of memory"  # torch's own: test_allocation.py
    with pytest.raises(error, match=words):
        call_with(call, device, **changes)


# Tensors without strided storage or without values, and the advice in the error message.
NOT_DENSE = {
    "quantized": (lambda dense: torch.quantize_per_tensor(dense, 0.1, 0, torch.quint8), "pass {}.dequantize"),
    "sparse": (torch.Tensor.to_sparse, "not torch.sparse_coo; pass {}.to_dense"),
    "mkldnn": (torch.Tensor.to_mkldnn, "not torch._mkldnn; pass {}.to_dense"),
    "nested": (lambda dense: torch.nested.nested_tensor(list(dense)), "pass {}.to_padded_tensor"),
}


@pytest.mark.cpu
@pytest.mark.filterwarnings("ignore:.*nested tensors.*", "ignore:.*quantize.*")
@pytest.mark.parametrize("which", [0, 1], ids=["image", "boxes"])
@pytest.mark.parametrize(("make", "words"), NOT_DENSE.values(), ids=NOT_DENSE)
@each_operator
def test_tensors_that_are_not_dense_raise_a_clear_error(call, make, words, which):
    image = torch.rand(2, 3, 5, 7)
    tensors = [image, *call.random_boxes(image, 3)]
    tensors[which] = make(tensors[which])
    with pytest.raises(
        TypeError, match=f"{(call.names[0], 'boxes')[which]} must .*{words}".format("(input|image|boxes)")
    ):
        call(*tensors)


@each_operator
def test_cuda_tensors_without_cuda_kernels_raise_build_advice(monkeypatch, call):
    """Needs no GPU."""
    monkeypatch.setattr(_library, "HAS_CUDA", False)
    monkeypatch.setattr(_library, "CUDA_MISSING", "roi_align was built without its CUDA kernels")
    advice = ".* without its CUDA kernels.*ROI_ALIGN_CUDA=1 pip install"
    with FakeTensorMode():
        image = torch.rand(1, 1, 5, 5, device="cuda")
        with pytest.raises(RuntimeError, match=f"{call.names[0]} is on cuda:0, but{advice}"):
            call(image, *call.boxes(image, torch.rand(2, 4, device="cuda"), torch.ones(2, device="cuda").long()))


@pytest.mark.parametrize(
    ("shape", "count"), [((2, 3, 5, 7), 0), ((0, 3, 5, 7), 0), ((2, 0, 5, 7), 2), ((0, 0, 5, 7), 0)]
)
@for_calls(BILINEAR, AVG, MAX)
def test_empty_inputs_give_empty_results_and_zero_gradients(device, call, shape, count):
    image, upstream = torch.rand(shape, device=device), torch.ones(count, shape[1], 4, 3, device=device)
    boxes = call.random_boxes(image, count)
    result, *gradients = call.results(image, *boxes, upstream=upstream)
    assert result.shape == (count, shape[1], 4, 3)
    for gradient, of in zip(gradients, (image, boxes[0]), strict=True):
        assert torch.equal(gradient, torch.zeros_like(of))
