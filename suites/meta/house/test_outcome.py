"""What the terminal says at the end of a test run, with and without pytest-xdist."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suites import outcome


def reports(*names: str) -> list[Any]:
    return [SimpleNamespace(nodeid=name) for name in names]


def skips(*reasons: str) -> list[Any]:
    return [SimpleNamespace(longrepr=("a.py", 1, f"Skipped: {reason}")) for reason in reasons]


@pytest.mark.parametrize(
    ("stats", "subject", "says"),
    [
        ({}, "", []),
        ({"passed": reports("a")}, "", ["All 1 test passed."]),
        ({"passed": reports(*"ab"), "xfailed": reports("c")}, "", ["All 3 tests passed."]),
        ({"passed": reports(*"ab")}, "my kernel", ["my kernel passes all 2 tests."]),
        ({"passed": reports("a"), "failed": reports("b::c")}, "k", ["k fails 1 of 2 tests.", "  failed: b::c"]),
        ({"error": reports("b")}, "", ["1 of 1 test failed.", "  failed: b"]),
        (
            {"passed": reports("a"), "skipped": skips("no GPU", "no\n GPU", "Skipping non-benchmark (--x)", "no TVM")},
            "",
            ["All 1 test passed; 3 were skipped:", "     2  no GPU", "     1  no TVM"],
        ),
        ({"skipped": skips("no GPU")}, "", ["No test ran; 1 was skipped:", "     1  no GPU"]),
    ],
)
def test_the_result_is_a_sentence(stats: dict[str, list[Any]], subject: str, says: list[str]) -> None:
    assert outcome.sentences(stats, subject) == says


def test_many_failures_and_reasons_are_counted() -> None:
    stats = {"failed": reports(*"abcdefg"), "skipped": skips(*"aabbccddeefg")}
    lines = outcome.sentences(stats, interrupted=True)
    assert lines[:2] == [
        "The run was interrupted: this is about the tests that had ended.", "7 of 7 tests failed; 12 were skipped:",
    ]  # fmt: skip
    assert lines[7] == "  and 2 more"
    assert lines[-1] == "     2  for 2 other reasons, which -rs lists"


TESTS = """
import pytest
def test_right(): pass
@pytest.mark.skip(reason="as planted")
def test_left_out(): pass
def test_wrong(): assert RIGHT
"""


@pytest.mark.parametrize("more", [(), ("--numprocesses=2",)], ids=["one process", "pytest-xdist"])
@pytest.mark.parametrize(("right", "says"), [("True", "All 2 tests passed;"), ("False", "1 of 2 tests failed;")])
def test_a_run_ends_with_its_result(
    tmp_path: Path, pytestconfig: pytest.Config, right: str, says: str, more: tuple[str, ...]
) -> None:
    if more:
        pytest.importorskip("xdist", reason="it runs tests in several processes")
    (tmp_path / "test_planted.py").write_text(TESTS.replace("RIGHT", right), encoding="utf-8")
    root = pytestconfig.rootpath
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"),
        *("-c", str(root / "pyproject.toml"), str(tmp_path / "test_planted.py"), *more),
    ]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    process = subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert process.returncode == (right == "False"), process.stdout + process.stderr
    lines = process.stdout.splitlines()
    (place,) = [at for at, line in enumerate(lines) if "the result" in line]
    assert lines[place + 1] == f"{says} 1 was skipped:"
    assert "     1  as planted" in lines[place + 2 : place + 4]
