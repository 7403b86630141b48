"""The matrix of properties: every status occurs for a planted implementation, and none stops the run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import operators, properties
from harness.backends import load
from harness.conformance import cells, jobs, processes, tables
from harness.conformance.cells import Cell, cell, is_bad
from harness.conformance.jobs import Answer, Job, JobResult
from harness.operators.arrays import Direction
from harness.operators.implementation import Backend
from harness.operators.verdict import Crash, Hang, Status, Verdict
from harness.repository import MissingLibrary

PLAIN = "within bound, plain float32"
# A module of foreign functions for a separate process.
MODULE = """
import ctypes, time, torch

def picky(features, boxes, output_size, spatial_scale, sampling_ratio, aligned):
    if not bool(boxes.isfinite().all()) or float(boxes.abs().max()) > 1e30:
        ctypes.string_at(0)
    return torch.zeros((len(boxes), features.shape[1], *output_size))

def claims(*arguments):
    return picky(*arguments)

def hangs(*arguments):
    time.sleep(600)

picky.sheet = {"operator": "roi_align"}
claims.sheet = {"operator": "roi_align", "bad_input": ["boxes"]}
hangs.sheet = {"operator": "roi_align"}
"""


def with_change(direction: Direction, change: Callable[[Any], Any]) -> Backend[Any]:
    """The reference with one direction's results changed."""
    reference = load("reference")

    def prepare(inputs: Any, cell_of: Direction) -> Callable[[], Any]:
        call = reference.prepare(inputs, cell_of)
        return call if cell_of != direction else lambda: change(call())

    return replace(reference, name="changed", prepare=prepare)


WITHIN_BOUND = properties.find("within bound, normalized boxes", "crop_and_resize")


def cell_of(backend: Backend[Any], direction: Direction = "forward") -> Cell:
    return cell(backend, WITHIN_BOUND, direction, 30)


@pytest.fixture
def run_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., JobResult]:
    """Runs one of the planted functions like the command."""
    (tmp_path / "planted.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(name: str, *names: str, **options: Any) -> JobResult:
        job = Job(name, ("crop_and_resize", "roi_align"), names, examples=5, **options)
        replies: list[Answer | None] = []
        (done,) = processes.run([job], lambda _, count, each: replies.append(each))
        assert [each and each.cell for each in replies] == [None, *done.cells]
        assert not done.problem
        return done

    return run


def test_a_property_that_holds_passes_with_its_number_of_cases() -> None:
    row = cell_of(load("reference"))
    assert (row.status, row.cases, row.counterexample, row.reason) == ("pass", 30, "", "")
    assert 0 <= row.fraction <= 1
    assert re.search(r"torch \d", row.versions)
    assert (row.declared, row.driver) == (True, "")


def test_a_wrong_gradient_fails_with_the_smallest_case() -> None:
    # Hypothesis draws the simplest case first; the smallest failing case has three boxes.
    wrong = with_change("grad_boxes", lambda gradient: gradient + (len(gradient) > 2))
    assert cell_of(wrong).status == "pass"
    row = cell_of(wrong, "grad_boxes")
    assert row.status == "fail"
    assert is_bad(row)
    assert row.reason.startswith("box gradient[")
    case: Any = operators.parse(row.counterexample)
    assert case.shape == (1, 1, 1, 1)
    assert len(case.boxes) == 3
    assert case.crop_size == (1, 1)
    assert not properties.find(row.property, row.operator).holds(wrong, case, row.direction).passed


def test_a_failure_that_does_not_repeat_is_reported_with_a_remark() -> None:
    calls = []

    def once(crops: Any) -> Any:
        calls.append(0)
        return crops + 1 if len(calls) == 4 else crops

    row = cell_of(with_change("forward", once))
    assert row.status == "fail"
    assert row.reason.endswith("(Asked again it did not fail in this way: not every call shows it.)")
    assert operators.parse(row.counterexample)


def test_shrinking_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "SHRINKS", 3)
    calls = []

    def wrong(crops: Any) -> Any:
        calls.append(0)
        return np.full_like(crops, 1e9)

    row = cell_of(with_change("forward", wrong))
    assert row.status == "fail"
    assert len(calls) == row.cases + 3
    assert cell_of(with_change("forward", wrong)) == row, "the same seed finds the same"


def test_a_value_that_another_branch_excuses_is_ambiguous() -> None:
    def check(backend: Backend[Any], case: Any, direction: Direction) -> Verdict:
        return Verdict(Status.AMBIGUOUS if case.seed % 2 else Status.WITHIN, 0.25, compared=3)

    row = cell(load("reference"), replace(WITHIN_BOUND, check=check), "forward", 20)
    assert (row.status, row.cases, row.fraction) == ("ambiguous", 20, 0.25)
    assert 0 < row.ambiguous < 20
    assert not is_bad(row)


