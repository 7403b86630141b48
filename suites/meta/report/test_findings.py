"""findings.json, and the reports that are made of it: what is accepted, what a report says, and that none is stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.__main__ import app
from harness.measuring.findings import is_confirmed
from harness.report.libraries import FINDINGS, cases, findings, markdown
from suites.meta.report.judged_libraries import (
    CELL,
    FINDING,
    LINE,
    OUTSIDE,
    SMALLER,
    cell_of,
    cells,
    confirmed,
    failure,
    grid_of,
)


def test_findings_may_have_numbers_that_are_not_finite(tmp_path: Path) -> None:
    confirmed(
        tmp_path, {"value": "nan", "expected": "-inf", "bound": 0, "second": "-inf"}, {"value": None, "index": []}
    )
    first, second = findings.read(tmp_path / FINDINGS)
    assert first.value != first.value
    assert first.expected == first.second == float("-inf")
    assert first.index == (0, 0, 1, 1)
    assert (second.value, second.index) == (None, ())
    assert findings.read(tmp_path / "none.json") == ()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, True),
        ({"value": "nan"}, True),
        ({"value": "nan", "expected": "nan", "second": "nan"}, False),
        ({"value": "inf", "expected": "inf", "second": 1.0}, False),
        ({"expected": "nan", "second": "nan"}, True),
        ({"expected": "nan", "second": 1.25}, False),
        ({"value": 1.2500005}, False),
        ({"second": 2.0}, False),
        ({"value": 2.0, "second": 2.0}, False),
        # A float64 result's bound is as narrow as the second formulation's own rounding.
        ({"bound": 1e-16, "second": 1.25 + 1e-13}, True),
        ({"expected": None}, False),
        ({"second": None}, False),
        ({"value": None, "second": None}, True),
        ({"status": "crash", "value": None, "second": None}, True),
    ],
)
def test_a_finding_is_confirmed_by_its_numbers(tmp_path: Path, values: dict[str, Any], expected: bool) -> None:
    confirmed(tmp_path, values)
    (finding,) = findings.read(tmp_path / FINDINGS)
    assert is_confirmed(finding) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": "much"}, "finding 1 has 'much' as value; a number is expected"),
        ({"status": "odd"}, "finding 1 has the status 'odd'; fail, crash, hang are accepted"),
        ({"language": "c"}, "finding 1 has the language 'c'; python, javascript are accepted"),
        ({"snippet": "x\n" * 11}, "finding 1 has a snippet of 11 lines; at most 10 are accepted"),
    ],
)
def test_a_malformed_finding_raises_an_error(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    confirmed(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        findings.read(tmp_path / FINDINGS)


def test_a_finding_without_a_field_raises_an_error(tmp_path: Path) -> None:
    entry = {name: value for name, value in FINDING.items() if name not in ("second", "why")}
    (tmp_path / FINDINGS).write_text(json.dumps({"findings": [FINDING, entry]}), encoding="utf-8")
    with pytest.raises(ValueError, match="finding 2 has no second, why"):
        findings.read(tmp_path / FINDINGS)


def test_a_case_is_described_in_words_and_never_evaluated() -> None:
    fields = dict(cases.in_words(LINE))
    assert fields["image (N, C, H, W)"] == "(1, 1, 4, 5)"
    assert fields["boxes (index, x1, y1, x2, y2)"] == "(0, -3.5, 0.0, nan, inf)"
    assert dict(cases.in_words("Case(boxes=((0, 0, 1, 1),) , seed=3)")) == {"boxes (y1, x1, y2, x2)": "(0, 0, 1, 1)"}
    pixels = dict(cases.in_words("Case(boxes=(), box_rule='corners')"))
    assert pixels == {"boxes (x1, y1, x2, y2)": "none", "box rule": "corners"}
    many = dict(cases.in_words("RoiCase(boxes=((0, 1), (0, 2), (0, 3), (0, 4), (0, 5)))"))
    assert many["boxes (index, x1, y1, x2, y2)"].endswith("(0, 4), and 1 more")
    for line in ("", "no case", "__import__('os').abort()", "("):
        assert cases.in_words(line) == (("case", line),)
    assert cases.size(SMALLER) < cases.size(LINE) < cases.size("no case")


def test_a_report_says_what_a_maintainer_needs(tmp_path: Path) -> None:
    cells(tmp_path, failure(), failure(property="long list"), CELL)
    confirmed(tmp_path, {}, {"property": "long list"})
    grid = grid_of(tmp_path)
    paths = markdown.write(tmp_path / "reports", [grid])
    names = ["fast-roi_align-box_outside.md", "fast-roi_align-memory_and_calls.md"]
    assert [path.name for path in paths] == names
    text = paths[0].read_text(encoding="utf-8")
    for sentence in (
        "# Fast 1.0: RoIAlign gives a wrong result (box outside)", "**Versions:** fast 1.0, numpy 2.4, on cpu-test",
        "```python\nimport fast\nprint(fast.pool())\n```", "```text\n3.5\n```",
        "* Got: the result at [0, 0, 1, 1] is `3.5`", "* Expected: `1.25`, within 1e-06", "* Verdict: It is 3.5",
        "* Rule: A sample outside adds 0. (docs/operators.md, “Sample positions”)",
        "* boxes (index, x1, y1, x2, y2): (0, -3.5",
        "a second one in float64 gives 1.25.", "python -m harness judge --backend fast",
        "The same rule is broken in other rows, which have reports of their own: memory and calls.",
    ):  # fmt: skip
        assert sentence in text


def test_a_crash_has_no_values_and_its_output_a_longer_fence(tmp_path: Path) -> None:
    cells(tmp_path, failure(status="crash"))
    crash = {"status": "crash", "value": None, "second": None, "index": [], "output": "```\nSegmentation fault"}
    confirmed(tmp_path, crash)
    grid = grid_of(tmp_path)
    text = markdown.text(grid.red[0], grid)
    assert "# Fast 1.0: RoIAlign ends its process (box outside)" in text
    assert "Got:" not in text
    assert "````text\n```\nSegmentation fault\n````" in text
    assert "ended as shown above" in text


def test_a_report_without_a_snippet_gives_the_reason(tmp_path: Path) -> None:
    cells(tmp_path, failure())
    confirmed(tmp_path, {"snippet": "", "output": ""})
    grid = grid_of(tmp_path)
    text = markdown.text(grid.red[0], grid)
    assert "No short program shows it: it needs too much input" in text
    assert "It prints" not in text
    assert "* Got: the result at [0, 0, 1, 1] is `3.5`" in text


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["findings", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_verb_writes_confirmed_findings_and_sends_nothing(tmp_path: Path) -> None:
    slow = cell_of(("slow", "Slow 2.0"))
    cells(tmp_path, failure(), failure(**slow))
    confirmed(tmp_path, {})
    code, output = run(tmp_path, "--folder", tmp_path / "reports")
    assert code == 0
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["fast-roi_align-box_outside.md"]
    assert f"1 reports are in {tmp_path / 'reports'}. Nothing was sent." in output
    assert "Failed checks that are not confirmed, and have no report: 1." in output


def test_the_verb_names_what_it_left_out(tmp_path: Path) -> None:
    code, output = run(tmp_path, "--folder", tmp_path / "reports")
    assert code == 2
    assert f"There is no conformance.csv in {tmp_path}; `python -m harness conformance` makes it." in output
    cells(tmp_path, CELL, {"property": OUTSIDE})
    confirmed(tmp_path, {})
    code, output = run(tmp_path, "--folder", tmp_path / "reports")
    assert code == 1
    assert "findings.json: 1 of 1 findings were left out" in output
    assert "There is nothing to report. Nothing was sent." in output
    (tmp_path / FINDINGS).write_text("{", encoding="utf-8")
    code, output = run(tmp_path, "--folder", tmp_path / "reports")
    assert (code, "findings.json was left out: it is no JSON" in output) == (1, True)


def test_a_stale_report_is_removed_from_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stale = tmp_path / "build" / "findings" / "stale.md"
    stale.parent.mkdir(parents=True)
    stale.write_text("stale", encoding="utf-8")
    cells(tmp_path, failure())
    confirmed(tmp_path, {})
    assert run(tmp_path)[0] == 0
    assert [path.name for path in stale.parent.iterdir()] == ["fast-roi_align-box_outside.md"]
