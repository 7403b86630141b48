"""What ties one call of roi_align to another, and to crop_and_resize: without an oracle, by bits where sums keep their
order and within a few roundings where they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.agreement import differing
from harness.case import DIRECTIONS, LAYOUTS
from harness.roi_case import MODES, RoiInputs
from harness.roi_strategies import FINITE_FAMILIES, roi_cases
from roi_align import RoIAlign, crop_and_resize, roi_align

FINITE = {"box_families": FINITE_FAMILIES, "empty": False}
FLOAT64 = {"image_dtypes": ["float64"], "boxes_dtypes": ["float64"], "values": ["normal"], **FINITE}
BESIDE_THE_MAP = ["interior", "tiny", "covering", "lower_band", "upper_band"]


def _run(backend, inputs: RoiInputs, direction: str) -> np.ndarray:
    assume(backend.refuses(inputs, direction) is None)
    return backend.run(inputs, direction)


def _same_bits(got: np.ndarray, want: np.ndarray) -> bool:
    return got.shape == want.shape and not differing(got, want).any()


def _rows(inputs: RoiInputs, rows) -> RoiInputs:
    return replace(inputs, boxes=inputs.boxes[rows].copy(), upstream=inputs.upstream[rows].copy())


@given(case=roi_cases(**FINITE), random=st.randoms(use_true_random=False))
def test_permuted_boxes_give_permuted_results(roi_backend, case, random):
    inputs = case.inputs()
    order = list(range(len(inputs.boxes)))
    random.shuffle(order)
    for direction in ("forward", "grad_boxes"):
        whole = _run(roi_backend, inputs, direction)
        assert _same_bits(_run(roi_backend, _rows(inputs, order), direction), whole[order]), case


@given(case=roi_cases(**FINITE), random=st.randoms(use_true_random=False))
def test_permuted_channels_give_permuted_channels(roi_backend, case, random):
    inputs = case.inputs()
    order = list(range(inputs.input.shape[1]))
    random.shuffle(order)
    permuted = replace(inputs, input=inputs.input[:, order].copy(), upstream=inputs.upstream[:, order].copy())
    for direction in ("forward", "grad_image"):
        want = _run(roi_backend, inputs, direction)[:, order]
        assert _same_bits(_run(roi_backend, permuted, direction), want), case


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_every_layout_gives_the_same_bits(roi_backend, direction, mode):
    @settings(max_examples=max(50, settings().max_examples // 2))
    @given(case=roi_cases(modes=[mode], layouts=["contiguous"], channels=(1, 3, 8, 15, 16, 19, 70), most_outputs=2000))
    def holds(case):
        wanted = _run(roi_backend, case.inputs(), direction)
        for layout in LAYOUTS:
            if layout != "expanded":  # other values by nature
                got = _run(roi_backend, replace(case, layout=layout).inputs(), direction)
                assert _same_bits(got, wanted), replace(case, layout=layout)

    holds()


@given(case=roi_cases(layouts=["expanded"], empty=False))
def test_an_expanded_map_gives_the_bits_of_its_copy(roi_backend, case):
    inputs = case.inputs()
    copied = replace(inputs, input=np.ascontiguousarray(inputs.input))
    for direction in DIRECTIONS:
        if roi_backend.refuses(inputs, direction) is None:
            assert _same_bits(roi_backend.run(inputs, direction), roi_backend.run(copied, direction)), case


@pytest.mark.parametrize("direction", DIRECTIONS)
@given(case=roi_cases(image_dtypes=["float16", "bfloat16"], channels=(1, 3, 17)))
def test_a_half_map_gives_the_float32_result_rounded_once(roi_backend, direction, case):
    inputs = case.inputs()
    wide = replace(inputs, input=inputs.input.astype(np.float32), upstream=inputs.upstream.astype(np.float32))
    with np.errstate(over="ignore"):
        want = _run(roi_backend, wide, direction)
        want = want if direction == "grad_boxes" else want.astype(inputs.input.dtype)
    assert _same_bits(_run(roi_backend, inputs, direction), want), case


@given(case=roi_cases(**FINITE, values=["normal"], image_dtypes=["float32"]), power=st.integers(-20, 20))
def test_scaling_by_a_power_of_two_scales_the_result(roi_backend, case, power):
    inputs, factor = case.inputs(), np.float32(2.0**power)
    scaled = replace(inputs, input=inputs.input * factor)
    assert _same_bits(_run(roi_backend, scaled, "forward"), _run(roi_backend, inputs, "forward") * factor), case


@given(case=roi_cases(**FLOAT64, modes=["avg"]))
def test_the_gradient_is_the_adjoint_of_the_forward(roi_backend, case):
    inputs = case.inputs()
    pooled, gradient = _run(roi_backend, inputs, "forward"), _run(roi_backend, inputs, "grad_image")
    left, right = (pooled * inputs.upstream).sum(), (inputs.input * gradient).sum()
    reached = np.abs(inputs.upstream).sum() * np.abs(inputs.input).max()
    assert abs(left - right) <= (50 + pooled.size) * 2.0**-52 * reached + 1e-300, case


@given(case=roi_cases(**{**FLOAT64, "box_families": BESIDE_THE_MAP}, modes=["avg"]))
def test_the_mean_is_two_band_matrices(roi_backend, case):
    """out = Wy F Wx', border rule included: the matrices are read off with maps of one row and of one column."""
    inputs = case.inputs()
    n, _, height, width = inputs.input.shape

    def matrix(along: int) -> np.ndarray:
        """(K, bins, length): the weights of each pixel on an axis, from unit maps that the other axis only averages."""
        length = inputs.input.shape[2 + along]
        eye = np.eye(length).reshape((1, length, length, 1) if along == 0 else (1, length, 1, length))
        units = np.broadcast_to(eye, (n, length, height, width)).copy()
        pooled = _run(roi_backend, replace(inputs, input=units, upstream=np.zeros(0)), "forward")
        return np.moveaxis(pooled, 1, -1)

    whole = _run(roi_backend, inputs, "forward")
    rows, columns = matrix(0), matrix(1)  # (K, h, w, H) and (K, h, w, W), each times the mean of ones on the other axis
    ones = _run(roi_backend, replace(inputs, input=np.ones_like(inputs.input[:, :1])), "forward")[:, 0]
    for k, image in enumerate(inputs.boxes[:, 0].astype(int)):
        for i, j in np.ndindex(*inputs.output_size):
            if ones[k, i, j] == 0:
                assert not whole[k, :, i, j].any(), case
                continue
            # ones = wy * wx, rows = Wy * wx and columns = Wx * wy: their product is Wy Wx' times ones.
            wanted = np.einsum("y,cyx,x->c", rows[k, i, j], inputs.input[image], columns[k, i, j]) / ones[k, i, j]
            assert np.allclose(whole[k, :, i, j], wanted, rtol=0, atol=1e-13 * np.abs(inputs.input).max()), case


