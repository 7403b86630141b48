"""What torch makes of the operators beyond a plain call: torch.func's transforms, export, autocast, pickles.

Each either does what it says, to the bits of the plain calls, or refuses in a sentence; a silent zero is neither.
"""

from __future__ import annotations

import pickle

import pytest
import torch

from roi_align import CropAndResize, RoIAlign, crop_and_resize

pytestmark = pytest.mark.package

BATCH = 3


@pytest.fixture
def inputs(device):
    """(image, boxes, box_indices) of a batch of calls."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(BATCH, 2, 4, 9, 8, generator=generator)
    boxes = torch.rand(BATCH, 5, 4, generator=generator) * 1.2 - 0.1
    box_indices = torch.tensor([[0, 1, 1, 0, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]])
    return image.to(device), boxes.to(device), box_indices.to(device)


def crop(image, boxes, box_indices):
    return crop_and_resize(image, boxes, box_indices, (3, 4), extrapolation_value=2.0)


@pytest.mark.parametrize("in_dims", [(0, 0, 0), (0, None, None), (None, 0, None), (None, 0, 0), (0, 0, None)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_vmap_gives_the_bits_of_single_calls(inputs, in_dims, channels_last):
    if channels_last:
        inputs = (inputs[0].movedim(2, -1).contiguous().movedim(-1, 2), *inputs[1:])
    given = [each if dim == 0 else each[0] for each, dim in zip(inputs, in_dims, strict=True)]
    got = torch.func.vmap(crop, in_dims)(*given)
    for b in range(BATCH):
        single = [each[b] if dim == 0 else each for each, dim in zip(given, in_dims, strict=True)]
        assert torch.equal(got[b], crop(*single))


def test_vmap_over_another_dimension(inputs):
    image, boxes, box_indices = inputs
    got = torch.func.vmap(crop, (3, 1, 1), out_dims=2)(image.movedim(0, 3), boxes.movedim(0, 1), box_indices.T)
    for b in range(BATCH):
        assert torch.equal(got[:, :, b], crop(image[b], boxes[b], box_indices[b]))


def test_gradients_in_a_vmap_are_those_of_single_calls(inputs):
    """Per-sample gradients: what vmap over grad is for.

    Sides of 2^k + 1, sixteenths and eighths do not round: on CUDA gradients are added up in no fixed order.
    """
    inputs = (inputs[0][..., :5].mul(8).round() / 8, inputs[1].mul(16).round() / 16, inputs[2])

    def loss(image, boxes, box_indices):
        return crop_and_resize(image, boxes, box_indices, (3, 5)).square().sum()

    got = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)))(*inputs)
    for b in range(BATCH):
        image, boxes = inputs[0][b].clone().requires_grad_(), inputs[1][b].clone().requires_grad_()
        want = torch.autograd.grad(loss(image, boxes, inputs[2][b]), (image, boxes))
        assert all(torch.equal(each[b], single) for each, single in zip(got, want, strict=True))


@pytest.mark.parametrize("bad", [-1, 2])
def test_a_bad_index_in_a_vmap_names_no_image_of_its_neighbour(inputs, device, bad):
    image, boxes, box_indices = inputs
    box_indices = box_indices.clone()
    box_indices[1, 3] = bad
    if device == "cpu":
        with pytest.raises(IndexError, match="an index must be a whole number, at least 0"):
            torch.func.vmap(crop)(image, boxes, box_indices)
    else:
        crops = torch.func.vmap(crop)(image, boxes, box_indices)
        assert crops[1, 3].isnan().all()
        assert not crops[0].isnan().any()


def test_functional_reverse_mode(inputs):
    image, boxes, box_indices = (each[0] for each in inputs)
    image, boxes = image.double(), boxes.double()
    jacobian = torch.func.jacrev(lambda image: crop(image, boxes, box_indices))(image)
    # The forward is linear in the image, but for what is extrapolated.
    zero = crop(torch.zeros_like(image), boxes, box_indices)
    product = torch.einsum("mchwnxyz,nxyz->mchw", jacobian, image)
    assert torch.allclose(product + zero, crop(image, boxes, box_indices))
    hessian = torch.func.jacrev(torch.func.grad(lambda image: crop(image, boxes, box_indices).square().sum()))(image)
    again = torch.einsum("mchwnxyz,mchwabde->nxyzabde", jacobian, jacobian) * 2
    assert torch.allclose(hessian, again)


@pytest.mark.parametrize("of", ["image", "boxes"])
def test_forward_mode_is_refused_in_a_sentence(inputs, of):
    """A silent zero, once: an operator without a forward-mode derivative looks like a constant to torch."""
    image, boxes, box_indices = (each[0] for each in inputs)
    calls = {
        "image": (lambda x: crop(x, boxes, box_indices), image),
        "boxes": (lambda x: crop(image, x, box_indices), boxes),
    }
    function, primal = calls[of]
    with pytest.raises(NotImplementedError, match=r"no forward-mode derivative .* reverse mode"):
        torch.func.jvp(function, (primal,), (torch.ones_like(primal),))
    with torch.autograd.forward_ad.dual_level(), pytest.raises(NotImplementedError, match="no forward-mode"):
        function(torch.autograd.forward_ad.make_dual(primal, torch.ones_like(primal)))
    with pytest.raises(NotImplementedError, match="no forward-mode"):
        torch.func.jacfwd(function)(primal)


def test_double_backward_of_the_upstream_gradient(inputs, repeats):
    """The image's gradient is linear in the upstream one: gradgradcheck goes through both."""
    image, boxes, box_indices = (each[0] for each in inputs)
    image, boxes = image.double().requires_grad_(), boxes.double()

    def squared(image):
        return crop(image, boxes, box_indices).square()

    assert torch.autograd.gradgradcheck(squared, (image,), nondet_tol=repeats)


@pytest.mark.parametrize("module", [CropAndResize(3, 4, 1.0), RoIAlign(3, 4), RoIAlign(2, 2, 0.5, False)])
def test_modules_export_and_pickle(inputs, module):
    image, boxes, box_indices = (each[0] for each in inputs)
    boxes = boxes * 6 if isinstance(module, RoIAlign) else boxes
    rows, height = torch.export.Dim("rows", min=2), torch.export.Dim("height", min=2)
    exported = torch.export.export(
        module, (image, boxes, box_indices), dynamic_shapes=({2: height}, {0: rows}, {0: rows})
    ).module()
    copied = pickle.loads(pickle.dumps(module))
    for count in (2, 5):
        arguments = (image[:, :, :6].contiguous(), boxes[:count], box_indices[:count])
        assert torch.equal(exported(*arguments), module(*arguments))
        assert torch.equal(copied(*arguments), module(*arguments))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_half_images_go_straight_in(inputs, device, dtype):
    """And boxes stay what they are; boxes that a head computed in a half type are widened, never rounded further."""
    image, boxes, box_indices = (each[0] for each in inputs)
    image = image.to(dtype).requires_grad_()
    boxes = boxes.to(dtype).float()
    plain = crop(image, boxes, box_indices)
    with torch.autocast(device, dtype=dtype):
        for given in (boxes, boxes.to(dtype)):
            crops = crop(image, given, box_indices)
            assert crops.dtype == dtype
            assert torch.equal(crops, plain)
    (gradient,) = torch.autograd.grad(crops.sum(), image)
    assert gradient.dtype == dtype
    with pytest.raises(TypeError, match=r"boxes must be torch\.float32 or"):
        crop(image, boxes.to(dtype), box_indices)
