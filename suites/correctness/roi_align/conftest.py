"""The tests in this folder test roi_align only."""

import pytest

from harness.operators.sheet import OperatorName


@pytest.fixture
def operator() -> OperatorName:
    return "roi_align"
