"""The inputs and expected results of torchvision's and detectron2's own tests of this operator, as tables.

torchvision's are the classes TestRoIAlign and TestMultiScaleRoIAlign of test/test_ops.py; detectron2's are in
tests/layers/test_roi_align.py and tests/modeling/test_roi_pooler.py. The oracle replaces their slow copies of the rule;
integers replace their random images, so that identities are exact. DIFFERS lists the expectations that do not hold
here, with this package's behaviour. Rotated boxes are another operator.
"""

from __future__ import annotations

import pytest
import torch
from torch import fx, nn
from torch.jit import frontend
from torch.nn import functional

from harness.operators.judgement import judge
from harness.operators.roi_align.case import RoiInputs
from roi_align import TorchvisionMultiScaleRoIAlign, TorchvisionRoIAlign, roi_align
from suites.correctness.calls import each_layout

pytestmark = pytest.mark.package

# torchvision's four boxes on two images of 10 x 10, and the three boxes of its gradient tests on one of 5 x 5.
BOXES = [[0.0, 0, 0, 9, 9], [0, 0, 5, 4, 9], [0, 5, 5, 9, 9], [1, 0, 0, 9, 9]]
GRADIENT_BOXES = [[0.0, 0, 0, 4, 4], [0, 0, 2, 3, 4], [0, 2, 2, 4, 4]]
each_aligned = pytest.mark.parametrize("aligned", [False, True])

# detectron2's box (1, 1, 3, 3) of arange(25) as 5 x 5: the half pixel of `aligned` is 3 in these values.
UPSAMPLED = {
    False: [[7.5, 8, 8.5, 9], [10, 10.5, 11, 11.5], [12.5, 13, 13.5, 14], [15, 15.5, 16, 16.5]],
    True: [[4.5, 5, 5.5, 6], [7, 7.5, 8, 8.5], [9.5, 10, 10.5, 11], [12, 12.5, 13, 13.5]],
}


@each_aligned
def test_a_ramp_is_upsampled(device, aligned):
    image = torch.arange(25.0, device=device).view(1, 1, 5, 5)
    pool = TorchvisionRoIAlign((4, 4), 1.0, 0, aligned)
    assert pool(image, torch.tensor([[0, 1.0, 1, 3, 3]], device=device)).tolist() == [[UPSAMPLED[aligned]]]


@each_aligned
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_four_boxes_are_pooled_adaptively(device, dtype, transposed, aligned):
    """torchvision's tests allow 4e-3 in halves and 1e-5 elsewhere; the oracle allows less."""
    image = torch.rand(2, 2, 10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(dtype)
    image = image.transpose(2, 3) if transposed else image
    boxes = torch.tensor(BOXES, dtype=dtype)
    pooled = TorchvisionRoIAlign((5, 5), 1, -1, aligned)(image.to(device), boxes.to(device))
    assert pooled.dtype == dtype
    own = boxes.float() if dtype == torch.float16 else boxes
    inputs = RoiInputs(image.numpy(), own.numpy(), pooled.cpu().numpy(), (5, 5), 1.0, -1, aligned)
    verdict = judge(inputs, "forward", pooled.cpu().numpy(), pinned=True)
    assert verdict.passed, verdict


@each_layout
@pytest.mark.parametrize("seed", range(10))
def test_the_gradient_of_three_boxes(device, seed, layout):
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 8, 5, 5, dtype=torch.float64, generator=generator).to(device, memory_format=layout)
    boxes = torch.tensor(GRADIENT_BOXES, dtype=torch.float64, device=device)
    assert torch.autograd.gradcheck(lambda each: roi_align(each, boxes, 2, 1, 1), image.requires_grad_())


def test_a_list_of_views_is_accepted(device):
    """The boxes that torchvision's test of scripted lists transposes: five boxes for each of two images."""
    boxes = torch.tensor(BOXES, device=device).T
    pooled = TorchvisionRoIAlign([3, 3], 1.0, -1)(torch.rand(2, 1, 10, 10, device=device), [boxes, boxes])
    assert pooled.shape == (10, 1, 3, 3)


def test_a_map_of_half_the_size_gives_the_same_result(device):
    """detectron2's box (10, 10, 20, 20) of 30 x 30, and half of it on the means of 2 x 2 pixels."""
    image = torch.randint(0, 100, (1, 1, 30, 30), generator=torch.Generator().manual_seed(0)).float().to(device)
    box = torch.tensor([[0, 10.0, 10, 20, 20]], device=device)
    whole = roi_align(image, box, 5, 1.0, 0, True)
    assert torch.equal(whole, roi_align(functional.avg_pool2d(image, 2), box / 2, 5, 1.0, 0, True))
    assert torch.equal(whole, roi_align(functional.avg_pool2d(image, 2), box, 5, 0.5, 0, True))


