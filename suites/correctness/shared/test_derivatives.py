"""Derivatives beyond the first gradient: forward mode (boxes included), second derivatives, and batched gradients.

The reference is finite differences in float64, away from pixel centres and the border; for second derivatives also the
oracle's gradients, whose differences are exact.
"""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.autograd import forward_ad

from harness.operators import OPERATORS
from harness.operators.crop_and_resize.case import BOX_RULES
from roi_align import _slopes, multiscale_roi_align
from suites.correctness import calls

pytestmark = pytest.mark.package

INDICES, SIZE = torch.tensor([1, 0]), (1, 2)
each_smooth_call = calls.for_calls(
    calls.BILINEAR, calls.BIN_CENTRES, calls.CORNERS, calls.AVG, calls.LEGACY, calls.ADAPTIVE, calls.MAX
)


def inputs(device, channels=1):
    """Images and two boxes in fractions of them; the second extends beyond the image."""
    random = torch.Generator().manual_seed(0)
    image = torch.randn(2, channels, 4, 5, dtype=torch.float64, generator=random)
    corners = torch.tensor([[0.13, 0.21, 0.77, 0.84], [0.36, 0.17, 1.2, 0.93]], dtype=torch.float64)
    return image.to(device).requires_grad_(), corners.to(device).requires_grad_()


def function(call, device):
    return lambda image, corners: call(image, *call.boxes(image, corners, INDICES.to(device)), size=SIZE)


@each_smooth_call
def test_forward_mode_and_batches_of_gradients(device, repeats, call):
    assert torch.autograd.gradcheck(
        function(call, device),
        inputs(device),
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
        nondet_tol=repeats(call.operator),
    )


@each_smooth_call
def test_second_derivatives(device, repeats, call):
    """In image, boxes and upstream gradient, in reverse mode and in forward mode over it."""
    assert torch.autograd.gradgradcheck(
        function(call, device),
        inputs(device),
        check_fwd_over_rev=True,
        check_batched_grad=True,
        nondet_tol=repeats(call.operator),
    )


STEP = 2.0**-10
# In parts of an image of 5 x 9: the samples of all calls lie between pixel centres, STEP and more from them, and the
# second box leaves the image. An adaptive grid has 1 or 2 samples an axis, so that no mean is rounded.
EXACT_CORNERS = [[0.140625, 0.203125, 0.671875, 0.734375], [0.359375, 0.171875, 0.859375, 1.203125]]


def oracles_slopes(call, image, boxes, indices, upstream):
    """How the oracle's gradients of image and boxes change along each edge of each box: (M, 4, how many they are).

    Between pixel centres they are affine in an edge, so the quotient is the derivative: equal on both sides.
    """
    operator = OPERATORS[call.operator]
    rule = {"box_rule": call.setting} if call.setting in BOX_RULES else {}

    def gradients(boxes):
        arrays = dict(zip(operator.arrays, [image, boxes, *indices, upstream], strict=True))
        inputs = operator.inputs(**arrays, **{operator.size: SIZE}, **call.options, **rule)
        both = [operator.expected(inputs, direction) for direction in ("grad_image", "grad_boxes")]
        return [Fraction(each.value) for _, each in itertools.chain(*both)]

    def moved(box, edge, by):
        copy = boxes.copy()
        copy[box, edge] += by
        return gradients(copy)

    here = gradients(boxes)
    rows = []
    for box, edge in itertools.product(range(len(boxes)), range(-4, 0)):
        rises = [after - before for before, after in zip(here, moved(box, edge, STEP), strict=True)]
        assert rises == [after - before for before, after in zip(moved(box, edge, -STEP), here, strict=True)]
        rows.append([float(rise / Fraction(STEP)) for rise in rises])
    return np.array(rows).reshape(len(boxes), 4, -1)


def compare_with_the_oracle(device, call):
    """Values have few bits, and images 2^k + 1 pixels: nothing is rounded."""
    image = calls.eighths(2, 2, 5, 9, dtype=torch.float64)
    upstream = calls.eighths(2, 2, *SIZE, seed=1, dtype=torch.float64)
    boxes, *indices = call.boxes(image, torch.tensor(EXACT_CORNERS, dtype=torch.float64), INDICES)
    expected = oracles_slopes(call, *(each.numpy() for each in (image, boxes)), [each.numpy() for each in indices],
                              upstream.numpy())  # fmt: skip
    assert np.count_nonzero(expected[:, :, : image.numel()]) > 50
    assert np.count_nonzero(expected[:, :, image.numel() :]) > 8
    image, boxes, upstream, *indices = (each.to(device) for each in (image, boxes, upstream, *indices))

    def loss(image, boxes):
        return (call(image, boxes, *indices, size=SIZE) * upstream).sum()

    twice_back = torch.func.jacrev(torch.func.jacrev(loss, argnums=(0, 1)), argnums=(0, 1))
    for second in (torch.func.hessian(loss, argnums=(0, 1)), twice_back):
        (_, across), (back, within) = second(image, boxes)
        assert torch.equal(across, back.permute(2, 3, 4, 5, 0, 1))
        blocks = [each.flatten(2)[:, -4:] for each in (back, within)]
        assert np.array_equal(torch.cat(blocks, dim=2).cpu().numpy(), expected)


