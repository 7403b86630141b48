"""A pytest plugin that logs each test's start and each failure, so that a crash can be attributed to a test.

pytest -p harness.faults.package.first_failure --first-failure-log=PATH
"""

from __future__ import annotations

import json
import sys

import hypothesis
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--first-failure-log", required=True, metavar="PATH")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Log(config.getoption("--first-failure-log")))
    # Only whether an example fails matters: nothing is shrunk or stored.
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("first_failure", hypothesis.settings(), phases=phases, database=None)
    hypothesis.settings.load_profile("first_failure")


class _Log:
    def __init__(self, path: str) -> None:
        self.path = path

    def write(self, **event: str | None) -> None:
        with open(self.path, "a", encoding="utf-8") as log:
            print(json.dumps(event), file=log)

    def pytest_collection_finish(self) -> None:
        package = sys.modules.get("roi_align")
        self.write(roi_align=getattr(package, "__file__", None))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.write(begins=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # An error outside the test itself, in a fixture, is no verdict on the package.
        if report.failed and report.when == "call":
            self.write(fails=report.nodeid)
