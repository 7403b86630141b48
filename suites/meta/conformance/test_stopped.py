"""A matrix that is stopped: progress is told backend by backend, and what was done by then is written."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from harness.conformance import processes, tables
from harness.conformance.cells import Cell
from harness.conformance.jobs import Answer, Done, Job, questions_of, without

NAMES = ("permuted boxes", "split list")


def made(backend: str, status: Any = "pass", of: str = NAMES[0], direction: Any = "forward") -> Cell:
    return Cell(
        operator="roi_align", property=of, direction=direction, backend=backend, status=status, declared=True, cases=7,
        ambiguous=0, fraction=None, counterexample="", reason="", title=backend, device="cpu-here", versions="torch 1",
        driver="",
    )  # fmt: skip


def test_an_interrupt_ends_the_processes_and_what_they_did_is_kept() -> None:
    ended: list[Done] = []
    before = set(multiprocessing.active_children())

    def tell(job: Job, count: int, each: Answer | None) -> None:
        if each is not None and not ended:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    jobs = [Job(name, ("roi_align",), examples=200) for name in ("reference", "torchvision")]
    done = processes.run(jobs, tell, ended.append, side_by_side=1)
    assert [each.stopped for each in done] == [True, True]
    assert done[0].cells
    assert done[0].problem == f"The process that asked reference was stopped after {len(done[0].cells)} cells."
    assert done[1] == Done(jobs[1], (), "torchvision was not asked.", True)
    assert ended == done[:1]
    assert set(multiprocessing.active_children()) <= before


def test_rows_that_a_stopped_job_did_not_come_to_stay() -> None:
    old = [made("a"), made("a", direction="grad_image"), made("a", of=NAMES[1]), made("b")]
    stopped = [Done(Job("a", ("roi_align",)), (made("a", "fail"),), "It was stopped.", True)]
    found = tables.merged(old, [*stopped, Done(Job("b", ("roi_align",)), (), "b was not asked.", True)])
    assert sorted((each.backend, each.property, each.direction, each.status) for each in found) == [
        ("a", NAMES[0], "forward", "fail"),
        ("a", NAMES[0], "grad_image", "pass"),
        ("a", NAMES[1], "forward", "pass"),
        ("b", NAMES[0], "forward", "pass"),
    ]


def test_the_command_tells_each_backend_and_writes_what_it_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("typer", reason="it makes the command line")
    from typer.testing import CliRunner

    from harness.__main__ import app

    def run(jobs: list[Job], tell: Any, ended: Any) -> list[Done]:
        whole = Done(jobs[0], (made("reference"), made("reference", direction="grad_image")))
        tell(jobs[0], 2, None)
        for each in whole.cells:
            tell(jobs[0], 2, Answer(each))
        ended(whole)
        return [whole, Done(jobs[1], (), "torchvision was not asked.", True)]

    monkeypatch.setattr(processes, "run", run)
    path = tmp_path / "t.csv"
    asked = [f"--backend={each}" for each in ("reference", "torchvision")]
    arguments = ["conformance", *asked, "--operator=roi_align", f"--table={path}"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 130
    assert "reference: 2 pass" in done.output
    assert "torchvision was not asked." in done.output
    assert "Interrupted: what was done by then is written" in done.output
    assert len(tables.read(path)) == 2

    # Gone on with: what was answered is not asked again, and is in the table as if it had been.
    def rest(jobs: list[Job], tell: Any, ended: Any) -> list[Done]:
        assert [(job.backend, job.skip) for job in jobs] == [
            ("reference", {(NAMES[0], "forward"), (NAMES[0], "grad_image")}),
            ("torchvision", frozenset()),
        ]
        return [Done(jobs[0], (made("reference", of=NAMES[1]),)), Done(jobs[1], (made("torchvision"),))]

    monkeypatch.setattr(processes, "run", rest)
    other = CliRunner().invoke(app, [*arguments, "--resume", "--seed=9"])
    assert other.exit_code == 2
    assert "The run that was stopped had another seed" in other.output
    path.unlink()
    # Stopped a second time before anything came, and gone on with again: what came first is there still.
    monkeypatch.setattr(processes, "run", lambda jobs, *_: [Done(jobs[0], (), "It was stopped.", True)])
    assert CliRunner().invoke(app, [*arguments, "--resume"]).exit_code == 130
    monkeypatch.setattr(processes, "run", rest)
    assert CliRunner().invoke(app, [*arguments, "--resume"]).exit_code == 0
    assert sorted((each.backend, each.property, each.direction) for each in tables.read(path)) == [
        ("reference", NAMES[0], "forward"),
        ("reference", NAMES[0], "grad_image"),
        ("reference", NAMES[1], "forward"),
        ("torchvision", NAMES[0], "forward"),
    ]
    none = CliRunner().invoke(app, [*arguments, "--resume"])
    assert none.exit_code == 2
    assert "There is no run to go on with" in none.output


def test_a_job_asks_for_what_is_not_skipped() -> None:
    job = Job("reference", ("roi_align",), NAMES, skip=frozenset({(NAMES[0], "forward")}))
    assert [(stated.name, direction) for stated, direction in questions_of(job)] == [
        (NAMES[0], "grad_boxes"),
        (NAMES[1], "forward"),
        (NAMES[1], "grad_boxes"),
    ]
    answered = [
        Answer(made("reference", of=name, direction=way)) for name in NAMES for way in ("forward", "grad_boxes")
    ]
    assert without([Job("reference", ("roi_align",), NAMES)], answered) == []
