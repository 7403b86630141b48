"""What torch is told of the operators: schemas, fake kernels, derivatives; and that its compiler can use them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.library import opcheck

from roi_align import RoIAlign, crop_and_resize
from roi_align.functional import INTEGER_DTYPES

pytestmark = pytest.mark.package

OPS = torch.ops.roi_align


IMAGES = {
    "contiguous": lambda device: torch.rand(2, 3, 5, 9, device=device),
    "float64": lambda device: torch.rand(2, 3, 5, 9, device=device, dtype=torch.float64),
    "bfloat16": lambda device: torch.rand(2, 3, 5, 9, device=device).bfloat16(),
    "channels_last": lambda device: torch.rand(2, 3, 5, 9, device=device).to(memory_format=torch.channels_last),
    "one pixel": lambda device: torch.rand(2, 3, 1, 1, device=device),
    "expanded": lambda device: torch.rand(1, 3, 5, 9, device=device).expand(2, 3, 5, 9),
    "C=0": lambda device: torch.rand(2, 0, 5, 9, device=device),
    "N=0": lambda device: torch.rand(0, 3, 5, 9, device=device),
}


@pytest.mark.parametrize("box_rule", [0, 1, 2])
@pytest.mark.parametrize("method", [0, 1])
@pytest.mark.parametrize("make", IMAGES.values(), ids=IMAGES)
def test_opcheck(device, make, method, box_rule):
    image = make(device)
    n, c, height, width = image.shape
    rows = 3 if n else 0
    boxes, indices = torch.rand(rows, 4, device=device), torch.zeros(rows, dtype=torch.int64, device=device)
    grad = torch.rand(rows, c, 4, 3, dtype=image.dtype, device=device)
    last = image.stride(1) == 1
    wants_grad = image.detach().requires_grad_()
    opcheck(OPS.crop_and_resize.default, (wants_grad, boxes, indices, 4, 3, method, 0.5, box_rule, False))
    wants_grad = grad.detach().requires_grad_()
    for deterministic in (False, True):
        opcheck(
            OPS.crop_and_resize_grad_image.default,
            (wants_grad, boxes, indices, n, height, width, last, method, box_rule, deterministic),
        )
    opcheck(OPS.crop_and_resize_grad_boxes.default, (grad, image, boxes, indices, box_rule))


def test_compiles_whole_with_dynamic_shapes(device):
    torch._dynamo.reset()
    # Geometry that does not round, so that a sum of gradients is exact in any order: sides of 2^k + 1, sixteenths.

    @torch.compile(fullgraph=True, dynamic=True, backend="aot_eager")
    def compiled(image, boxes, box_indices):
        return crop_and_resize(image * 2, boxes, box_indices, ((image.shape[2] + 1) // 2, 3), "bilinear", 1.0)

    for shape, rows in (((2, 3, 9, 17), 4), ((1, 5, 5, 9), 2), ((3, 2, 17, 5), 9)):
        image = torch.rand(shape, device=device, requires_grad=True)
        boxes = (torch.randint(17, (rows, 4), device=device) / 16).requires_grad_()
        box_indices = torch.arange(rows, device=device) % shape[0]
        got = compiled(image, boxes, box_indices)
        want = crop_and_resize(image * 2, boxes, box_indices, ((shape[2] + 1) // 2, 3), "bilinear", 1.0)
        assert torch.equal(got, want)
        for a, b in zip(
            torch.autograd.grad(got.sum(), (image, boxes)),
            torch.autograd.grad(want.sum(), (image, boxes)),
            strict=True,
        ):
            assert torch.equal(a, b)


def test_inductor_compiles_the_module_whole(device):
    torch._dynamo.reset()
    module = torch.compile(RoIAlign(3, 4), fullgraph=True, dynamic=True)
    image, boxes = torch.rand(2, 3, 8, 9, device=device), torch.tensor([[1.0, 2, 6, 7], [0, 0, 4, 4]], device=device)
    box_indices = torch.tensor([1, 0], device=device)
    assert torch.equal(module(image, boxes, box_indices), RoIAlign(3, 4)(image, boxes, box_indices))


@pytest.mark.parametrize("validate", [pytest.param(False, marks=pytest.mark.cpu), True])
def test_bad_input_is_refused_in_compiled_graphs_too(device, validate):
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda i, b, j: crop_and_resize(i, b, j, (3, 4), validate=validate), fullgraph=True, backend="aot_eager"
    )
    image, boxes = torch.rand(2, 3, 8, 9, device=device), torch.rand(1, 4, device=device)
    with pytest.raises(IndexError, match="has N = 2"):
        compiled(image, boxes, torch.tensor([2], device=device))


def test_meta_tensors_have_the_shape_and_strides_of_the_result(device):
    image = torch.rand(2, 3, 5, 7, device=device).to(memory_format=torch.channels_last)
    boxes, box_indices = torch.rand(6, 4, device=device), torch.zeros(6, dtype=torch.int64, device=device)
    real = crop_and_resize(image, boxes, box_indices, (4, 3))
    meta = crop_and_resize(image.to("meta"), boxes.to("meta"), box_indices.to("meta"), (4, 3))
    assert (meta.shape, meta.stride(), meta.dtype) == (real.shape, real.stride(), real.dtype)


@pytest.mark.parametrize("last", [False, True])
def test_meta_gradients_have_the_shape_and_strides_of_the_result(device, last):
    grad, boxes = torch.rand(6, 3, 4, 3, device=device), torch.rand(6, 4, device=device)
    indices = torch.zeros(6, dtype=torch.int64, device=device)
    real, meta = (
        OPS.crop_and_resize_grad_image(*(each.to(where) for each in (grad, boxes, indices)), 2, 5, 7, last, 0, 0, False)
        for where in (device, "meta")
    )
    assert (meta.shape, meta.stride(), meta.dtype) == (real.shape, real.stride(), real.dtype)


def test_without_its_library_the_package_says_how_to_build_it(tmp_path):
    """A checkout that was never built."""
    package = tmp_path / "roi_align"
    package.mkdir()
    source = __import__("pathlib").Path(crop_and_resize.__code__.co_filename).parent
    for module in source.glob("*.py"):
        (package / module.name).write_text(module.read_text())
    done = subprocess.run(
        [sys.executable, "-c", "import roi_align"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "no compiled library" in done.stderr
    assert "make build" in done.stderr


@pytest.mark.parametrize("dtype", INTEGER_DTYPES)
def test_integer_images_enter_as_float32(device, dtype):
    image = (torch.rand(2, 3, 5, 9, device=device) * 100).to(dtype).to(memory_format=torch.channels_last)
    boxes = torch.rand(4, 4, device=device, requires_grad=True)
    indices = torch.tensor([0, 1, 1, 0], device=device)
    crops = crop_and_resize(image, boxes, indices, (3, 4))
    wanted = crop_and_resize(image.float(), boxes, indices, (3, 4))
    assert crops.dtype == torch.float32
    assert crops.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(crops, wanted)
    gradients = [torch.autograd.grad(each.sum(), boxes)[0] for each in (crops, wanted)]
    assert torch.equal(*gradients)
    opcheck(OPS.crop_and_resize.default, (image, boxes, indices, 3, 4, 0, 0.0, 0, False))
    opcheck(OPS.crop_and_resize_grad_boxes.default, (torch.rand_like(crops), image, boxes.detach(), indices, 0))
