"""torch's features beyond a plain call: torch.func's transforms, export, autocast, pickles.

Each either has the bits of plain calls or refuses with a clear message; a silent zero is an error.
"""

import itertools
import pickle

import pytest
import torch

from roi_align import CropAndResize, RoIAlign, TorchvisionRoIAlign
from suites.correctness import calls

pytestmark = pytest.mark.package

BATCH = 3


@pytest.fixture
def inputs(device, call):
    """(image, *boxes) of a batch of calls without rounding (Call.exact)."""
    images = calls.eighths(BATCH, 2, 4, 9, 5).to(device)
    boxes = zip(*(call.exact(image, 5, seed) for seed, image in enumerate(images)), strict=True)
    return [images, *(torch.stack(each) for each in boxes)]


def single(inputs, in_dims, b):
    return [each[b] if dim == 0 else each for each, dim in zip(inputs, in_dims, strict=True)]


# The tensors that vmap maps a call over: any of the image and the operator's tensors of boxes.
MAPPED = {
    f"{call}-{'-'.join(map(str, in_dims))}": (call, in_dims)
    for call, tensors in ((calls.BILINEAR, 3), (calls.AVG, 2), (calls.MAX, 2))
    for in_dims in itertools.product((0, None), repeat=tensors)
    if any(dim is not None for dim in in_dims)
}
each_mapped = pytest.mark.parametrize(("call", "in_dims"), MAPPED.values(), ids=MAPPED)


@each_mapped
@calls.each_layout
def test_vmap_gives_the_bits_of_single_calls(inputs, call, in_dims, layout):
    inputs[0] = inputs[0].flatten(0, 1).to(memory_format=layout).unflatten(0, (BATCH, 2))
    arguments = [each if dim == 0 else each[0] for each, dim in zip(inputs, in_dims, strict=True)]
    results = torch.func.vmap(call, in_dims)(*arguments)
    assert calls.equal(results, [call(*single(arguments, in_dims, b)) for b in range(BATCH)])


@each_mapped
def test_gradients_in_vmap_equal_those_of_single_calls(inputs, call, in_dims):
    """Per-sample gradients, the usual purpose of vmap over grad."""
    arguments = [each if dim == 0 else each[0] for each, dim in zip(inputs, in_dims, strict=True)]

    def loss(image, *boxes):
        return call(image, *boxes, size=(3, 5)).square().sum()

    gradients = torch.func.grad(loss, argnums=(0, 1))
    results = torch.func.vmap(gradients, in_dims)(*arguments)
    for b in range(BATCH):
        assert calls.equal([each[b] for each in results], gradients(*single(arguments, in_dims, b)))


@each_mapped
def test_gradients_of_vmap_equal_those_of_single_calls(inputs, call, in_dims):
    """The other order: vmap hides the tensor that is differentiated."""
    arguments = [each if dim == 0 else each[0] for each, dim in zip(inputs, in_dims, strict=True)]

    def loss(run):
        return lambda image, *boxes: run(image, *boxes).square().sum()

    def one_by_one(*tensors):
        return torch.stack([call(*single(tensors, in_dims, b), size=(3, 5)) for b in range(BATCH)])

    mapped = torch.func.vmap(lambda *tensors: call(*tensors, size=(3, 5)), in_dims)
    for argnums in (0, (0, 1)):
        results, expected = (torch.func.grad(loss(run), argnums)(*arguments) for run in (mapped, one_by_one))
        if argnums == 0:
            results, expected = [results], [expected]
        assert all(torch.allclose(one, other) for one, other in zip(results, expected, strict=True))


@calls.each_operator
def test_functionalize_gives_the_plain_result(inputs, call):
    arguments = [each[0] for each in inputs]
    assert torch.equal(torch.func.functionalize(call)(*arguments), call(*arguments))


@calls.each_operator
def test_autocast_changes_no_derivative_of_boxes(inputs, device, call):
    """Forward mode and the second derivatives are compositions of torch's operators, which autocast would round."""
    image, boxes, *indices = (each[0] for each in inputs)
    image = image + 1 / 3

    def second(boxes):
        return torch.func.grad(lambda boxes: call(image, boxes, *indices).square().sum())(boxes).square().sum()

    def derivatives():
        tangent = torch.func.jvp(lambda boxes: call(image, boxes, *indices), (boxes,), (torch.ones_like(boxes),))[1]
        return [tangent, torch.func.grad(second)(boxes)]

    expected = derivatives()
    with torch.autocast(device, torch.bfloat16):
        assert calls.equal(derivatives(), expected)


@calls.each_operator
def test_functional_gradient_of_a_compiled_function(inputs, call):
    image, *boxes = (each[0] for each in inputs)

    def loss(image):
        return call(image, *boxes).square().sum()

    gradient = torch.func.grad(torch.compile(loss, backend="aot_eager"))(image)
    assert torch.equal(gradient, torch.func.grad(loss)(image))


