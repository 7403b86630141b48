"""A model that torch.onnx.export writes computes the operator: the oracle judges ONNX Runtime's results case by case.

roi_align is one RoiAlign node, which ONNX Runtime rounds in another order, so its results are within the oracle's
bounds; crop_and_resize is exported as single steps in order A, and has the kernel's bits.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings

pytest.importorskip("onnxscript", reason="the exporters need onnx and onnxscript")
pytest.importorskip("onnxruntime", reason="the files are run by ONNX Runtime")

from harness.judging.trial import judge_case
from harness.operators import OPERATORS, operator_of
from harness.operators.arrays import LAYOUTS
from harness.operators.crop_and_resize.case import BOX_RULES, METHODS
from harness.operators.implementation import Backend
from harness.operators.sheet import INTEGERS, Sheet
from roi_align import RoIAlign, crop_and_resize, multiscale_roi_align, roi_align
from suites.correctness.calls import AVG, BILINEAR, for_calls
from suites.correctness.deploying import onnx_files
from suites.correctness.deploying.onnx_files import EXPORTERS, Function

pytestmark = [pytest.mark.package, pytest.mark.cpu]
each_exporter = pytest.mark.parametrize("dynamo", EXPORTERS.values(), ids=EXPORTERS)

_DTYPES = {
    "image_dtypes": ("float32", "float64", "float16", *INTEGERS),
    "boxes_dtypes": ("float32", "float64"),
    "layouts": LAYOUTS,
    "empty": ("boxes",),
}
SHEETS = {
    "crop_and_resize": Sheet(
        "crop_and_resize", index_dtypes=("int32", "int64"), methods=METHODS, box_rules=BOX_RULES,
        special_values=("forward",), bad_input=("boxes",), pinned=("forward",), **_DTYPES,
    ),
    # ONNX Runtime multiplies pixels by weights of 0, and counts the samples of an inverted box below 0.
    "roi_align": Sheet(
        "roi_align", grids=("fixed", "adaptive"), extent="positive where adaptive", largest=1e4, **_DTYPES
    ),
}  # fmt: skip


def crop(of):
    if of.box_rule == "normalized":
        return lambda *tensors: crop_and_resize(*tensors, of.crop_size, of.method, of.extrapolation_value)
    return RoIAlign(*of.crop_size, of.extrapolation_value, of.box_rule == "bin_centres")


def pool(of):
    return lambda *tensors: roi_align(*tensors, of.output_size, of.spatial_scale, of.sampling_ratio, of.aligned)


CALLS = {"crop_and_resize": crop, "roi_align": pool}


def arrays_of(inputs):
    return [getattr(inputs, name) for name in operator_of(inputs).arrays_of("forward")]


def tensors_of(inputs):
    return [torch.from_numpy(np.ascontiguousarray(each)) for each in arrays_of(inputs)]


def files(operator, file_of):
    """A backend that runs the file of `file_of(inputs)`."""

    def prepare(inputs, direction):
        run = onnx_files.session(file_of(inputs))
        return lambda: run(*arrays_of(inputs))[0]

    return Backend("onnx", "the file in ONNX Runtime", SHEETS[operator], prepare, np.asarray)


def write(inputs, dynamo=False):
    call = CALLS[operator_of(inputs).name](inputs)
    return onnx_files.export(Function(call), tensors_of(inputs), dynamo=dynamo)


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_a_files_results_are_within_the_oracles_bounds(tally, operator):
    backend = files(operator.name, write)

    @settings(max_examples=settings().max_examples // 3)
    @given(case=operator.within(backend.sheet))
    def search(case):
        verdict = judge_case(backend, case, "forward")
        assert verdict.passed, f"{case}: {verdict}"
        tally.bound(f"{operator.name}, an ONNX file", verdict.fraction)

    search()


# The operator of one file with dynamic sizes, and its cases.
_POOLED = {"image_dtypes": ["float32"], "boxes_dtypes": ["float32"], "scales": [0.5]}
OPEN = {
    "crop_and_resize": ("crop_and_resize", {"image_dtypes": ["float32"], "boxes_dtypes": ["float32"]}, {
        "method": "bilinear", "extrapolation_value": 2.0, "crop_size": (3, 4), "index_dtype": "int64"}),
    "roi_align-aligned-fixed": ("roi_align", {**_POOLED, "aligned": [True], "ratios": [2]}, {"output_size": (3, 2)}),
    "roi_align-adaptive": ("roi_align", {**_POOLED, "aligned": [False], "ratios": [-1]}, {"output_size": (3, 2)}),
}  # fmt: skip


@each_exporter
@pytest.mark.parametrize(("name", "selection", "changes"), OPEN.values(), ids=OPEN)
def test_one_file_takes_tensors_of_any_size(name, selection, changes, dynamo):
    operator = OPERATORS[name]

    models = []

    def file_of(inputs):
        if not models:
            like = {"image": torch.rand(2, 3, 8, 9), "boxes": torch.zeros(3, inputs.boxes.shape[1]),
                    "box_indices": torch.zeros(3, dtype=torch.int64)}  # fmt: skip
            tensors = [like[each] for each in operator.arrays_of("forward")]
            models.append(onnx_files.export(Function(CALLS[name](inputs)), tensors, dynamo=dynamo))
        return models[0]

    backend = files(name, file_of)

    @settings(max_examples=20)
    @given(case=operator.within(backend.sheet, **selection))
    def search(case):
        verdict = judge_case(backend, replace(case, **changes), "forward")
        assert verdict.passed, f"{case}: {verdict}"

    search()


WHERE = {True: b"half_pixel", False: b"output_half_pixel"}


@pytest.mark.parametrize(
    ("dynamo", "aligned", "ratio"),
    [(False, True, 2), (False, False, 2), (False, True, -1), (False, False, 0), (True, True, 2), (True, False, -1)],
)
def test_roi_align_is_one_node(dynamo, aligned, ratio):
    call = Function(lambda image, boxes: roi_align(image, boxes, (3, 2), 0.25, ratio, aligned))
    model = onnx_files.export(call, (torch.ones(2, 3, 8, 9), torch.zeros(2, 5)), dynamo=dynamo, opset=16 + 2 * dynamo)
    (attributes,) = onnx_files.nodes(model, "RoiAlign")
    # A node without a mode computes the mean.
    assert attributes.pop("mode", b"avg") == b"avg"
    assert attributes == {
        "coordinate_transformation_mode": WHERE[aligned], "output_height": 3, "output_width": 2,
        "sampling_ratio": max(ratio, 0), "spatial_scale": 0.25,
    }  # fmt: skip


@each_exporter
@pytest.mark.parametrize("scales", [[1 / 4, 1 / 8, 1 / 16], [1 / 8, 1 / 16, 1 / 16], [1 / 4, 1 / 8, 1 / 32]])
def test_a_pyramid_is_a_node_for_each_level(dynamo, scales):
    """Boxes on the border between two levels, of a level without any other box, and of none."""
    maps = [torch.rand(2, 3, 64 >> k, 80 >> k) + k for k in range(3)]
    sides = torch.tensor([[10.0, 10], [112, 112], [224, 224], [223.9, 224], [448, 448], [900, 900], [-5, 60]])
    corner = torch.tensor([[3.0, 4]]).repeat(len(sides), 1)
    boxes = torch.cat([torch.arange(len(sides))[:, None] % 2.0, corner, corner + sides], dim=1)
    call = Function(lambda *tensors: multiscale_roi_align(tensors[:3], tensors[3], (3, 2), scales, 2))
    model = onnx_files.export(call, (*maps, boxes), dynamo=dynamo)
    assert [each["spatial_scale"] for each in onnx_files.nodes(model, "RoiAlign")] == scales
    run = onnx_files.session(model)
    for selection in (slice(None), slice(3), slice(6, None), slice(0)):
        (result,) = run(*(each.numpy() for each in maps), boxes[selection].numpy())
        assert np.allclose(result, call(*maps, boxes[selection]), rtol=0, atol=1e-6)
    assert not result.size


def test_crops_have_the_kernels_bits():
    """The search compares with the oracle; this test compares with the kernel itself."""
    generator = torch.Generator().manual_seed(0)
    image, boxes = torch.rand(2, 3, 37, 53, generator=generator), torch.rand(40, 4, generator=generator) * 1.4 - 0.2
    call = Function(lambda *tensors: crop_and_resize(*tensors, (7, 5), extrapolation_value=-1.5))
    tensors = image, boxes, torch.arange(40) % 2
    (result,) = onnx_files.session(onnx_files.export(call, tensors, dynamo=False))(*(each.numpy() for each in tensors))
    assert np.array_equal(result, call(*tensors))


UNSUPPORTED = {
    "the maximum": (AVG, {"mode": "max"}, "mode must be 'avg' .* ONNX's maximum is of weighted pixels"),
    "checks of pooled boxes": (AVG, {"validate": True}, "validate must be False"),
    "checks of cropped boxes": (BILINEAR, {"validate": True}, "validate must be False"),
}


@pytest.mark.parametrize(("call", "options", "words"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_export_refuses_what_onnx_lacks(call, options, words):
    image = torch.rand(2, 3, 5, 7)
    with pytest.raises(ValueError, match=words):
        onnx_files.export(
            Function(functools.partial(call, **options)), (image, *call.random_boxes(image, 3)), dynamo=False
        )


def test_the_dynamo_exporter_quotes_the_refusal():
    """In its own error, which quotes the model's."""
    image = torch.rand(2, 3, 5, 7)
    call = Function(functools.partial(AVG, mode="max"))
    with pytest.raises(torch.onnx.OnnxExporterError, match="mode must be 'avg'"):
        onnx_files.export(call, (image, *AVG.random_boxes(image, 3)), dynamo=True)


