"""The tests in this folder are about crop_and_resize alone."""

import pytest

from harness.operators.sheet import OperatorName


@pytest.fixture
def operator() -> OperatorName:
    return "crop_and_resize"
