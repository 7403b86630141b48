"""The operators' schemas, fake kernels and derivatives are correct, and torch.compile supports the operators. Called
directly, without the public functions' checks, they are memory-safe.
"""

import shutil
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.library import opcheck
from torch.utils import _pytree as pytree

import roi_align
from roi_align import RoIAlign, TorchvisionRoIAlign, _library
from roi_align._checks import INTEGER_DTYPES
from suites.correctness.calls import (
    AVG,
    BILINEAR,
    MAX,
    each_call,
    each_layout,
    each_operator,
    eighths,
    equal,
    for_calls,
)
from suites.programs import python

pytestmark = [
    pytest.mark.package,
    # opcheck reads it of every tensor. It hides the warning, which torch 2.14 does by a filter after this suite's own.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor"),
]

OPS = torch.ops.roi_align
SCALES = (0.25, 0.125, 0.0625)


def registered_crops(image, boxes, indices, grad, method, box_rule):
    images, _, height, width = image.shape
    of_image = (grad.detach().requires_grad_(), boxes, indices, images, height, width, image.stride(1) == 1)
    return [
        (OPS.crop_and_resize.default, (image, boxes, indices, 4, 3, method, 0.5, box_rule, False)),
        (OPS.crop_and_resize_grad_image.default, (*of_image, method, box_rule, False)),
        (OPS.crop_and_resize_grad_image.default, (*of_image, method, box_rule, True)),
        (OPS.crop_and_resize_grad_boxes.default, (grad, image.detach(), boxes, indices, box_rule)),
    ]


def registered_pools(image, rows, grad, mode):
    """The pooling of a pyramid whose finest level is the image, with boxes on all three levels."""
    coarser = [image.detach()[:, :, :: 2**k, :: 2**k].clone().requires_grad_(image.requires_grad) for k in (1, 2)]
    levels = [image, *coarser]
    maps = [level.detach() for level in levels]
    sizes = [len(image), *(side for level in levels for side in level.shape[2:])]
    level_rule = (2, 20.0, 4)
    rows, rule = rows * rows.new_tensor([1.0, 4, 4, 4, 4]), (2, True, mode, *level_rule)
    of_maps = (maps if mode else [], rows, sizes, image.stride(1) == 1, SCALES)
    calls = [
        (OPS.roi_align.default, (levels, rows, SCALES, 4, 3, *rule, False)),
        (OPS.roi_align_grad_features.default, (grad.detach().requires_grad_(), *of_maps, *rule)),
        (OPS.roi_align_grad_boxes.default, (grad, maps, rows, SCALES, *rule)),
    ]
    if mode:
        calls.append((OPS.roi_align_at_largest.default, (levels, maps, rows, SCALES, 4, 3, 2, True, *level_rule)))
    return calls


REGISTERED = {"crop_and_resize": registered_crops, "roi_align": registered_pools}
# The integer codes of a setting: method and box rule, or mode.
CODES = [(BILINEAR, (method, box_rule)) for method in (0, 1) for box_rule in (0, 1, 2)] + [(AVG, (0,)), (AVG, (1,))]
each_code = pytest.mark.parametrize(
    ("call", "codes"), CODES, ids=[f"{call.operator}-{'-'.join(map(str, codes))}" for call, codes in CODES]
)


def registered(call, codes, image):
    """Each registered operator behind a call on this image, with its arguments."""
    boxes = call.random_boxes(image, 6 if len(image) else 0)
    dtype = image.dtype if image.is_floating_point() else torch.float32
    grad = torch.rand(len(boxes[0]), image.shape[1], 4, 3, device=image.device).to(dtype)
    return REGISTERED[call.operator](image, *boxes, grad, *codes)


IMAGES = {
    "contiguous": lambda: torch.rand(2, 3, 5, 9),
    "float64": lambda: torch.rand(2, 3, 5, 9, dtype=torch.float64),
    "bfloat16": lambda: torch.rand(2, 3, 5, 9).bfloat16(),
    "channels_last": lambda: torch.rand(2, 3, 5, 9).to(memory_format=torch.channels_last),
    "many channels, last": lambda: torch.rand(1, 18, 5, 9).to(memory_format=torch.channels_last),
    "one pixel": lambda: torch.rand(2, 3, 1, 1),
    "expanded": lambda: torch.rand(1, 3, 5, 9).expand(2, 3, 5, 9),
    "C=0": lambda: torch.rand(2, 0, 5, 9),
    "N=0": lambda: torch.rand(0, 3, 5, 9),
}


@each_code
@pytest.mark.parametrize("make", IMAGES.values(), ids=IMAGES)
def test_opcheck(device, call, codes, make):
    image = make().to(device).detach().requires_grad_()
    for operator, arguments in registered(call, codes, image):
        opcheck(operator, arguments)


