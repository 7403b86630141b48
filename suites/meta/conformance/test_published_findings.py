"""The published findings: each snippet still shows the page's output."""

from __future__ import annotations

import math
from importlib.util import find_spec

import pytest

from harness.backends.peers.programs import output
from harness.measuring import findings
from harness.repository import FINDINGS, RESULTS

# The libraries of the dependency group `peers`, by module.
MODULES = {
    "openvino": "openvino",
    "ncnn": "ncnn",
    "mnn": "MNN",
    "opencv": "cv2",
    "jax": "jax",
    "keras_hub": "keras_hub",
}
REPRODUCIBLE = {
    (each.backend, each.operator, each.status, each.direction): each
    for each in findings.read(RESULTS / FINDINGS)
    if each.backend in MODULES and each.snippet
}


def number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def test_several_libraries_have_findings() -> None:
    assert len({backend for backend, *_ in REPRODUCIBLE}) >= 4


@pytest.mark.parametrize("finding", REPRODUCIBLE.values(), ids=["-".join(each) for each in REPRODUCIBLE])
def test_a_snippet_reproduces_its_output(finding: findings.Finding) -> None:
    if find_spec(MODULES[finding.backend]) is None:
        pytest.skip(f"{finding.backend} is not installed; `make peers` installs it")
    again, before = number(output(finding.backend, finding.operator, finding.snippet)), number(finding.output)
    if before is None:
        assert again is None, "it raises no more"
    elif math.isnan(before):
        assert again is not None
        assert math.isnan(again)
    else:
        assert again == before
