"""With --json a verb prints its result for a program on standard output, and everything else on standard error."""

from __future__ import annotations

import concurrent.futures
import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pandas", reason="reading results needs pandas")

import typer.main
from typer.testing import CliRunner

from harness import repository
from harness.__main__ import app
from harness.backends.peers import installing
from harness.conformance import kills, processes, speed
from harness.conformance.cells import Cell
from harness.conformance.jobs import JobResult
from harness.repository import ROOT
from harness.verbs import publish
from suites.meta.comparison.quiet_medians import AGAIN, QUIET
from suites.meta.comparison.stored_runs import Folder, row
from suites.meta.report.judged_libraries import cells, confirmed, failure

# The fields of each verb's object, as the page says.
DOCUMENTED = {
    verb: re.findall(r"`(\w+)`", fields)
    for verb, fields in re.findall(
        r"^\| `(\w+)` \| (`.*) \|$", (ROOT / "docs" / "suites.md").read_text("utf-8"), re.MULTILINE
    )
}
CASE = "Case(shape=(1, 1, 4, 5), boxes=((0.1, 0.2, 0.7, 0.9),), box_indices=(0,), crop_size=(2, 3))"


def answered(*arguments: object) -> tuple[int, Any, str]:
    """The exit code, the JSON of standard output, and what standard error has for people."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    answer = json.loads(result.stdout)
    assert [*answer] == DOCUMENTED[str(arguments[0])]
    return result.exit_code, answer, result.stderr


def test_every_verb_that_has_json_is_documented() -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert [*DOCUMENTED] == sorted(
        name for name, verb in verbs.items() if "as_json" in {each.name for each in verb.params}
    )


@pytest.mark.parametrize(("factor", "verdict", "code"), [(1.0, "SAME", 0), (1.15, "SLOW", 1)])
def test_a_comparison_is_json_and_a_slow_row_is_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, factor: float, verdict: str, code: int
) -> None:
    monkeypatch.setattr(repository, "RESULTS", tmp_path)
    folder = Folder(tmp_path)
    base = folder.store("a", row(QUIET))
    new = folder.store("b", row([median * factor for median in AGAIN]))
    exit_code, answer, messages = answered("compare", base, new, "--fail-on", "slow")
    assert exit_code == code
    assert (answer["base"], answer["new"], answer["worse"]) == (base, new, factor > 1)
    (only,) = answer["rows"]
    assert (only["row"], only["verdict"]) == ("crop_and_resize w forward roi_align contiguous", verdict)
    assert only["interval"][0] <= only["ratio"] <= only["interval"][1]
    assert only["ratio"] == pytest.approx(factor, rel=0.02)
    assert "verdict" in messages, "the table is for people"


def test_a_number_that_json_lacks_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    publish({"ratio": float("nan"), "pair": (1, float("inf")), "at": Path("a")})
    assert json.loads(capsys.readouterr().out) == {"ratio": None, "pair": [1, None], "at": "a"}


def test_a_verb_that_cannot_answer_prints_no_json() -> None:
    result = CliRunner().invoke(app, ["compare", "nobodys-revision", ".", "--json"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "There is no revision 'nobodys-revision' here" in result.stderr
    # The next verb of this process speaks to people again.
    assert "There is no revision" in CliRunner().invoke(app, ["compare", "nobodys-revision", "."]).stdout


@pytest.mark.parametrize(("backend", "status", "code"), [("reference", "WITHIN", 0), ("fault:swapped_axes", "OUT", 1)])
def test_a_verdict_is_json(backend: str, status: str, code: int) -> None:
    exit_code, answer, messages = answered("judge", "--backend", backend, CASE)
    assert exit_code == code
    assert (answer["status"], answer["passed"], answer["case"]) == (status, code == 0, CASE)
    assert (answer["place"] is None) == (code == 0)
    if code:
        assert abs(answer["value"] - answer["expected"]) > answer["bound"]
    assert status in messages


@pytest.mark.parametrize("status", ["pass", "fail"])
def test_cells_are_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: Any) -> None:
    cell = Cell(
        *("roi_align", "boxes inside", "forward", "roi_align", "cpu-here", status, True),
        *(3, 0, 0.5, "RoiCase(...)", "as planted", "roi_align 1", "torch 2", ""),
    )
    monkeypatch.setattr(processes, "run", lambda jobs, tell, on_end: [JobResult(jobs[0], (cell,))])
    arguments = ("conformance", "--backend", "roi_align", "--operator", "roi_align", "--table", tmp_path / "t.csv")
    code, answer, _ = answered(*arguments, "--fail-on", "fail")
    assert code == (status == "fail")
    assert [each["status"] for each in answer["cells"]] == [status]
    assert (answer["problems"], answer["table"]) == ([], str(tmp_path / "t.csv"))


def test_times_are_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    of = ("roi_align", "w", "forward")
    times = [
        speed.Time(*of, "torchvision", "torchvision 1", "cpu", "ok", "", 2.0, 1.9, 2.2, 5),
        speed.Time(*of, "openvino", "OpenVINO 1", "cpu", "wrong", "as planted"),
    ]
    monkeypatch.setattr(speed, "times", lambda *arguments: times)
    code, answer, messages = answered("speed", "--operator", "roi_align", "--table", tmp_path / "t.csv")
    assert code == 0
    assert [(each["backend"], each["status"], each["ms"]) for each in answer["times"]] == [
        ("torchvision", "ok", 2.0), ("openvino", "wrong", None),
    ]  # fmt: skip
    assert "2.000 ms (1.900 to 2.200)" in messages


@pytest.mark.parametrize("outcome", ["killed", "survived"])
def test_planted_faults_are_json_and_a_survivor_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, outcome: str
) -> None:
    def row_of(name: str) -> list[kills.Attempt]:
        first = outcome == "killed"
        return [
            kills.Attempt(name, "reference", "crop_and_resize", "forward", "a check", outcome, first, 3, "OUT", "why")
        ]

    monkeypatch.setattr(kills, "row_of", row_of)
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", concurrent.futures.ThreadPoolExecutor)
    code, answer, _ = answered("mutants", "--fault", "swapped_axes")
    assert code == (outcome == "survived")
    assert answer["faults"] == ["swapped_axes"]
    assert [each["outcome"] for each in answer["attempts"]] == [outcome]
    assert answer["survivors"] == ([{"fault": "swapped_axes", "direction": "forward"}] if code else [])


def test_reports_of_findings_are_json(tmp_path: Path) -> None:
    cells(tmp_path, failure())
    confirmed(tmp_path, {})
    code, answer, messages = answered("findings", tmp_path, "--folder", tmp_path / "reports")
    assert code == 0
    assert [Path(each).parent for each in answer["reports"]] == [tmp_path / "reports"]
    assert (answer["problems"], answer["unconfirmed"]) == ([], 0)
    assert "Nothing was sent." in messages


def test_environments_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "make", lambda environment, tell: environment.name != "tvm")
    code, answer, _ = answered("peers", "paddle", "tvm")
    assert code == 1
    assert answer == {"environments": {"paddle": True, "tvm": False}}
