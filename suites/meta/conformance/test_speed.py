"""Times of libraries side by side: only correct results have a time, and slow calls are abandoned."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from harness.conformance import speed
from harness.measuring.workloads import SMOKE
from harness.operators import OPERATORS
from harness.report.libraries import timings

MODULE = """
import os, time, torch, torchvision

def right(*arguments):
    return torchvision.ops.roi_align(*arguments)

def wrong(*arguments):
    return right(*arguments) * 1.01

def late(*arguments):
    late.calls = getattr(late, "calls", 0) + 1
    if late.calls > 3:
        os.kill(os.getpid(), 11)
    return right(*arguments)

def sleeps(*arguments):
    time.sleep(600)

for each in (right, wrong, late, sleeps):
    each.sheet = {"operator": "roi_align", "same_dtype": True}
"""


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], speed.Time]:
    """The rows of the planted functions, by function and direction."""
    (tmp_path / "timed.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(speed, "_workloads", lambda operator: [(SMOKE, OPERATORS[operator].settings[0])])
    monkeypatch.setattr(speed, "PATIENCE_S", 6.0)
    names = [f"timed:{each}" for each in ("right", "wrong", "late", "sleeps")]
    messages: list[str] = []
    times = speed.times([*names, "roi_align_cuda"], ["roi_align"], messages.append)
    assert any(each.startswith("roi_align_cuda, roi_align: missing: ") for each in messages)
    path = tmp_path / "times.csv"
    speed.write(path, times)
    with path.open(encoding="utf-8", newline="") as stream:
        assert [line["status"] for line in csv.DictReader(stream)] == [each.status for each in times]
    return {(each.backend, each.direction): each for each in times}


def test_only_right_results_have_a_time(rows: dict[tuple[str, str], speed.Time]) -> None:
    right = rows["timed:right", "forward"]
    assert (right.status, right.blocks) == ("ok", speed.BLOCKS)
    assert right.ms_low is not None
    assert 0 < right.ms_low <= right.ms <= right.ms_high
    assert right.workload == "smoke, sampling_ratio 2"
    undeclared = rows["timed:right", "grad_image"]
    assert (undeclared.status, undeclared.reason, undeclared.ms) == ("undeclared", "grad_image is not declared", None)
    wrong = rows["timed:wrong", "forward"]
    assert (wrong.status, wrong.ms) == ("wrong", None)
    assert "times the bound was used" in wrong.reason
    late = rows["timed:late", "forward"]
    assert (late.status, late.ms) == ("crash", None)
    assert "SIGSEGV" in late.reason
    assert rows["timed:sleeps", "forward"].status == "slow"


def test_the_page_reads_the_stored_columns() -> None:
    assert speed.CSV_COLUMNS == timings.CSV_COLUMNS
    assert {"wrong", "crash", "slow", "undeclared"} <= set(timings.WORDS)
