"""The libraries of the matrix: each has a title, is correct in a plain case, and its snippet reproduces that result."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import pytest

from harness.backends import PEERS
from harness.backends.peers.programs import output
from harness.backends.peers.snippets import MOST_LINES
from harness.judging.isolation import isolated
from harness.operators.crop_and_resize.case import Case
from harness.operators.implementation import Backend
from harness.operators.judgement import judge
from harness.operators.roi_align.case import RoiCase
from harness.operators.sheet import OperatorName
from harness.repository import MissingLibrary

# Boxes inside of the image and a fixed grid, which every library supports.
PLAIN = {
    "roi_align": RoiCase((2, 2, 5, 6), ((1, 0.5, 1.25, 4.5, 3.75), (0, 1, 0.5, 4, 3)), (2, 3), sampling_ratio=2),
    "crop_and_resize": Case((2, 2, 5, 6), ((0.1, 0.2, 0.8, 0.9), (0.25, 0.0, 0.75, 1.0)), (1, 0), (2, 3)),
}
# keras-hub raises for every map or size that is not square, as the matrix says, and has only an adaptive grid.
SQUARE = RoiCase((2, 2, 6, 6), ((1, 0.5, 1.25, 4.5, 3.75), (0, 1, 0.5, 4, 3)), (2, 2), sampling_ratio=0)
# The packages of the libraries in this environment.
PACKAGES = {
    "openvino": "openvino",
    "ncnn": "ncnn",
    "mnn": "mnn",
    "opencv": "opencv-python-headless",
    "onnx_reference": "onnx",
    "jax": "jax",
    "keras_hub": "keras-hub",
}
# Wrong in this case too, as the matrix says: the gradient has another rule than the forward.
WRONG = {("roi_align", "mindspore", "grad_image")}
EVERYBODY = [(operator, name) for operator in PEERS for name in PEERS[operator]]


def library(operator: OperatorName, name: str) -> Backend[Any]:
    """The matrix's backend, or a skip if its library is missing."""
    try:
        return isolated(name, operator)
    except MissingLibrary as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize(("operator", "name"), EVERYBODY)
def test_a_plain_case_is_right_and_its_snippet_reproduces_it(operator: OperatorName, name: str) -> None:
    backend = library(operator, name)
    assert backend.name == name
    assert backend.sheet.operator == operator
    if name in PACKAGES:
        assert backend.sheet.version == version(PACKAGES[name])
    assert backend.sheet.version in backend.title
    inputs = (SQUARE if name == "keras_hub" else PLAIN[operator]).inputs()
    for direction in backend.sheet.directions:
        result = backend.run(inputs, direction)
        verdict = judge(inputs, direction, result, pinned=False)
        assert verdict.passed is ((operator, name, direction) not in WRONG), f"{direction}: {verdict}"
        assert backend.snippet is not None
        index = tuple(int(axis) for axis in np.unravel_index(np.argmax(np.abs(result)), result.shape))
        snippet = backend.snippet(inputs, direction, index)
        assert len(snippet.splitlines()) <= MOST_LINES
        # JAX's compiled function may round differently from its parts, by a few units in the last place.
        off = 3e-6 * abs(float(result[index])) if name == "jax" else 0.0
        assert abs(np.float32(output(name, operator, snippet)) - np.float32(result[index])) <= off
    backend.restart()


def test_a_snippet_of_another_call_prints_another_number() -> None:
    backend, inputs = library("roi_align", "onnx_reference"), PLAIN["roi_align"].inputs()
    assert backend.snippet is not None
    text = output("onnx_reference", "roi_align", backend.snippet(inputs, "forward", (1, 1, 1, 2)))
    result = backend.run(inputs, "forward")
    assert np.float32(text) == result[1, 1, 1, 2] != result[0, 1, 1, 2]