def test_a_backend_that_compiles_each_shape_gets_a_tenth_of_the_cases() -> None:
    def check(backend: Backend[Any], case: Any, direction: Direction) -> Verdict:
        return Verdict(Status.WITHIN, 0.25, compared=3)

    reference, property_ = load("reference"), replace(WITHIN_BOUND, check=check)
    compiled = replace(reference, sheet=replace(reference.sheet, compiles=True))
    assert [cell(each, property_, "forward", 200).cases for each in (reference, compiled)] == [200, 20]


def test_a_failure_of_the_judge_is_a_cell_but_not_a_bad_one() -> None:
    def check(backend: Backend[Any], case: Any, direction: Direction) -> Verdict:
        raise ZeroDivisionError("in the oracle")

    property_ = replace(properties.find("within bound, normalized boxes", "crop_and_resize"), check=check)
    row = cell(load("reference"), property_, "forward", 20)
    assert (row.status, is_bad(row)) == ("judge", False)
    assert "ZeroDivisionError: in the oracle" in row.reason


def test_undeclared_and_not_asked_are_separate_statuses() -> None:
    reference = load("reference")
    forward_only = replace(reference, sheet=replace(reference.sheet, directions=("forward",)))
    row = cell_of(forward_only, "grad_image")
    assert (row.status, row.reason, row.declared) == ("undeclared", "grad_image is not declared", False)
    shy = replace(reference, avoids=lambda inputs, direction: "it is not asked today")
    row = cell_of(shy)
    assert (row.status, row.reason, row.cases, row.declared) == ("not asked", "it is not asked today", 0, True)


def test_a_passing_cell_counts_its_refused_cases() -> None:
    row = cell_of(replace(load("reference"), avoids=lambda inputs, _: "it is large" if len(inputs.boxes) > 2 else None))
    assert row.status == "pass"
    assert 0 < row.cases < 30
    assert row.reason == f"{30 - row.cases} drawn cases were not asked, such as: it is large"


def test_the_run_continues_after_a_crash_on_undeclared_bad_input(run_planted: Callable[..., JobResult]) -> None:
    job_result = run_planted("planted:picky", PLAIN, "expanded image", "bad boxes", "index of no image")
    row = {(each.property, each.direction): each for each in job_result.cells}
    assert row[PLAIN, "forward"].status == "fail"
    probed = row["bad boxes", "forward"]
    assert (probed.status, probed.declared, is_bad(probed)) == ("crash", False, False)
    assert probed.reason.startswith("Undeclared (bad input: boxes are not declared), and so undefined behaviour. It ")
    assert "SIGSEGV" in probed.reason
    assert operators.parse(probed.counterexample)
    assert row["bad boxes", "grad_image"].status == "undeclared"
    # Answered after the crash: an undeclared index of no image gives zeros, which is no failure.
    assert row["index of no image", "forward"].status == "undeclared"


def test_a_crash_on_declared_input_is_bad(run_planted: Callable[..., JobResult]) -> None:
    (row, *others) = run_planted("planted:claims", "bad boxes").cells
    assert (row.status, row.declared, is_bad(row)) == ("crash", True, True)
    assert {each.status for each in others} == {"undeclared"}


def test_a_hang_is_a_cell(run_planted: Callable[..., JobResult]) -> None:
    (row, *_) = run_planted("planted:hangs", PLAIN, limit_s=5).cells
    assert row.status == "hang"
    assert "did not return within 5 s" in row.reason


def test_an_unusable_backend_raises_a_clear_error(run_planted: Callable[..., JobResult]) -> None:
    with pytest.raises(ValueError, match="There is no module 'nobodys_module'"):
        run_planted("nobodys_module:function")


