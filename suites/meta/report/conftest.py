"""The tests in this folder read results and make reports: where a library for that is missing they are skipped."""

import pytest


def pytest_pycollect_makemodule() -> None:
    """Skips before a test module is imported, since the modules import these libraries."""
    pytest.importorskip("pandas", reason="reading results needs pandas")
    pytest.importorskip("jinja2", reason="a report needs jinja2")
    pytest.importorskip("matplotlib", reason="a report needs matplotlib")
