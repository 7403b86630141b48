"""The libraries of the matrix: each says what it is, is right in a plain case, and its snippet says the same alone."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends import PEERS, interpreter
from harness.backends.peers.snippets import MOST_LINES
from harness.judging.isolation import isolated
from harness.operators.arrays import crops_dtype
from harness.operators.crop_and_resize.case import Case
from harness.operators.implementation import Backend
from harness.operators.judgement import judge
from harness.operators.roi_align.case import RoiCase
from harness.operators.sheet import OperatorName
from harness.repository import MissingLibrary

# Boxes inside of the image and a fixed grid: what every library is made for.
PLAIN = {
    "roi_align": RoiCase((2, 2, 5, 6), ((1, 0.5, 1.25, 4.5, 3.75), (0, 1, 0.5, 4, 3)), (2, 3), sampling_ratio=2),
    "crop_and_resize": Case((2, 2, 5, 6), ((0.1, 0.2, 0.8, 0.9), (0.25, 0.0, 0.75, 1.0)), (1, 0), (2, 3)),
}
# The packages of those that live beside torch.
PACKAGES = {
    "openvino": "openvino",
    "ncnn": "ncnn",
    "mnn": "mnn",
    "opencv": "opencv-python-headless",
    "onnx_reference": "onnx",
    "jax": "jax",
}
EVERYBODY = [(operator, name) for operator in PEERS for name in PEERS[operator]]


def library(operator: OperatorName, name: str) -> Backend[Any]:
    """The backend as the matrix has it; a skip where its library is not here."""
    try:
        return isolated(name, operator)
    except MissingLibrary as missing:
        pytest.skip(str(missing))
    except ModuleNotFoundError as error:  # until the files of all of them are here
        pytest.skip(str(error))
    except RuntimeError as error:
        if "ModuleNotFoundError: No module named 'harness.backends.peers." not in str(error):
            raise
        pytest.skip(str(error))


# A worker in another interpreter that could not load its library is ended where nobody waits for it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("operator", "name"), EVERYBODY)
def test_a_plain_case_is_right_and_the_snippet_shows_it_alone(
    operator: OperatorName, name: str, tmp_path: Path
) -> None:
    backend = library(operator, name)
    assert backend.name == name
    assert backend.sheet.operator == operator
    if name in PACKAGES:
        assert backend.sheet.version == version(PACKAGES[name])
    assert backend.sheet.version in backend.title
    inputs = PLAIN[operator].inputs()
    for direction in backend.sheet.directions:
        got = backend.run(inputs, direction)
        verdict = judge(inputs, direction, got, pinned=False)
        assert verdict.passed, f"{direction}: {verdict}"
        assert backend.snippet is not None
        index = tuple(int(axis) for axis in np.unravel_index(np.argmax(np.abs(got)), got.shape))
        snippet = backend.snippet(inputs, direction, index)
        assert len(snippet.splitlines()) <= MOST_LINES
        # What is compiled as one may round otherwise than piece by piece, by a few units in the last place.
        assert float(printed(snippet, name, operator, tmp_path)) == pytest.approx(float(got[index]), rel=3e-6)
    backend.restart()


def test_a_snippet_of_another_call_prints_another_number(tmp_path: Path) -> None:
    backend, inputs = library("roi_align", "onnx_reference"), PLAIN["roi_align"].inputs()
    assert backend.snippet is not None
    printed_there = printed(backend.snippet(inputs, "forward", (1, 1, 1, 2)), "onnx_reference", "roi_align", tmp_path)
    got = backend.run(inputs, "forward")
    assert np.array(printed_there, crops_dtype("float32")) == got[1, 1, 1, 2] != got[0, 1, 1, 2]


def printed(snippet: str, name: str, operator: OperatorName, folder: Path) -> str:
    """The last line that a snippet prints, in an empty folder and without this project."""
    python = ["node", "-e"] if name.startswith("tfjs") else [str(interpreter(name, operator) or sys.executable), "-c"]
    alone = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run([*python, snippet], cwd=folder, env=alone, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()[-1]
