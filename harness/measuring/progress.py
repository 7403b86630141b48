"""A pytest plugin that reports a run's progress to another process.

`python -m harness bench` loads it into its child (`-p harness.measuring.progress`) and reads a line of JSON per event
from the pipe that the child's settings name. Parsing what pytest prints for people would break with its next
release.
"""

from __future__ import annotations

import json
import os

import pytest

from harness.measuring import settings


def pytest_collection_finish(session: pytest.Session) -> None:
    _tell({"total": len(session.items)})


def pytest_runtest_logstart(nodeid: str) -> None:
    _tell({"begins": nodeid.partition("[")[2].rstrip("]")})


def pytest_runtest_logfinish(nodeid: str) -> None:
    _tell({"done": 1})


def _tell(event: dict[str, object]) -> None:
    pipe = settings.read().progress
    if pipe is not None:
        os.write(pipe, (json.dumps(event) + "\n").encode())
