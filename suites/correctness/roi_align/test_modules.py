"""The classes with torchvision's names pool as the functions do; boxes may be a list with a tensor for each image."""

import numpy as np
import pytest
import torch

from roi_align import TorchvisionRoIAlign, roi_align
from suites.correctness.calls import AVG

pytestmark = pytest.mark.package


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("aligned", [False, True])
def test_modules_pool_as_the_function_does(device, aligned, mode):
    features = torch.rand(2, 3, 8, 9, device=device)
    (rows,) = AVG.random_boxes(features, 5)
    module = TorchvisionRoIAlign(3, 0.5, 2, aligned, mode=mode)
    assert torch.equal(module(features, rows), roi_align(features, rows, 3, 0.5, 2, aligned, mode=mode))
    assert repr(module).startswith("TorchvisionRoIAlign(output_size=")


def test_a_list_of_boxes_equals_rows_with_indices(device):
    features = torch.rand(2, 3, 8, 9, device=device)
    (rows,) = AVG.random_boxes(features, 5)
    boxes = [rows[rows[:, 0] == image, 1:] for image in (0, 1)]
    in_order = torch.cat([rows[rows[:, 0] == image] for image in (0, 1)])
    assert torch.equal(roi_align(features, boxes, 3), roi_align(features, in_order, 3))


def test_an_empty_list_of_boxes_pools_a_batch_of_no_images(device):
    features = torch.zeros(0, 3, 8, 8, device=device, requires_grad=True)
    pooled = roi_align(features, [], 7)
    assert pooled.shape == (0, 3, 7, 7)
    assert pooled.device == features.device
    pooled.sum().backward()
    assert features.grad.shape == features.shape


def test_numpy_sizes_and_flags_are_accepted(device):
    features, rows = torch.rand(1, 2, 8, 9, device=device), torch.tensor([[0, 1.0, 2, 6, 7]], device=device)
    expected = roi_align(features, rows, (3, 2), 1.0, 2, True)
    assert torch.equal(roi_align(features, rows, np.array([3, 2]), 1.0, np.int64(2), np.bool_(True)), expected)


@pytest.mark.cpu
def test_more_tensors_of_boxes_than_images_raise_an_index_error():
    with pytest.raises(IndexError, match=r"boxes\[2\] has the index 2, but the input has N = 2"):
        roi_align(torch.rand(2, 3, 5, 7), [torch.rand(1, 4)] * 3, 3)