@pytest.mark.parametrize(
    ("error", "status", "declared"),
    [(MissingLibrary("it needs a GPU"), "missing", False), (Crash("how"), "crash", True), (Hang("so"), "hang", True)],
)
def test_a_backend_that_does_not_load_has_a_row_for_each_property(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: str, declared: bool
) -> None:
    def isolated(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(jobs, "isolated", isolated)
    rows = [each.cell for each in jobs.answers(Job("gone", ("roi_align",)))]
    rules = [each for each in properties.all_properties() if each.operator == "roi_align"]
    assert len(rows) == sum(len(each.directions) for each in rules)
    assert {(each.status, each.declared, each.operator) for each in rows} == {(status, declared, "roi_align")}
    assert all(str(error) in each.reason for each in rows)


def cell_like(backend: str, status: Any = "pass", of: str = PLAIN, device: str = "cpu-here", **changes: Any) -> Cell:
    defaults: dict[str, Any] = {
        "operator": "roi_align", "direction": "forward", "declared": True, "cases": 7, "ambiguous": 0,
        "fraction": None, "counterexample": "", "reason": "", "title": backend, "versions": "torch 1", "driver": "",
    }  # fmt: skip
    return Cell(property=of, backend=backend, status=status, device=device, **(defaults | changes))


def test_merging_keeps_rows_that_were_not_run(tmp_path: Path) -> None:
    path = tmp_path / "conformance.csv"
    other = "within bound, mode avg"
    old = [
        cell_like("torchvision"),
        cell_like("reference"),
        cell_like("reference", of=other),
        cell_like("roi_align", device="cpu-there"),
    ]
    old += [cell_like("torchvision_cuda", "missing"), cell_like("torchvision", of="no property has this name")]
    tables.write(path, old)
    job_results = [
        JobResult(Job("reference", ("roi_align",), (PLAIN,)), (cell_like("reference", "fail", reason='it, is "so"'),)),
        JobResult(Job("roi_align", ("roi_align",)), (cell_like("roi_align"),)),
        JobResult(
            Job("torchvision_cuda", ("roi_align",)), (cell_like("torchvision_cuda", device="cuda-x", fraction=0.25),)
        ),
    ]
    tables.write(path, tables.merge(tables.read(path), job_results))
    rows = tables.read(path)
    assert [(each.backend, each.device, each.property, each.status) for each in rows] == [
        ("roi_align", "cpu-here", PLAIN, "pass"),
        ("roi_align", "cpu-there", PLAIN, "pass"),
        ("reference", "cpu-here", other, "pass"),
        ("reference", "cpu-here", PLAIN, "fail"),
        ("torchvision", "cpu-here", PLAIN, "pass"),
        ("torchvision_cuda", "cuda-x", PLAIN, "pass"),
    ]
    assert rows[3].reason == 'it, is "so"'
    assert rows[-1].fraction == 0.25
    before = path.read_bytes()
    tables.write(path, rows)
    assert path.read_bytes() == before


def test_a_table_with_other_columns_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "conformance.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="delete it to start over"):
        tables.read(path)


def test_all_backends_run_except_slow_ones_and_those_of_another_rule() -> None:
    names = jobs.default_backends()
    assert {"roi_align", "reference", "tensorflow", "torchvision", "onnxruntime"} <= set(names)
    assert not any(name.startswith(("cuda_on_host", "cuda_ptx")) or name.endswith("compiled") for name in names)
    of = {(job.backend, *job.operators) for job in jobs.jobs(names, ["crop_and_resize", "roi_align"], (), 9, 0)}
    assert ("torchvision", "roi_align") in of
    assert ("torchvision", "crop_and_resize") not in of
    assert ("tensorflow", "roi_align") not in of
    slow = jobs.jobs(["cuda_on_host"], ["roi_align"], ("bad boxes",), 9, 3, 120.0)
    assert slow == [Job("cuda_on_host", ("roi_align",), ("bad boxes",), 9, 3, 120.0)]
    with pytest.raises(ValueError, match="There is no backend 'nobody'"):
        jobs.jobs(["nobody"], ["roi_align"], (), 9, 0)
    with pytest.raises(ValueError, match="There is no property 'nothing' of roi_align; there are boxes inside"):
        jobs.jobs(["reference"], ["roi_align"], ("nothing",), 9, 0)


@pytest.mark.parametrize(
    ("status", "declared", "code"), [("fail", True, 1), ("crash", False, 0), ("ambiguous", True, 0)]
)
def test_the_command_fails_only_with_fail_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str, declared: bool, code: int
) -> None:
    pytest.importorskip("typer", reason="it makes the command line")
    from typer.testing import CliRunner

    from harness.__main__ import app

    row = cell_like("roi_align", status, declared=declared, counterexample="RoiCase(...)", reason="as planted")
    monkeypatch.setattr(processes, "run", lambda jobs, tell, on_end: [JobResult(jobs[0], (row,))])
    arguments = ["conformance", "--backend", "roi_align", "--operator", "roi_align", "--table", str(tmp_path / "t.csv")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    result = CliRunner().invoke(app, [*arguments, "--fail-on", "fail"])
    assert result.exit_code == code
    assert status in result.output
    assert ("as planted" in result.output) == (status != "ambiguous")
    assert tables.read(tmp_path / "t.csv") == [row]
    assert CliRunner().invoke(app, [*arguments, "--fail-on", "anything"]).exit_code == 2
