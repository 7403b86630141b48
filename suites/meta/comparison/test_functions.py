"""Comparisons of two functions: the rows of both sheets are judged, timed in fresh processes, and decided as for
revisions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torchvision", reason="the functions are torchvision's, right and wrong")

from typer.testing import CliRunner

from harness.__main__ import app
from harness.backends import load
from harness.comparison import rows, side_by_side, timing
from harness.comparison.side_by_side import Round
from harness.measuring import foreign, gate
from harness.measuring.record import Record
from harness.measuring.workloads import SMOKE
from harness.operators.sheet import Sheet
from suites.meta.comparison.quiet_medians import AGAIN, QUIET

FUNCTIONS = "suites.meta.measuring.planted"
BASE, NEW = f"{FUNCTIONS}:right", f"{FUNCTIONS}:wrong"
FORWARD = "roi_align sampling_ratio 2 seed_test forward contiguous"


def time_row(name: str, earlier: gate.Gate | None = None) -> Record:
    """The record of a process that times a function on a small workload."""
    of = f"{FUNCTIONS}:{name}"
    return timing.time_row(replace(rows.rows(["seed_test"], of)[FORWARD], workload=SMOKE), earlier, of)


def test_a_process_times_only_a_right_function() -> None:
    first = time_row("right")
    assert first.status in ("EXACT", "WITHIN")
    assert len(first.samples) >= timing.BUDGET.least
    assert time_row("right", gate.stored_in(first)).samples
    assert time_row("right", gate.Gate("EXACT", True, digest="other bits")).status == "DIFFERS"
    for name, status in (("wrong", "OUT"), ("ends", "CRASH"), ("keeps", "OUT"), ("writes", "BROKEN")):
        record = time_row(name)
        assert (record.status, record.samples) == (status, ()), name
        assert ("The last timed call" in record.message) == (name == "keeps")


def test_rows_follow_the_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = Sheet("roi_align", ("forward", "grad_boxes"), image_dtypes=("float32", "float16"))
    monkeypatch.setattr(foreign, "apart", lambda name: replace(load("reference", "roi_align"), sheet=sheet))
    names = [
        f"roi_align maximum seed_test {way} contiguous{of}"
        for of in ("", " float16")
        for way in ("forward", "grad_boxes")
    ]
    assert list(rows.rows(["seed_test"], "a:b", ["maximum"])) == names


def test_two_functions_are_measured_in_processes_of_their_own() -> None:
    comparison = side_by_side.measure({"base": BASE, "new": NEW}, [FORWARD], 1, lambda side: None)
    assert [row.backend for side in ("base", "new") for row in comparison.answers[side][0]] == [BASE, NEW]
    assert comparison.answers["base"][0][0].samples
    assert list(comparison.problems()) == [(FORWARD, "new")]
    assert comparison.problems()[FORWARD, "new"].startswith("OUT: ")


@pytest.mark.parametrize(("factor", "verdict", "code"), [(1.0, "SAME", 0), (1.15, "SLOW", 1), (0.85, "FAST", 0)])
def test_functions_are_decided_like_revisions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, factor: float, verdict: str, code: int
) -> None:
    def measure(at: Any, names: Any, processes: int, tell: Any) -> Round:
        assert at == {"base": BASE, "new": NEW}
        assert list(names) == [FORWARD]  # only the base has the gradient

        def row(median: float) -> list[Record]:
            record = rows.rows(["seed_test"], BASE)[FORWARD].record()
            return [replace(record, status="EXACT", digest="bits", interruptions=0, samples=(median,))]

        sides = {"base": [row(each) for each in QUIET], "new": [row(each * factor) for each in AGAIN]}
        return Round(sides, side_by_side.sides_in_order(len(QUIET)), [{"before": {"load": 0.0}, "after": {}}], 1.0)

    monkeypatch.setattr(side_by_side, "BUILD", tmp_path)
    monkeypatch.setattr(side_by_side, "measure", measure)
    result = CliRunner().invoke(app, ["compare", BASE, NEW, "--workload", "seed_test", "--fail-on", "slow"])
    assert result.exit_code == code, result.output
    assert verdict in result.output
    assert f"lacking   {FORWARD.replace('forward', 'grad_image')}: only the base side declares it" in result.output
    assert next((tmp_path / "runs").glob("*.json")).exists()


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ((BASE, "."), f"{BASE} is a function, and the other side is not"),
        (("main", f"{FUNCTIONS}:nothing"), f"{FUNCTIONS}:nothing is a function, and the other side is not"),
        ((BASE, f"{FUNCTIONS}:nothing"), f"{FUNCTIONS} has no 'nothing'"),
    ],
)
def test_functions_that_cannot_be_compared_exit_with_a_message(names: tuple[str, str], sentence: str) -> None:
    result = CliRunner().invoke(app, ["compare", *names])
    assert result.exit_code == 2
    assert sentence in result.output


def test_a_revision_without_git_exits_with_a_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(app, ["compare", "main", "."])
    assert result.exit_code == 2
    assert (
        "There is no revision 'main' here: git cannot be run (No such file or directory). Install git" in result.output
    )
