"""A pytest plugin (`-p suites.meta.measuring.small_work`): replaces all workloads by the smoke test's.

A whole run then takes seconds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.measuring import columns, workloads

SMALL = replace(workloads.SMOKE, name="small")


def pytest_configure(config: Any) -> None:
    columns.WORKLOADS = (SMALL,)