@pytest.mark.parametrize("dtype", INTEGER_DTYPES)
@each_operator
def test_integer_images_are_converted_to_float32(device, call, dtype):
    image = (torch.rand(2, 3, 5, 9, device=device) * 100).to(dtype).to(memory_format=torch.channels_last)
    edges, *indices = call.random_boxes(image, 4)
    edges.requires_grad_()
    result, expected = (call(each, edges, *indices) for each in (image, image.float()))
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(result, expected)
    assert torch.equal(*(torch.autograd.grad(each.sum(), edges)[0] for each in (result, expected)))
    for operator, arguments in registered(call, (0, 0)[: len(indices) + 1], image):
        opcheck(operator, arguments)


@each_code
@each_layout
def test_meta_tensors_have_the_shape_and_strides_of_the_result(device, call, codes, layout):
    """Gradients included: opcheck does not compare the strides of a list of results."""
    image = torch.rand(2, 3, 5, 9, device=device).to(memory_format=layout)
    for operator, arguments in registered(call, codes, image):
        meta = pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to("meta"), arguments)
        results = (pytree.tree_leaves(operator(*each)) for each in (meta, arguments))
        for fake, real in zip(*results, strict=True):
            assert (fake.shape, fake.stride(), fake.dtype) == (real.shape, real.stride(), real.dtype)


@each_code
@each_layout
def test_fake_cuda_results_have_shapes_and_layouts(monkeypatch, call, codes, layout):
    """torch.compile and torch.export need only the fake kernels of a device; needs no GPU."""
    monkeypatch.setattr(_library, "HAS_CUDA", True)
    image = torch.rand(2, 3, 5, 9).to(memory_format=layout)
    for operator, arguments in registered(call, codes, image):
        real = pytree.tree_leaves(operator(*arguments))
        with FakeTensorMode(allow_non_fake_inputs=True):
            on_cuda = pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to("cuda"), arguments)
            results = pytree.tree_leaves(operator(*on_cuda))
        for fake, like in zip(results, real, strict=True):
            assert (fake.device.type, fake.shape, fake.stride()) == ("cuda", like.shape, like.stride())


@each_call
def test_calls_with_meta_tensors_have_the_shape_and_strides_of_the_result(device, call):
    image = torch.rand(2, 3, 5, 7, device=device).to(memory_format=torch.channels_last)
    boxes = call.random_boxes(image, 6)
    real, meta = call(image, *boxes), call(image.to("meta"), *(each.to("meta") for each in boxes))
    assert (meta.shape, meta.stride(), meta.dtype) == (real.shape, real.stride(), real.dtype)


