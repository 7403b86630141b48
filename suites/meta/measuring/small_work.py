"""A pytest plugin (`-p suites.meta.measuring.small_work`): a smoke test's workload in the place of all others.

A whole run takes seconds then.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.measuring import columns, workloads

SMALL = replace(workloads.SMOKE, name="small")


def pytest_configure(config: Any) -> None:
    columns.WORKLOADS = (SMALL,)
