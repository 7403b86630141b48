"""The summary counts all comparisons of a run, in one process or in several of pytest-xdist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_SUITE = """
import pytest

@pytest.mark.parametrize("k", range(6))
def test_some(tally, k):
    tally.bits("crops", 10, int(k == 3))
    tally.bound("gradients", k / 10)
"""


@pytest.mark.parametrize("processes", [0, 2])
def test_the_summary_counts_the_comparisons_of_every_process(
    processes: int, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    if processes:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed: there are no other processes")
    (tmp_path / "test_some.py").write_text(_SUITE, encoding="utf-8")
    # Each worker has its own share, three tests each.
    workers = ["-n", str(processes), "--dist", "worksteal"] if processes else []
    command = [sys.executable, "-m", "pytest", "-c", str(pytestconfig.rootpath / "pyproject.toml"), "-p", "conftest"]
    process = subprocess.run(
        [*command, str(tmp_path), "--backend", "reference", *workers],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert "crops: 60 values in 6 cases, 1 differ in any bit" in process.stdout
    assert "gradients: 6 cases, largest fraction of the oracle's bound used 0.5" in process.stdout
