"""The tests in this folder are about roi_align alone."""

import pytest

from harness.operators.sheet import OperatorName


@pytest.fixture
def operator() -> OperatorName:
    return "roi_align"