@each_smooth_call
def test_second_derivatives_equal_the_oracles(device, call):
    """By bits."""
    compare_with_the_oracle(device, call)


@calls.each_operator
def test_a_wrong_second_derivative_fails(device, call, monkeypatch):
    """Across the axes twice as large, in every mode: the modes agree with each other."""
    right = _slopes.gradient_of_boxes
    monkeypatch.setattr(_slopes, "gradient_of_boxes", lambda *arguments: 2 * right(*arguments))
    with pytest.raises(AssertionError, match="array_equal"):
        compare_with_the_oracle(device, call)


@calls.each_linear_call
def test_an_image_tangent_gives_the_forward_of_the_tangent(device, call):
    """Bit by bit; extrapolated values do not depend on the image."""
    image = torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0)).to(device)
    boxes, tangent = call.random_boxes(image, 3), image.flip(0)
    fixed = call(torch.zeros_like(image), *boxes) != 0
    expected = torch.where(fixed, 0.0, call(tangent, *boxes))
    result, tangent_of_result = torch.func.jvp(lambda image: call(image, *boxes), (image,), (tangent,))
    assert torch.equal(result, call(image, *boxes))
    assert torch.equal(tangent_of_result, expected)
    with forward_ad.dual_level():
        assert torch.equal(forward_ad.unpack_dual(call(forward_ad.make_dual(image, tangent), *boxes)).tangent, expected)


