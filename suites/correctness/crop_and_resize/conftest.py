"""The tests in this folder test crop_and_resize only."""

import pytest

from harness.operators.sheet import OperatorName


@pytest.fixture
def operator() -> OperatorName:
    return "crop_and_resize"
