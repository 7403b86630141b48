"""A whole Mask R-CNN of torchvision, with this package's poolers, is exported and computes what it did before.

torchvision's own code stops torch.export at the first size that depends on the data. docs/deploying.md replaces the
three functions that need such a size; the replacements are run from there.
"""

from __future__ import annotations

import importlib
import re
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("torchvision", reason="the detector is torchvision's")
pytest.importorskip("skimage", reason="the photograph is scikit-image's")

from torch import nn
from torchvision.models.detection import _utils, transform
from torchvision.ops import boxes

from harness.detectors import models

pytestmark = [
    pytest.mark.package,
    pytest.mark.cpu,
    pytest.mark.filterwarnings("ignore:`create_unbacked_symint` is deprecated"),  # torchvision's nms calls it
]
PAGE = Path(__file__).parents[3] / "docs" / "deploying.md"
REPLACED = {"batched_nms": boxes, "decode": _utils.BoxCoder, "paste_masks_in_image": transform}


class Detections(nn.Module):
    def __init__(self, detector):
        super().__init__()
        self.detector = detector

    def forward(self, image):
        (detections,) = self.detector([image])
        return detections["boxes"], detections["labels"], detections["scores"], detections["masks"]


def small(change=models.with_roi_align):
    """A small Mask R-CNN, and an image for it."""
    model = Detections(change(models.detector("small Mask R-CNN"))).eval()
    model.detector.transform.min_size = (96,)
    (image,) = [each[:, 100:260, 100:300] for each in models.images(["astronaut"])]
    return model, image


def results(model, image):
    with torch.no_grad():
        return [each.numpy() for each in model(image)]


def check(result, expected):
    for one, other in zip(result, expected, strict=True):
        assert one.shape == other.shape
        assert np.allclose(one, other, rtol=1e-3, atol=1e-3)


def needs_onnx():
    """onnx_files, or a skip."""
    pytest.importorskip("onnxscript", reason="the exporters need onnx and onnxscript")
    pytest.importorskip("onnxruntime", reason="the files are run by ONNX Runtime")
    return importlib.import_module("suites.correctness.deploying.onnx_files")


class Branch(nn.Module):
    """A branch of the heads, from the maps of an image to its outputs; the pooler infers the scales of the maps."""

    def __init__(self, heads, name):
        super().__init__()
        self.pool, self.head, self.predictor = (getattr(heads, part) for part in models.BRANCHES[name])

    def forward(self, *tensors):
        image, *maps, boxes = tensors
        pooled = self.pool({str(level): each for level, each in enumerate(maps)}, [boxes], [image.shape[-2:]])
        return self.predictor(self.head(pooled))


def inputs_of_branch(height, width, count):
    """An image of this many times 32 pixels, its maps and its boxes."""
    image = torch.rand(1, 3, 32 * height, 32 * width)
    maps = [torch.rand(1, 64, image.shape[2] >> level, image.shape[3] >> level) for level in range(2, 6)]
    corner = torch.rand(count, 2) * 30
    return image, *maps, torch.cat([corner, corner + 1 + torch.rand(count, 2) * 200], dim=1)


def outputs(result):
    return [each.detach().numpy() for each in (result if isinstance(result, tuple) else (result,))]


@pytest.mark.parametrize("name", ["box", "mask"])
def test_a_branch_takes_any_number_of_boxes_and_maps_of_any_size(name):
    branch = Branch(small()[0].detector.roi_heads, name)
    height, width = torch.export.Dim("height"), torch.export.Dim("width")
    sizes = [{2: side * height, 3: side * width} for side in (32, 8, 4, 2, 1)]
    program = torch.export.export(
        branch, inputs_of_branch(4, 5, 9), dynamic_shapes=((*sizes, {0: torch.export.Dim.DYNAMIC}),)
    )
    for selection in ((4, 5, 9), (3, 7, 2), (6, 3, 0)):
        tensors = inputs_of_branch(*selection)
        check(outputs(program.module()(*tensors)), outputs(branch(*tensors)))


