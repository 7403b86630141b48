"""Findings: other code confirms a failure of a library, and a snippet reproduces it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import backends, operators, properties
from harness.conformance import findings
from harness.conformance.cells import Cell, cell
from harness.conformance.findings import finding
from harness.conformance.rules import rule_of
from harness.judging import trial
from harness.measuring import findings as stored
from harness.measuring.findings import Finding
from harness.operators.implementation import Backend
from harness.operators.judgement import judge
from harness.operators.roi_align.case import RoiCase
from harness.operators.verdict import Crash
from harness.repository import ROOT

DOCS = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")


def library(change: Callable[[Any, Any], Any], snippet: Any = None) -> Backend[Any]:
    """The reference with its results changed, by the call's inputs."""
    reference = backends.load("reference", "roi_align")

    def prepare(inputs: Any, direction: Any) -> Callable[[], Any]:
        call = reference.prepare(inputs, direction)
        return lambda: change(inputs, call())

    return replace(reference, name="torchvision", title="Some library 1.0", prepare=prepare, snippet=snippet)


def failed_cell(backend: Backend[Any], name: str = "boxes inside") -> Cell:
    one = cell(backend, properties.find(name, "roi_align"), "forward", 20)
    assert one.status in ("fail", "crash")
    return one


def wrong(inputs: Any, crops: Any) -> Any:
    return crops + np.float32(0.5)


def printing(value: Callable[[float], float]) -> Callable[..., str]:
    """Snippets that print a function of the wrong library's value."""

    def snippet(inputs: Any, direction: Any, index: tuple[int, ...]) -> str:
        crops = wrong(inputs, backends.load("reference", "roi_align").run(inputs, direction))
        return f"print({value(float(crops[index]))!r})"

    return snippet


def test_a_wrong_value_is_confirmed_with_a_snippet() -> None:
    backend = library(wrong, printing(lambda value: value))
    one = finding(backend, failed_cell(backend))
    assert one is not None
    assert one.index == (0, 0, 0, 0)
    assert one.value == pytest.approx(one.expected + 0.5)
    assert one.second == pytest.approx(one.expected)
    assert (one.snippet, one.output) == (f"print({one.value!r})", repr(one.value))
    # The pixels are easy to read, and the command reproduces the failure.
    case: Any = operators.parse(one.case)
    assert case.values == "ramp"
    assert not trial.judge_case(backend, case, "forward").passed
    assert one.replay.endswith(f'--property "boxes inside" "{one.case}"')


def test_a_snippet_that_does_not_reproduce_is_left_out() -> None:
    backend = library(wrong, printing(lambda value: value - 0.5))
    one = finding(backend, failed_cell(backend))
    assert one is not None
    assert (one.snippet, one.output) == ("", "")


def test_a_value_that_the_second_formulation_shares_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The symptom of an error in the oracle: library and reference agree, and only the oracle differs."""
    backend = library(wrong)
    one = failed_cell(backend)
    assert finding(backend, one) is not None
    other = library(lambda inputs, crops: crops + 0.5)
    monkeypatch.setattr(findings.backends, "load", lambda name, operator: other)
    assert finding(backend, one) is None


def test_a_second_formulation_that_agrees_with_neither_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = library(wrong)
    one = failed_cell(backend)
    neither = library(lambda inputs, crops: crops - 0.25)
    monkeypatch.setattr(findings.backends, "load", lambda name, operator: neither)
    assert finding(backend, one) is None


def test_the_second_formulation_computes_in_float64() -> None:
    box = (0, 0.1, 0.2, 5.3, 4.7)
    inputs = RoiCase((1, 1, 6, 7), (box,), (3, 3), sampling_ratio=2, boxes_dtype="float64").inputs()
    result = wrong(inputs, backends.load("reference", "roi_align").run(inputs, "forward"))
    verdict = judge(inputs, "forward", result, pinned=True)
    second = findings._second(findings._Call(inputs, "forward", verdict))
    assert second == pytest.approx(float(verdict.expected.value), rel=1e-14)


def test_a_failure_in_a_derived_call_is_confirmed_in_that_call() -> None:
    backend = library(lambda inputs, crops: wrong(inputs, crops) if len(inputs.boxes) > 30 else crops)
    one = failed_cell(backend, "long list")
    case: Any = operators.parse(one.counterexample)
    assert trial.judge_case(backend, case, "forward").passed
    again = finding(backend, one)
    assert again is not None
    assert again.value == pytest.approx(again.second + 0.5)
    assert again.property == "long list"


def test_a_failure_that_does_not_repeat_is_no_finding() -> None:
    backend = library(wrong)
    assert finding(library(lambda inputs, crops: crops), failed_cell(backend)) is None


def test_a_crash_has_no_value() -> None:
    def crash(inputs: Any, crops: Any) -> Any:
        raise Crash("It ended its process: signal SIGSEGV.")

    backend = library(crash, lambda *_: "import os; os.kill(os.getpid(), 11)")
    one = finding(backend, failed_cell(backend))
    assert one is not None
    assert (one.status, one.index, one.value, one.expected) == ("crash", (), None, None)
    assert one.output == "ended by SIGSEGV"


def test_an_undeclared_failure_is_no_finding() -> None:
    backend = library(wrong)
    assert finding(backend, replace(failed_cell(backend), declared=False)) is None


def finding_like(**changes: Any) -> Finding:
    defaults: dict[str, Any] = dict.fromkeys(Finding.__dataclass_fields__, "")
    defaults |= {"operator": "roi_align", "backend": "a", "property": "p", "direction": "forward", "device": "cpu"}
    defaults |= {
        "status": "fail",
        "language": "python",
        "index": (0, 1, 2, 3),
        "value": math.nan,
        "expected": 1.5,
        "bound": 0.0,
        "second": -math.inf,
    }
    return Finding(**(defaults | changes))


def test_findings_read_back_and_disappear_with_their_cell(tmp_path: Path) -> None:
    path = tmp_path / "findings.json"
    assert stored.read(path) == ()
    old = [finding_like(), finding_like(backend="b", index=(), value=None)]
    stored.write(path, old)
    assert list(map(repr, stored.read(path))) == list(map(repr, old))  # a NaN is not equal to itself
    passing = Cell("roi_align", "p", "forward", "a", "cpu", "pass", True, 1, 0, None, "", "", "", "", "")
    new = finding_like(backend="c")
    assert [each.backend for each in findings.merge(old, [passing], [new])] == ["b", "c"]
    path.write_text('{"findings": [{}]}', encoding="utf-8")
    with pytest.raises(ValueError, match="finding 1 has no operator"):
        stored.read(path)


@pytest.mark.parametrize(("property_", "direction"), properties.questions("crop_and_resize", "roi_align"))
def test_every_rule_is_a_heading_of_the_documentation(property_: properties.Property, direction: Any) -> None:
    rule = rule_of(property_.operator, property_.name, direction)
    assert f"# {rule.heading}\n" in DOCS
    assert rule.why.endswith(".")