# Maps, boxes and grids of powers of two: positions are exact in either operator's order.
@st.composite
def padded_pairs(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, int, int, bool]:
    """A map whose sides, padded by one, are 2^k + 1; boxes in eighths; bins and samples in powers of two."""
    height, width = (draw(st.sampled_from([3, 7, 15])) for _ in range(2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    features = torch.randn(2, 3, height, width, dtype=torch.float64, generator=generator)
    size, ratio, aligned = draw(st.sampled_from([1, 2, 4])), draw(st.sampled_from([1, 2])), draw(st.booleans())
    boxes = []
    for _ in range(draw(st.integers(1, 4))):
        edges = []
        for length in (width, height):
            first = draw(st.integers(-16, 8 * length + 8))
            edges.append((first / 8, (first + draw(st.integers(1, 40)) * 8) / 8))
        (x1, x2), (y1, y2) = edges
        boxes.append([float(draw(st.integers(0, 1))), x1, y1, x2, y2])
    return features, torch.tensor(boxes, dtype=torch.float64), size, ratio, aligned


@pytest.mark.package
@given(drawn=padded_pairs())
def test_padded_by_an_edge_pixel_crop_and_resize_has_the_same_samples(drawn):
    """SPEC, section 3: the s x s means of crop_and_resize at P*s on the padded map; samples at a jump apart."""
    features, boxes, size, ratio, aligned = drawn
    height, width = features.shape[2:]
    offset, count = (0.5 if aligned else 0.0), size * ratio
    padded = torch.nn.functional.pad(features, (1, 1, 1, 1), mode="replicate")
    normalised = torch.empty(len(boxes), 4, dtype=torch.float64)
    for along, (first, last, length) in enumerate(((2, 4, height), (1, 3, width))):
        start, extent = boxes[:, first] - offset, boxes[:, last] - boxes[:, first]
        step = extent / count
        low = start + step / 2 + 1
        # Of one sample the position is the middle of the box; of more they run from its start to its end.
        ends = (low, low + step * (count - 1)) if count > 1 else (low, low)
        for column, end in zip((along, along + 2), ends, strict=True):
            normalised[:, column] = end / (length + 1)
        positions = start[:, None] + (torch.arange(count) + 0.5) * step[:, None]
        assume(bool(((positions + 1).abs() > 1e-6).all() and ((positions - length).abs() > 1e-6).all()))
    crops = crop_and_resize(padded, normalised, boxes[:, 0].long(), (count, count))
    wanted = torch.nn.functional.avg_pool2d(crops, ratio)
    got = roi_align(features, boxes, size, 1.0, ratio, aligned)
    assert torch.allclose(got, wanted, rtol=0, atol=1e-12)


@pytest.mark.package
@given(seed=st.integers(0, 9999), size=st.integers(1, 5))
def test_one_aligned_sample_inside_is_the_seeds_roi_align(seed, size):
    """A box inside [0.5, L - 0.5] has every sample in [0, L-1], where both rules are bilinear."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, 9, 12, dtype=torch.float64, generator=generator)
    corners = torch.rand(5, 2, 2, dtype=torch.float64, generator=generator).sort(dim=1).values
    boxes = (0.5 + corners * torch.tensor([11.0, 8.0], dtype=torch.float64)).reshape(5, 4)
    index = torch.randint(2, (5, 1), generator=generator)
    wanted = RoIAlign(size, size)(features, boxes, index[:, 0])
    got = roi_align(features, torch.cat([index.double(), boxes], dim=1), size, 1.0, 1, True)
    assert torch.allclose(got, wanted, rtol=0, atol=1e-12)


@given(case=roi_cases(**{**FLOAT64, "ratios": (1,), "box_families": ["interior", "tiny"]}))
def test_with_one_sample_the_maximum_is_the_mean(roi_backend, case):
    inputs = case.inputs()
    for direction in DIRECTIONS:
        mean, largest = (_run(roi_backend, replace(inputs, mode=mode), direction) for mode in MODES)
        assert np.allclose(mean, largest, rtol=0, atol=1e-12), case