@calls.for_calls(calls.BILINEAR, calls.NEAREST, calls.BIN_CENTRES, calls.AVG, calls.ADAPTIVE, calls.MAX)
def test_forward_mode_agrees_with_reverse_mode(device, call):
    """At kinks and outside of the image too: both take the same side of a kink, and unread pixels contribute
    nothing."""
    image, _ = inputs(device, 3)
    edges = torch.tensor(
        [[0.25, 0.5, 0.75, 1], [-0.4, 0.1, 0.6, 1.3], [0.8, 0.9, 0.1, 0.2], [float("nan"), 0, 1, 1], [0, 0, 1e308, 1]],
        dtype=torch.float64,
        device=device,
    )
    with torch.no_grad():
        image[1] = torch.inf
        edges, *indices = call.boxes(image, edges, torch.zeros(5, dtype=torch.int64, device=device))
    upstream = torch.randn(5, 3, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(device)
    direction = torch.rand(edges.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).to(device)

    def run(edges):
        return call(image, edges, *indices, size=(2, 3))

    (gradient,) = torch.func.vjp(run, edges)[1](upstream)
    _, tangent_of_result = torch.func.jvp(run, (edges,), (direction,))
    expected = (gradient * direction).flatten(1).sum(1)
    assert torch.allclose((tangent_of_result * upstream).flatten(1).sum(1), expected, rtol=1e-12, atol=1e-12)


@calls.for_calls(calls.BILINEAR, calls.NEAREST, calls.AVG, calls.MAX)
def test_hessians_are_the_same_in_every_mode(device, call):
    tensors = tuple(each.detach() for each in inputs(device))

    def loss(*tensors):
        return function(call, device)(*tensors).square().sum()

    results = [
        torch.func.hessian(loss, argnums=(0, 1))(*tensors),
        torch.func.jacrev(torch.func.jacrev(loss, argnums=(0, 1)), argnums=(0, 1))(*tensors),
        torch.autograd.functional.hessian(loss, tensors, vectorize=True),
        torch.autograd.functional.hessian(loss, tensors),
    ]
    for result in results:
        for row, expected in zip(result, results[-1], strict=True):
            assert all(torch.allclose(*each) for each in zip(row, expected, strict=True))
    across, back = results[0][0][1], results[0][1][0]
    assert torch.allclose(across, back.permute(2, 3, 4, 5, 0, 1))
    assert across.abs().max() > 0


@calls.each_call
def test_batches_of_upstream_gradients_equal_single_ones(device, call):
    image, corners = inputs(device, 2)
    result = function(call, device)(image, corners)
    upstream = torch.randn(3, *result.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(device)
    batches = torch.autograd.grad(result, (image, corners), upstream, is_grads_batched=True, retain_graph=True)
    for each, *batch in zip(upstream, *batches, strict=True):
        single = torch.autograd.grad(result, (image, corners), each, retain_graph=True)
        assert all(torch.allclose(*pair, rtol=1e-12) for pair in zip(batch, single, strict=True))


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("scales", [(1.0, 0.5), (0.5, 0.5), (1.0, 0.25)], ids=["halved", "repeated", "skipped"])
def test_derivatives_of_a_pyramid(device, mode, scales):
    """Boxes on both levels, where scales halve; the level is held fixed."""
    random = torch.Generator().manual_seed(0)
    levels = [torch.randn(1, 1, 8 >> k, 8 >> k, dtype=torch.float64, generator=random).to(device) for k in range(2)]
    boxes = torch.tensor([[0.3, 0.7, 2.9, 3.1], [0.4, 0.2, 7.3, 6.7]], dtype=torch.float64, device=device)

    def run(boxes, *levels):
        rows = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], dim=1)
        return multiscale_roi_align(levels, rows, (1, 2), scales, 2, canonical_scale=4, canonical_level=1, mode=mode)

    arguments = [each.requires_grad_() for each in (boxes, *levels)]
    has_gradient = [each.abs().max() > 0 for each in torch.autograd.grad(run(*arguments).square().sum(), arguments[1:])]
    assert all(has_gradient) or scales != (1.0, 0.5)
    assert torch.autograd.gradcheck(run, arguments, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(run, arguments, check_fwd_over_rev=True)


@calls.each_operator
def test_forward_mode_within_forward_mode_raises_an_error(device, call):
    """Forward mode within forward mode would be a silent zero."""
    image, corners = (each.detach() for each in inputs(device))

    def along(image):
        return torch.func.jvp(lambda image: function(call, device)(image, corners), (image,), (image,))[1]

    with pytest.raises(NotImplementedError, match=f"{call.operator} has no forward-mode derivative .* inside of anoth"):
        torch.func.jvp(along, (image,), (image,))


@calls.each_operator
def test_compile_breaks_the_graph_around_forward_mode(device, call):
    """To the transform, an operator in the graph would be a constant."""
    torch._dynamo.reset()
    image, corners = (each.detach() for each in inputs(device))

    def along(image):
        return torch.func.jvp(lambda image: function(call, device)(image, corners), (image,), (image,))[1]

    assert torch.equal(torch.compile(along, backend="aot_eager")(image), along(image))


@calls.each_operator
@pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated")
# A trace warns of sizes that become numbers, here the pixels of the boxes.
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_forward_mode_in_a_graph_raises_a_clear_error(device, call):
    """A graph that may not be left is one of torch.compile's or torch.export's, or a trace."""
    torch._dynamo.reset()
    image, corners = (each.detach() for each in inputs(device))

    def dual(image):
        with forward_ad.dual_level():
            moved = function(call, device)(forward_ad.make_dual(image, image), corners)
            return forward_ad.unpack_dual(moved).tangent

    def along(image):
        return torch.func.jvp(lambda image: function(call, device)(image, corners), (image,), (image,))[1]

    class Along(torch.nn.Module):
        def forward(self, image):
            return along(image)

    words = f"{call.operator} has no forward-mode derivative .* in a graph of torch.compile or torch.jit.trace"
    with pytest.raises(torch._dynamo.exc.Unsupported, match=words):
        torch.compile(along, backend="eager", fullgraph=True)(image)
    with pytest.raises(NotImplementedError, match=words):
        torch.export.export(Along(), (image,))
    with pytest.raises(NotImplementedError, match=words):
        torch.jit.trace(dual, image)


TRANSFORMS = {
    "jvp": lambda run: lambda image: torch.func.jvp(run, (image,), (image,))[1],
    "grad": lambda run: torch.func.grad(lambda image: run(image).sum()),
    "vmap": lambda run: lambda image: torch.func.vmap(run)(image[None]),
}


@calls.each_operator
@pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated")
# torch's vmap compares sizes, of which a trace warns.
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_tracing_within_a_transform_raises_a_clear_error(device, call, transform):
    image = torch.rand(2, 3, 5, 7, device=device)
    boxes = call.random_boxes(image, 3)
    with pytest.raises(NotImplementedError, match=r"cannot be recorded by torch\.jit\.trace within .* use torch\.comp"):
        torch.jit.trace(transform(lambda image: call(image, *boxes)), image)
