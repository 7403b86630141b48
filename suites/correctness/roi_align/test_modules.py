"""The classes of torchvision's names pool as the functions do, and say what they are."""

from __future__ import annotations

import pytest
import torch

from roi_align import TorchvisionRoIAlign, roi_align
from suites.correctness.calls import AVG

pytestmark = pytest.mark.package


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("aligned", [False, True])
def test_a_module_is_its_function(device, aligned, mode):
    features = torch.rand(2, 3, 8, 9, device=device)
    (rows,) = AVG.drawn(features, 5)
    module = TorchvisionRoIAlign(3, 0.5, 2, aligned, mode=mode)
    assert torch.equal(module(features, rows), roi_align(features, rows, 3, 0.5, 2, aligned, mode=mode))
    assert repr(module).startswith("TorchvisionRoIAlign(output_size=")