@for_calls(BILINEAR, AVG, MAX)
def test_calls_compile_without_graph_breaks_for_dynamic_shapes(device, call):
    torch._dynamo.reset()

    def run(image, *boxes):
        return call(image * 2, *boxes, size=((image.shape[2] + 1) // 2, 3))

    compiled_run = torch.compile(run, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape, count in (((2, 3, 9, 17), 4), ((1, 5, 5, 9), 2), ((3, 2, 17, 5), 9)):
        image = eighths(*shape).to(device).requires_grad_()
        edges, *indices = call.exact(image, count)
        edges.requires_grad_()
        results = [function(image, edges, *indices) for function in (compiled_run, run)]
        assert torch.equal(*results)
        assert equal(*(torch.autograd.grad(each.square().sum(), (image, edges)) for each in results))


@pytest.mark.parametrize(
    ("call", "module"), [(BILINEAR, RoIAlign(3, 4)), (AVG, TorchvisionRoIAlign((3, 4), 1.0, 2, True))], ids=str
)
def test_inductor_compiles_the_module_without_graph_breaks(device, call, module):
    torch._dynamo.reset()
    image = torch.rand(2, 3, 8, 9, device=device)
    boxes = call.random_boxes(image, 2)
    assert torch.equal(torch.compile(module, fullgraph=True, dynamic=True)(image, *boxes), module(image, *boxes))


@pytest.mark.parametrize("validate", [pytest.param(False, marks=pytest.mark.cpu), True])
@each_operator
def test_bad_input_raises_in_compiled_graphs(device, call, validate):
    torch._dynamo.reset()

    def run(image, *boxes):
        return call(image, *boxes, validate=validate)

    image = torch.rand(2, 3, 8, 9, device=device)
    boxes = call.random_boxes(image, 1)
    call.indices(*boxes)[0] = 2
    with pytest.raises(IndexError, match="has N = 2"):
        torch.compile(run, fullgraph=True, backend="aot_eager")(image, *boxes)


def test_an_unbuilt_package_raises_build_advice(tmp_path):
    """An unbuilt checkout."""
    unbuilt = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(Path(roi_align.__file__).parent, tmp_path / "roi_align", ignore=unbuilt)
    process = python("-c", "import roi_align", cwd=tmp_path)
    assert process.returncode != 0
    assert "no compiled library" in process.stderr
    assert "make build" in process.stderr


def bad_crops(image, boxes, indices, grad):
    return [
        lambda: OPS.crop_and_resize(image[0], boxes, indices, 4, 4, 0, 0.0, 0, False),
        lambda: OPS.crop_and_resize(image, boxes[:, :3], indices, 4, 4, 0, 0.0, 0, False),
        lambda: OPS.crop_and_resize(image, boxes, indices[:1], 4, 4, 0, 0.0, 0, False),
        lambda: OPS.crop_and_resize(image, boxes, indices, -1, 4, 0, 0.0, 0, False),
        lambda: OPS.crop_and_resize(image, boxes, indices, 4, 4, 7, 0.0, 0, False),
        lambda: OPS.crop_and_resize(image, boxes, indices, 4, 4, 0, 0.0, 7, False),
        lambda: OPS.crop_and_resize(image.bool(), boxes, indices, 4, 4, 0, 0.0, 0, False),
        lambda: OPS.crop_and_resize(image, boxes, indices.float(), 4, 4, 0, 0.0, 0, False),
        lambda: OPS.crop_and_resize_grad_image(grad[:1], boxes, indices, 2, 5, 7, False, 0, 0, False),
        lambda: OPS.crop_and_resize_grad_image(grad, boxes, indices, 2, 0, 7, False, 0, 0, True),
        lambda: OPS.crop_and_resize_grad_boxes(grad[:, :2], image, boxes, indices, 0),
        lambda: OPS.crop_and_resize_grad_boxes(grad.double(), image, boxes, indices, 0),
    ]


def bad_pools(x, boxes, grad):
    rule, largest = (2, True, 0, 0, 224.0, 4), (2, True, 1, 0, 224.0, 4)
    return [
        lambda: OPS.roi_align([], boxes, [], 4, 4, *rule, False),
        lambda: OPS.roi_align([x], boxes, [1.0, 0.5], 4, 4, *rule, False),
        lambda: OPS.roi_align([x[0]], boxes, [1.0], 4, 4, *rule, False),
        lambda: OPS.roi_align([x, x.double()], boxes, [1.0, 0.5], 4, 4, *rule, False),
        lambda: OPS.roi_align([x, x[:1]], boxes, [1.0, 0.5], 4, 4, *rule, False),
        lambda: OPS.roi_align([x], boxes[:, :4], [1.0], 4, 4, *rule, False),
        lambda: OPS.roi_align([x], boxes.half(), [1.0], 4, 4, *rule, False),
        lambda: OPS.roi_align([x], boxes, [1.0], 0, 4, *rule, False),
        lambda: OPS.roi_align([x], boxes, [1.0], 4, 4, 2, True, 7, 0, 224.0, 4, False),
        lambda: OPS.roi_align_grad_features(grad[:1], [], boxes, [2, 5, 7], False, [1.0], *rule),
        lambda: OPS.roi_align_grad_features(grad, [], boxes, [2, 0, 7], False, [1.0], *rule),
        lambda: OPS.roi_align_grad_features(grad, [], boxes, [2, 5], False, [1.0], *rule),
        lambda: OPS.roi_align_grad_features(grad, [x], boxes, [2, 4, 7], False, [1.0], *largest),
        lambda: OPS.roi_align_grad_features(grad, [], boxes, [2, 5, 7], False, [1.0], *largest),
        lambda: OPS.roi_align_grad_boxes(grad[:, :2], [x], boxes, [1.0], *rule),
        lambda: OPS.roi_align_grad_boxes(grad.double(), [x], boxes, [1.0], *rule),
        lambda: OPS.roi_align_at_largest([x[:, :, 1:]], [x], boxes, [1.0], 4, 4, 2, True, 0, 224.0, 4),
        lambda: OPS.roi_align_at_largest([x.double()], [x], boxes, [1.0], 4, 4, 2, True, 0, 224.0, 4),
    ]


@pytest.mark.parametrize(("call", "bad_calls"), [(BILINEAR, bad_crops), (AVG, bad_pools)], ids=["crops", "pools"])
def test_the_bare_operators_check_their_arguments(device, call, bad_calls):
    """Called directly, with arguments that the public function refuses."""
    image = torch.rand(2, 3, 5, 7, device=device)
    for bad_call in bad_calls(image, *call.random_boxes(image, 2), torch.rand(2, 3, 4, 4, device=device)):
        with pytest.raises(ValueError, match=r"^roi_align: "):
            bad_call()


@pytest.mark.cpu
@each_operator
def test_the_bare_gradients_check_indices(call):
    image, grad = torch.rand(1, 3, 5, 7), torch.rand(2, 3, 4, 4)
    boxes, rule = call.on(image.expand(2, 3, 5, 7), torch.rand(2, 4)), (2, True, 0, 0, 224.0, 4)
    bad_calls = {
        "crop_and_resize": (
            lambda: OPS.crop_and_resize_grad_image(grad, *boxes, 1, 5, 7, False, 0, 0, False),
            lambda: OPS.crop_and_resize_grad_boxes(grad, image, *boxes, 0),
        ),
        "roi_align": (
            lambda: OPS.roi_align_grad_features(grad, [], *boxes, [1, 5, 7], False, [1.0], *rule),
            lambda: OPS.roi_align_grad_boxes(grad, [image], *boxes, [1.0], *rule),
        ),
    }
    for bad_call in bad_calls[call.operator]:
        with pytest.raises(IndexError, match="N = 1"):
            bad_call()
