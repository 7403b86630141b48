"""The classes of RoIAlign.pytorch: its own example, its arguments, and its bugs, which must not occur here."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch

import roi_align
from roi_align import CropAndResize, CropAndResizeFunction, RoIAlign, crop_and_resize

pytestmark = pytest.mark.package


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_original_readme_example(device, dtype, index_dtype):
    image = torch.arange(0.0, 49, device=device).view(1, 1, 7, 7).repeat(2, 1, 1, 1).to(dtype)
    image[0] += 10
    boxes = torch.tensor([[1, 0, 5, 4], [0.5, 3.5, 4, 7]], dtype=dtype, device=device)
    box_ind = torch.tensor([0, 1], dtype=index_dtype, device=device)
    crops = RoIAlign(4, 4, transform_fpcoor=True)(image, boxes, box_ind)
    first = [[11, 12, 13, 14], [18, 19, 20, 21], [25, 26, 27, 28], [32, 33, 34, 35]]
    second = [[24.5, 25.375, 26.25, 27.125], [30.625, 31.5, 32.375, 33.25], [36.75, 37.625, 38.5, 39.375], [0] * 4]
    expected = torch.tensor([[first], [second]], dtype=dtype, device=device)
    assert crops.shape == (2, 1, 4, 4)
    assert torch.allclose(crops, expected, rtol=0, atol=5e-5)  # "at four decimals": the original gives 36.750004


def test_without_the_transform_samples_run_from_edge_to_edge(device):
    image = torch.arange(0.0, 30, device=device).view(1, 1, 5, 6)
    boxes, box_ind = torch.tensor([[1.0, 0, 4, 4]], device=device), torch.tensor([0], device=device)
    crops = RoIAlign(3, 2, transform_fpcoor=False)(image, boxes, box_ind)
    assert crops[0, 0].tolist() == [[1, 4], [13, 16], [25, 28]]


def test_crop_and_resize_under_its_three_names(device):
    image = torch.rand(2, 3, 5, 7, device=device)
    boxes = torch.tensor([[0.1, 0.2, 0.8, 1.7], [0, 0, 1, 1]], device=device)
    box_ind = torch.tensor([1, 0], dtype=torch.int32, device=device)
    expected = crop_and_resize(image, boxes, box_ind, (4, 3), extrapolation_value=2.5)
    assert torch.equal(CropAndResize(4, 3, 2.5)(image, boxes, box_ind), expected)
    assert torch.equal(CropAndResizeFunction.apply(image, boxes, box_ind, 4, 3, 2.5), expected)
    by_default = crop_and_resize(image, boxes, box_ind, (4, 3))
    assert torch.equal(CropAndResizeFunction.apply(image, boxes, box_ind, 4, 3), by_default)


@pytest.mark.parametrize("transform_fpcoor", [True, False])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (4, 1)])
def test_images_of_one_row_or_one_column(device, height, width, transform_fpcoor):
    """The original divided by zero in this call and read out of bounds."""
    image = torch.rand(1, 2, height, width, device=device, requires_grad=True)
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [-1.0, -1.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0]], device=device)
    box_ind = torch.zeros(3, dtype=torch.int32, device=device)
    crops = RoIAlign(3, 3, extrapolation_value=-1.0, transform_fpcoor=transform_fpcoor)(image, boxes, box_ind)
    assert torch.isfinite(crops).all()
    if transform_fpcoor and height == width == 1:
        # Three bins of one pixel each: the middle one is the pixel, and no other position is inside.
        assert torch.equal(crops[1, :, 1, 1], image[0, :, 0, 0])
        assert (crops[1] == -1).sum() == 2 * 8
    crops.sum().backward()
    assert torch.isfinite(image.grad).all()


def test_modules_can_be_pickled_copied_and_printed():
    module = RoIAlign(7, 5, extrapolation_value=1.5, transform_fpcoor=False)
    for twin in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        assert repr(twin) == repr(module) == "RoIAlign(7, 5, extrapolation_value=1.5, transform_fpcoor=False)"
    assert repr(CropAndResize(7, 5)) == "CropAndResize(7, 5, extrapolation_value=0)"


def test_modules_raise_the_functions_errors(device):
    image, boxes, indices = torch.rand(1, 1, 5, 5), torch.rand(1, 4), torch.tensor([0])
    with pytest.raises(ValueError, match="crop_size must be positive"):
        RoIAlign(0, 3)(image.to(device), boxes.to(device), indices.to(device))
    with pytest.raises(IndexError, match="has N = 1"):
        RoIAlign(2, 3)(image, boxes, indices + 1)  # on the CPU for every backend: CUDA does not check


def test_original_import_paths_work_and_keep_the_functions():
    """In a fresh process that imports the submodules first: such an import must not replace the function."""
    program = """if True:
        from roi_align.crop_and_resize import CropAndResize, CropAndResizeFunction
        from roi_align.roi_align import RoIAlign
        import roi_align.crop_and_resize, roi_align.roi_align
        from roi_align import crop_and_resize, roi_align as pool
        import torch, roi_align
        assert crop_and_resize is roi_align.crop_and_resize and pool is roi_align.roi_align
        assert (CropAndResize, CropAndResizeFunction) == (roi_align.CropAndResize, roi_align.CropAndResizeFunction)
        assert RoIAlign is roi_align.RoIAlign
        print(pool(torch.ones(1, 1, 2, 2), torch.zeros(1, 5), 1).item())"""
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (process.stdout, process.stderr) == ("1.0\n", "")


def test_the_public_names_are_the_documented_ones():
    classes = ["CropAndResize", "CropAndResizeFunction", "RoIAlign"]
    classes += ["TorchvisionMultiScaleRoIAlign", "TorchvisionRoIAlign"]
    assert roi_align.__all__ == [*classes, "crop_and_resize", "multiscale_roi_align", "roi_align"]
    assert all(getattr(roi_align, name).__doc__ for name in roi_align.__all__)