@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_samples_inside_agree_with_grid_sample(device, ratio):
    """In float64 the two orders of rounding differ by 1e-13 of the pixels; detectron2's test allows 1e-5 of them."""
    image = torch.rand(1, 1, 30, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 100
    image, box, count = image.to(device), (10.0, 10.0, 20.0, 20.0), 5 * ratio
    places = box[0] + (torch.arange(count, dtype=torch.float64, device=device) + 0.5) / count * (box[2] - box[0])
    y, x = torch.meshgrid(places / 15 - 1, places / 15 - 1, indexing="ij")
    expected = functional.avg_pool2d(
        functional.grid_sample(image, torch.stack([x, y], dim=-1)[None], align_corners=False), ratio
    )
    pooled = roi_align(image, [torch.tensor([box], dtype=torch.float64, device=device)], 5, 1.0, ratio, True)
    assert torch.allclose(pooled, expected, rtol=0, atol=100 * 1e-13)


# Boxes (K, 5) of 5 x 5 pixels, N, and the shape of the result of an adaptive, aligned call of 7 x 7: all zeros.
EMPTY = {
    "a box without height": ([[0.0, 3, 4, 5, 4]], 1, (1, 3, 7, 7)),
    "no box": ([], 1, (0, 3, 7, 7)),
    "no box and no image": ([], 0, (0, 3, 7, 7)),
}


@pytest.mark.parametrize(("rows", "images", "shape"), EMPTY.values(), ids=EMPTY)
def test_empty_inputs_give_zeros_and_zero_gradients(device, rows, images, shape):
    image = torch.rand(images, 3, 5, 5, device=device, requires_grad=True)
    boxes = torch.tensor(rows, device=device).reshape(-1, 5)
    pooled = TorchvisionRoIAlign((7, 7), 1.0, 0, True)(image, boxes)
    assert pooled.shape == shape
    assert not pooled.any()
    pooled.sum().backward()
    assert image.grad.shape == image.shape
    assert not image.grad.any()


def test_torchvisions_example_of_the_multiscale_pooler(device):
    """torchvision's docstring: maps of 1/8 and 1/32, without the one between them."""
    maps = {f"feat{k}": torch.rand(1, 5, 64 >> k - 1, 64 >> k - 1, device=device) for k in (1, 2, 3)}
    boxes = torch.rand(6, 4, device=device) * 256
    boxes[:, 2:] += boxes[:, :2]
    pool = TorchvisionMultiScaleRoIAlign(["feat1", "feat3"], 3, 2)
    assert pool(maps, [boxes], [(512, 512)]).shape == (6, 5, 3, 3)


@each_aligned
def test_an_fx_graph_gives_the_same_result(device, aligned):
    module = TorchvisionRoIAlign((5, 5), 1, -1, aligned)
    image, boxes = torch.rand(2, 3, 5, 5, device=device), torch.tensor(BOXES, device=device)
    assert torch.equal(fx.symbolic_trace(module)(image, boxes), module(image, boxes))


class Around(nn.Module):
    """A module of `count` inputs around another one, whose nodes torchvision's tests list."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, a, b):
        self.layer(a, b)


def test_feature_extraction_sees_a_module_as_one_node():
    extraction = pytest.importorskip("torchvision.models.feature_extraction")
    train, evaluation = extraction.get_graph_node_names(Around(TorchvisionRoIAlign(5, 1, -1)))
    assert train == evaluation == ["a", "b", "layer.roi_align"]


IMAGE = torch.linspace(1, 64, 64).reshape(1, 1, 8, 8)
SCRIPT = (AssertionError, RuntimeError, TypeError, frontend.FrontendError)
# Expectations of the two libraries' tests that this package does not share: a call, its exception and the message.
DIFFERS = {
    "boxes of four columns, an AssertionError there": (
        lambda: roi_align(IMAGE, torch.tensor([[0.0, 0, 3, 3]]), (2, 2)), ValueError, r"must have shape \(K, 5\)"),
    "a list of boxes of three columns, an AssertionError there": (
        lambda: roi_align(IMAGE, [torch.tensor([[0.0, 0, 3]])], (2, 2)), ValueError, r"boxes\[0\] must have .* four"),
    **{
        f"{dtype}, pooled there": (
            lambda dtype=dtype: roi_align(torch.quantize_per_tensor(IMAGE, 1, 0, dtype), torch.zeros(1, 5), 5),
            TypeError, r"input must not be quantized; pass input.dequantize\(\)")
        for dtype in (torch.qint8, torch.quint8, torch.qint32)
    },
    "quantized boxes, taken there": (
        lambda: roi_align(IMAGE, torch.quantize_per_tensor(torch.zeros(1, 5), 1, 0, torch.quint8), 5),
        TypeError, r"boxes must not be quantized; pass boxes.dequantize\(\)"),
    "torch.jit.script of a pooler": (
        lambda: torch.jit.script(TorchvisionRoIAlign([3, 3], 1.0, -1)), SCRIPT, None),
    "torch.jit.script of a pooler of levels": (
        lambda: torch.jit.script(TorchvisionMultiScaleRoIAlign(["0"], 7, 2)), SCRIPT, None),
    "torch.jit.script of the function": (lambda: torch.jit.script(roi_align), SCRIPT, None),
}  # fmt: skip


@pytest.mark.cpu
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("call", "error", "words"), DIFFERS.values(), ids=DIFFERS)
def test_intended_differences_raise_errors(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_the_multiscale_poolers_repr_shows_all_arguments():
    """torchvision's repr shows neither the canonical box nor the scales, and its graph has one node, ours four."""
    pool = TorchvisionMultiScaleRoIAlign(["0"], (7, 7), 2)
    theirs = "MultiScaleRoIAlign(featmap_names=['0'], output_size=(7, 7), sampling_ratio=2"
    assert repr(pool) == f"Torchvision{theirs}, canonical_scale=224, canonical_level=4, scales=None)"
    calls = [node for node in fx.symbolic_trace(pool).graph.nodes if node.op == "call_function"]
    assert len(calls) == 4
