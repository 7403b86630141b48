"""What torch is told of the operators: schemas, fake kernels, derivatives; and that its compiler can use them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.library import opcheck

from roi_align import RoIAlign, crop_and_resize

pytestmark = pytest.mark.package

OPS = torch.ops.roi_align


def _image(dtype=torch.float32, layout=torch.contiguous_format, shape=(2, 3, 5, 9)):
    return torch.rand(shape, dtype=dtype).to(memory_format=layout)


@pytest.mark.parametrize("box_rule", [0, 1, 2])
@pytest.mark.parametrize("method", [0, 1])
@pytest.mark.parametrize(
    ("image", "rows"),
    [
        (_image(), 3),
        (_image(torch.float64), 3),
        (_image(layout=torch.channels_last), 3),
        (_image(shape=(2, 3, 1, 1)), 3),
        (_image(shape=(1, 3, 5, 9)).expand(2, 3, 5, 9), 3),
        (_image(shape=(2, 0, 5, 9)), 3),
        (_image(shape=(0, 3, 5, 9)), 0),
    ],
    ids=["contiguous", "float64", "channels_last", "one pixel", "expanded", "C=0", "N=0"],
)
def test_opcheck(image, rows, method, box_rule):
    boxes, indices = torch.rand(rows, 4), torch.zeros(rows, dtype=torch.int64)
    n, c, height, width = image.shape
    grad = torch.rand(rows, c, 4, 3, dtype=image.dtype)
    last = image.stride(1) == 1
    wants_grad = image.detach().requires_grad_()
    opcheck(OPS.crop_and_resize.default, (wants_grad, boxes, indices, 4, 3, method, 0.5, box_rule, False))
    wants_grad = grad.detach().requires_grad_()
    opcheck(
        OPS.crop_and_resize_grad_image.default, (wants_grad, boxes, indices, n, height, width, last, method, box_rule)
    )
    opcheck(OPS.crop_and_resize_grad_boxes.default, (grad, image, boxes, indices, box_rule))


def test_compiles_whole_with_dynamic_shapes():
    torch._dynamo.reset()

    @torch.compile(fullgraph=True, dynamic=True, backend="aot_eager")
    def compiled(image, boxes, box_indices):
        return crop_and_resize(image * 2, boxes, box_indices, (image.shape[2] // 2, 3), "bilinear", 1.0)

    for shape, rows in (((2, 3, 8, 9), 4), ((1, 5, 6, 7), 2), ((3, 2, 12, 5), 9)):
        image, boxes = torch.rand(shape, requires_grad=True), torch.rand(rows, 4, requires_grad=True)
        box_indices = torch.arange(rows) % shape[0]
        got = compiled(image, boxes, box_indices)
        want = crop_and_resize(image * 2, boxes, box_indices, (shape[2] // 2, 3), "bilinear", 1.0)
        assert torch.equal(got, want)
        for a, b in zip(
            torch.autograd.grad(got.sum(), (image, boxes)),
            torch.autograd.grad(want.sum(), (image, boxes)),
            strict=True,
        ):
            assert torch.equal(a, b)


def test_inductor_compiles_the_module_whole():
    torch._dynamo.reset()
    module = torch.compile(RoIAlign(3, 4), fullgraph=True, dynamic=True)
    image, boxes = torch.rand(2, 3, 8, 9), torch.tensor([[1.0, 2, 6, 7], [0, 0, 4, 4]])
    box_indices = torch.tensor([1, 0])
    assert torch.equal(module(image, boxes, box_indices), RoIAlign(3, 4)(image, boxes, box_indices))


def test_bad_input_is_refused_in_compiled_graphs_too():
    torch._dynamo.reset()
    compiled = torch.compile(lambda i, b, j: crop_and_resize(i, b, j, (3, 4)), fullgraph=True, backend="aot_eager")
    with pytest.raises(IndexError, match="has N = 2"):
        compiled(torch.rand(2, 3, 8, 9), torch.rand(1, 4), torch.tensor([2]))


def test_meta_tensors_have_the_shape_and_strides_of_the_result():
    image = torch.rand(2, 3, 5, 7).to(memory_format=torch.channels_last)
    boxes, box_indices = torch.rand(6, 4), torch.zeros(6, dtype=torch.int64)
    real = crop_and_resize(image, boxes, box_indices, (4, 3))
    meta = crop_and_resize(image.to("meta"), boxes.to("meta"), box_indices.to("meta"), (4, 3))
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