def test_an_older_opset_is_refused():
    call = Function(lambda image, boxes: roi_align(image, boxes, 3))
    with pytest.raises(ValueError, match="opset_version must be 16 or newer for RoiAlign, not 11"):
        onnx_files.export(call, (torch.ones(1, 1, 5, 5), torch.zeros(1, 5)), dynamo=False, opset=11)


@pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated")
@for_calls(BILINEAR, AVG)
def test_export_and_trace_record_the_operator(call):
    image = torch.rand(2, 3, 5, 7)
    tensors = image, *call.random_boxes(image, 3)
    program = torch.export.export(Function(call), tensors)
    assert f"roi_align.{call.operator}.default" in str(program.graph)
    assert f"roi_align::{call.operator}" in str(torch.jit.trace(Function(call), tensors).graph)


@pytest.mark.filterwarnings("ignore")  # the exporter warns of its own changes to come
@for_calls(BILINEAR, AVG)
def test_an_exported_program_fails_with_the_documented_error(call):
    image = torch.rand(2, 3, 5, 7)
    program = torch.export.export(Function(call), (image, *call.random_boxes(image, 3)))
    words = rf"No ONNX function found for .*roi_align\.{call.operator}'"
    with pytest.raises(torch.onnx.OnnxExporterError, match=words):
        torch.onnx.export(program, dynamo=True, verbose=False)