@pytest.mark.parametrize("name", ["box", "mask"])
def test_a_branch_is_a_file(name):
    onnx_files = needs_onnx()
    branch = Branch(small()[0].detector.roi_heads, name)
    run = onnx_files.session(onnx_files.export(onnx_files.Function(branch), inputs_of_branch(4, 5, 9), dynamo=True))
    for selection in ((4, 5, 9), (3, 7, 2), (6, 3, 0)):
        tensors = inputs_of_branch(*selection)
        check(run(*(each.numpy() for each in tensors)), outputs(branch(*tensors)))


@pytest.fixture
def replace(monkeypatch):
    """A function that runs the page's replacements, all but one of them if it has its name."""

    def install(but=None):
        (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        own = {name: getattr(place, name) for name, place in REPLACED.items()}
        for name, place in REPLACED.items():
            monkeypatch.setattr(place, name, own[name])  # restores it after the test
        exec(compile(code, str(PAGE), "exec"), {})
        assert all(getattr(place, name) is not own[name] for name, place in REPLACED.items())
        if but:
            setattr(REPLACED[but], but, own[but])

    return install


def test_the_replacements_compute_what_torchvisions_functions_do(replace):
    """For boxes of two classes that overlap, and in the whole model."""
    model, image = small()
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(60, 2, generator=generator) * 20
    rows = torch.cat([corner, corner + 20], dim=1), torch.rand(60, generator=generator), torch.arange(60) % 2, 0.5
    kept, expected = boxes.batched_nms(*rows), results(model, image)
    replace()
    assert torch.equal(boxes.batched_nms(*rows), kept)
    check(results(model, image), expected)


@pytest.mark.parametrize("name", REPLACED)
def test_torchvisions_own_function_stops_the_export(replace, name):
    """A function that no torch stops at any more can be removed from the page."""
    model, image = small()
    replace(but=name)
    if name == "decode" and torch.__version__ >= (2, 14):
        torch.export.export(model, (image,))
        return
    with pytest.raises(Exception, match="data-dependent") as error:
        torch.export.export(model, (image,))
    assert name in [frame.name for frame in traceback.extract_tb(error.value.__traceback__)]


def test_torchvisions_own_mask_rcnn_stops_the_export_too():
    """At the same function, the first of the three."""
    model, image = small(change=lambda detector: detector)
    with pytest.raises(Exception, match="data-dependent") as error:
        torch.export.export(model, (image,))
    assert "batched_nms" in [frame.name for frame in traceback.extract_tb(error.value.__traceback__)]


# From this score on, the model finds several objects in the image, one in its mirror image and none in a white one.
SOME = 0.349


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # torch's own, where it loads a program
def test_a_whole_mask_rcnn_is_an_exported_program(replace, tmp_path):
    """torchvision's nms tells torch.export that it returns two boxes or more, so a program raises for fewer."""
    model, image = small()
    model.detector.roi_heads.score_thresh = SOME
    expected = results(model, image)
    assert len(expected[0]) > 1
    replace()
    torch.export.save(torch.export.export(model, (image,)), tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2")
    assert str(program.graph).count("roi_align.roi_align.default") == 2
    check(results(program.module(), image), expected)
    with pytest.raises(RuntimeError, match=r"Runtime assertion failed for expression u\d+ >= 2"):
        program.module()(torch.ones_like(image))


@pytest.mark.parametrize("dynamo", [False, True], ids=["traced", "dynamo"])
def test_a_whole_mask_rcnn_is_a_file(replace, dynamo):
    """The tracing exporter needs no replacements, and its file takes images of another size."""
    onnx_files = needs_onnx()
    model, image = small()
    images = [image, image[:, 20:, :150].clone()]
    if dynamo:
        model.detector.roi_heads.score_thresh = SOME
        images = [image, image.flip(2), torch.ones_like(image)]
    expected = [results(model, each) for each in images]
    counts = [len(boxes) for boxes, *_ in expected]
    assert counts[0] > 1
    assert not dynamo or counts[1:] == [1, 0]
    if dynamo:
        replace()
    file = onnx_files.export(model, (image,), dynamo=dynamo, one_size=dynamo)
    assert len(onnx_files.nodes(file, "RoiAlign")) == 8
    run = onnx_files.session(file)
    for each, of in zip(images, expected, strict=True):
        check(run(each.numpy()), of)
