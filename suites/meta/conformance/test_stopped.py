"""Stopping the matrix: progress is reported per backend, and finished cells are written."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.conformance import processes, tables
from harness.conformance.cells import Cell
from harness.conformance.jobs import Answer, Job, JobResult, questions_of, without

NAMES = ("permuted boxes", "split list")


def cell_like(backend: str, status: Any = "pass", of: str = NAMES[0], direction: Any = "forward") -> Cell:
    return Cell(
        operator="roi_align", property=of, direction=direction, backend=backend, status=status, declared=True, cases=7,
        ambiguous=0, fraction=None, counterexample="", reason="", title=backend, device="cpu-here", versions="torch 1",
        driver="",
    )  # fmt: skip


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Interrupts raise KeyboardInterrupt here, even if a shell started the tests in the background, ignoring them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_ends_the_processes_and_keeps_their_cells() -> None:
    finished_jobs: list[JobResult] = []
    before = set(multiprocessing.active_children())

    def tell(job: Job, count: int, each: Answer | None) -> None:
        if each is not None and not finished_jobs:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    jobs = [Job(name, ("roi_align",), examples=200) for name in ("reference", "torchvision")]
    job_results = processes.run(jobs, tell, finished_jobs.append, side_by_side=1)
    assert [each.stopped for each in job_results] == [True, True]
    assert job_results[0].cells
    assert (
        job_results[0].problem
        == f"The process that asked reference was stopped after {len(job_results[0].cells)} cells."
    )
    assert job_results[1] == JobResult(jobs[1], (), "torchvision was not asked.", True)
    assert finished_jobs == job_results[:1]
    assert set(multiprocessing.active_children()) <= before


def test_a_stopped_job_keeps_the_rows_that_it_did_not_reach() -> None:
    old = [cell_like("a"), cell_like("a", direction="grad_image"), cell_like("a", of=NAMES[1]), cell_like("b")]
    interrupted = [JobResult(Job("a", ("roi_align",)), (cell_like("a", "fail"),), "It was stopped.", True)]
    rows = tables.merge(old, [*interrupted, JobResult(Job("b", ("roi_align",)), (), "b was not asked.", True)])
    assert sorted((each.backend, each.property, each.direction, each.status) for each in rows) == [
        ("a", NAMES[0], "forward", "fail"),
        ("a", NAMES[0], "grad_image", "pass"),
        ("a", NAMES[1], "forward", "pass"),
        ("b", NAMES[0], "forward", "pass"),
    ]


def test_an_interrupted_command_writes_its_cells_and_resumes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("typer", reason="it makes the command line")
    from typer.testing import CliRunner

    from harness.__main__ import app

    def run(jobs: list[Job], tell: Any, on_end: Any) -> list[JobResult]:
        whole = JobResult(jobs[0], (cell_like("reference"), cell_like("reference", direction="grad_image")))
        tell(jobs[0], 2, None)
        for each in whole.cells:
            tell(jobs[0], 2, Answer(each))
        on_end(whole)
        return [whole, JobResult(jobs[1], (), "torchvision was not asked.", True)]

    monkeypatch.setattr(processes, "run", run)
    path = tmp_path / "t.csv"
    options = [f"--backend={each}" for each in ("reference", "torchvision")]
    arguments = ["conformance", *options, "--operator=roi_align", f"--table={path}"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 130
    assert "reference: 2 pass" in result.output
    assert "torchvision was not asked." in result.output
    assert "Interrupted: the finished cells are written" in result.output
    assert len(tables.read(path)) == 2

    # Resumed: answered cells are not repeated, and are in the table.
    def rest(jobs: list[Job], tell: Any, on_end: Any) -> list[JobResult]:
        assert [(job.backend, job.skip) for job in jobs] == [
            ("reference", {(NAMES[0], "forward"), (NAMES[0], "grad_image")}),
            ("torchvision", frozenset()),
        ]
        return [
            JobResult(jobs[0], (cell_like("reference", of=NAMES[1]),)),
            JobResult(jobs[1], (cell_like("torchvision"),)),
        ]

    monkeypatch.setattr(processes, "run", rest)
    other = CliRunner().invoke(app, [*arguments, "--resume", "--seed=9"])
    assert other.exit_code == 2
    assert "The run that was stopped had another seed" in other.output
    path.unlink()
    # Stopped again before the first answer, and resumed: the earlier cells remain.
    monkeypatch.setattr(processes, "run", lambda jobs, *_: [JobResult(jobs[0], (), "It was stopped.", True)])
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


def test_a_job_omits_its_skipped_questions() -> None:
    job = Job("reference", ("roi_align",), NAMES, skip=frozenset({(NAMES[0], "forward")}))
    assert [(property_.name, direction) for property_, direction in questions_of(job)] == [
        (NAMES[0], "grad_boxes"),
        (NAMES[1], "forward"),
        (NAMES[1], "grad_boxes"),
    ]
    replies = [
        Answer(cell_like("reference", of=name, direction=way)) for name in NAMES for way in ("forward", "grad_boxes")
    ]
    assert without([Job("reference", ("roi_align",), NAMES)], replies) == []
