"""The instruction counts of the CUDA kernels stay below their bounds, and the counts describe the real kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align

from harness.kernels.binaries import disassembler
from harness.kernels.compiling import nvcc
from harness.kernels.ptx.counting import count_launches
from harness.kernels.ptx.torchvision import count_torchvision
from harness.kernels.resources import complete_library
from harness.measuring import costs
from harness.measuring.workloads import WORKLOADS
from harness.operators.crop_and_resize.case import Case
from harness.operators.roi_align.case import RoiCase
from suites.missing import skip_if_missing

pytestmark = [pytest.mark.package, pytest.mark.cpu]
with skip_if_missing():
    nvcc()
    disassembler()
    complete_library()

# For fpn_p2_test, 1000 boxes of 4 to 60 pixels: the maximum PTX instructions per value of the crops, the minimum loads
# in flight, and the minimum percentage of a multiprocessor's warps on sm_90. Ten percent above the current values.
LIMITS = {
    ("forward_kernel<float, 1>", "contiguous"): (44, 16, 37),
    ("forward_kernel<float, 4>", "channels_last"): (35, 4, 37),
    ("gather_kernel<float, 8, 8, true>", "contiguous"): (123, 8, 31),
    ("gather_kernel<float, 8, 8, false>", "channels_last"): (131, 8, 31),
    ("planes_warp_kernel<float, 7>", "contiguous"): (157, 4, 37),
    ("pixels_kernel<float, 4, 0>", "channels_last"): (171, 4, 21),
    ("mean_gather_kernel<float, 8, 8, true>", "contiguous"): (199, 8, 18),
    ("mean_gather_kernel<float, 8, 8, false>", "channels_last"): (207, 8, 18),
}


@pytest.fixture(scope="module")
def rows():
    workload = next(each for each in WORKLOADS if each.name == "fpn_p2_test")
    return {(each.kernel, each.layout): each for each in costs.costs(workload, blocks=2)}


@pytest.mark.parametrize(("kernel", "layout"), LIMITS)
def test_a_kernel_costs_no_more_than_it_did(rows, kernel, layout):
    most, loads, warps = LIMITS[kernel, layout]
    row = rows[kernel, layout]
    assert row.a_value <= most
    assert row.loads_in_flight >= loads
    assert int(row.occupancy.rpartition(" / ")[2].rstrip("%")) >= warps


SHAPE, SIZE = (1, 128, 200, 272), (7, 7)


def crops(box: tuple[float, float, float, float], count: int):
    return Case(SHAPE, (box,) * count, (0,) * count, SIZE).inputs()


def pools(box: tuple[float, float, float, float], count: int):
    """The same boxes in pixels, with one sample a bin."""
    top, left, bottom, right = (float(side) * length for side, length in zip(box, (200, 272) * 2, strict=True))
    return RoiCase(SHAPE, ((0.0, left, top, right, bottom),) * count, SIZE, sampling_ratio=1).inputs()


def gather_instructions(operator: str, inputs) -> float:
    """The instructions of a warp of the image gradient's gather."""
    counts = count_launches(operator, inputs, "grad_image", blocks=2)
    return next(each.instructions_a_warp for each in counts if "gather_kernel" in each.kernel)


# The maximum PTX instructions of a warp for a box that does not contribute to these tiles: one of the whole image,
# whose samples are four tiles apart, and one that lies elsewhere.
WHOLE, ELSEWHERE = (0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.01, 0.01)
IDLE = {"samples miss the tile": (WHOLE, 20), "box lies elsewhere": (ELSEWHERE, 0.1)}
INPUTS = {"crop_and_resize": crops, "roi_align": pools}


@pytest.mark.parametrize("operator", INPUTS)
@pytest.mark.parametrize(("box", "most"), IDLE.values(), ids=IDLE)
def test_idle_boxes_cost_few_instructions(operator, box, most):
    none, some, many = (gather_instructions(operator, INPUTS[operator](box, count)) for count in (1, 2_048, 6_144))
    assert many - none < 6_144 * most
    assert many - none < 4 * (some - none) + 1_000


def test_every_kernel_is_in_the_table(rows):
    names = {kernel.partition("<")[0] for kernel, _ in rows}
    assert names >= {"forward_kernel", "gather_kernel", "atomic_kernel", "grad_boxes_kernel", "reach_kernel"}
    assert names >= {"planes_warp_kernel", "pixels_kernel", "mean_gather_kernel", "slopes_kernel", "roi_reach_kernel"}
    header, lines = costs.cells(costs.table(list(rows.values())))
    assert {len(line) for line in lines} == {len(header)}
    assert "`forward_kernel<float, 1>`" in {line[header.index("kernel")] for line in lines}


@pytest.mark.parametrize("aligned", [False, True])
def test_torchvisions_kernels_get_torchvisions_arguments(aligned):
    """All blocks of a small case together compute torchvision's results, up to the order of sums."""
    boxes = ((0, 0.5, 1.25, 4.5, 3.75), (1, -1.0, 0.5, 4.0, 9.0), (0, 2.0, 2.0, 2.5, 2.25))
    inputs = RoiCase((2, 3, 7, 6), boxes, (2, 3), sampling_ratio=2, aligned=aligned).inputs()
    image = torch.from_numpy(inputs.image).requires_grad_()
    with skip_if_missing():
        crops = count_torchvision(inputs, "forward")[1]
        gradient = count_torchvision(inputs, "grad_image")[1]
    expected = roi_align(image, torch.from_numpy(inputs.boxes), (2, 3), float(inputs.spatial_scale), 2, aligned)
    np.testing.assert_allclose(crops, expected.detach().numpy(), rtol=1e-5, atol=1e-5)
    (of_image,) = torch.autograd.grad(expected, image, torch.from_numpy(inputs.upstream))
    np.testing.assert_allclose(gradient, of_image.numpy(), rtol=1e-5, atol=1e-5)