@calls.each_operator
def test_a_jacobian_of_a_jacobian(inputs, call):
    image, *boxes = (each[0, ..., :3, :3].double() if each.dim() == 5 else each[0] for each in inputs)

    def loss(image):
        return call(image, *boxes, size=(2, 2)).square().sum()

    hessian = torch.func.jacrev(torch.func.jacrev(loss))(image)
    assert torch.allclose(hessian, torch.func.jacfwd(torch.func.grad(loss))(image))
    assert hessian.any()


@calls.each_operator
def test_vmap_over_another_dimension(inputs, call):
    image, *boxes = inputs
    mapped = torch.func.vmap(call, (3, *(1 for _ in boxes)), out_dims=2)
    results = mapped(image.movedim(0, 3), *(each.movedim(0, 1) for each in boxes))
    assert calls.equal(results.unbind(2), [call(*(each[b] for each in inputs)) for b in range(BATCH)])


@pytest.mark.parametrize("bad", [-1, 2])
@calls.each_operator
def test_a_bad_index_in_vmap_reads_no_neighbouring_sample(inputs, device, call, bad):
    image, *boxes = inputs
    call.indices(*boxes)[1, 3] = bad
    if device == "cpu":
        with pytest.raises(IndexError, match="an index must be a whole number, at least 0"):
            torch.func.vmap(call)(image, *boxes)
    else:
        results = torch.func.vmap(call)(image, *boxes)
        assert results[1, 3].isnan().all()
        assert not results[0].isnan().any()


@calls.each_operator
def test_functional_reverse_mode(inputs, call):
    image, *boxes = (each[0].double() if each.is_floating_point() else each[0] for each in inputs)
    jacobian = torch.func.jacrev(lambda image: call(image, *boxes))(image)
    # The forward is linear in the image, except for extrapolated values.
    zero = call(torch.zeros_like(image), *boxes)
    product = torch.einsum("mchwnxyz,nxyz->mchw", jacobian, image)
    assert torch.allclose(product + zero, call(image, *boxes))
    hessian = torch.func.jacrev(torch.func.grad(lambda image: call(image, *boxes).square().sum()))(image)
    again = torch.einsum("mchwnxyz,mchwabde->nxyzabde", jacobian, jacobian) * 2
    assert torch.allclose(hessian, again)


MODULES = [
    (calls.BILINEAR, CropAndResize(3, 4, 1.0)),
    (calls.BIN_CENTRES, RoIAlign(3, 4)),
    (calls.CORNERS, RoIAlign(2, 2, 0.5, False)),
    (calls.AVG, TorchvisionRoIAlign(3, 0.5, 2)),
    (calls.MAX, TorchvisionRoIAlign((2, 3), 1.0, -1, True, mode="max")),
]


@pytest.mark.parametrize(("call", "module"), MODULES, ids=str)
def test_modules_export_and_pickle(inputs, call, module):
    image, *boxes = (each[0] for each in inputs)
    count, height = torch.export.Dim("count", min=2), torch.export.Dim("height", min=2)
    shapes = ({2: height}, *({0: count} for _ in boxes))
    exported = torch.export.export(module, (image, *boxes), dynamic_shapes=shapes).module()
    copied = pickle.loads(pickle.dumps(module))
    assert repr(copied) == repr(module)
    for boxes_taken in (2, 5):
        arguments = (image[:, :, :6].contiguous(), *(each[:boxes_taken] for each in boxes))
        assert torch.equal(exported(*arguments), module(*arguments))
        assert torch.equal(copied(*arguments), module(*arguments))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@calls.each_call
def test_autocast_passes_half_images_unchanged(inputs, device, call, dtype):
    """Boxes keep their values; boxes in a half type are widened, never rounded further."""
    image, edges, *indices = (each[0] for each in inputs)
    image = image.to(dtype).requires_grad_()
    edges = edges.to(dtype).float()
    plain = call(image, edges, *indices)
    with torch.autocast(device, dtype=dtype):
        for of_dtype in (edges, edges.to(dtype)):
            result = call(image, of_dtype, *indices)
            assert result.dtype == dtype
            assert torch.equal(result, plain)
    (gradient,) = torch.autograd.grad(result.sum(), image)
    assert gradient.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@calls.for_calls(calls.BILINEAR)
def test_half_boxes_raise_outside_autocast(inputs, call, dtype):
    image, edges, *indices = (each[0] for each in inputs)
    with pytest.raises(TypeError, match=r"boxes must be torch\.float32 or"):
        call(image.to(dtype), edges.to(dtype), *indices)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@calls.for_calls(calls.AVG, calls.MAX)
def test_half_boxes_are_widened_outside_autocast(inputs, call, dtype):
    image, rows = (each[0].to(dtype) for each in inputs)
    assert torch.equal(call(image, rows), call(image, rows.float()))
