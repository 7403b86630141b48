"""Campaigns on a cluster: a killed worker loses no find, and an unusable cluster raises a clear error."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.fuzzing import cluster, finds, worker
from harness.fuzzing.campaign import Schedule
from harness.fuzzing.finds import Find
from harness.fuzzing.totals import Totals
from harness.judging import cluster as judging_cluster
from harness.judging.cluster import UnusableCluster, connect

distributed = pytest.importorskip("distributed", reason="distributed is not installed; `make env` installs it")
NAME, OPERATOR = "fault:box_gradient_sign", "crop_and_resize"


@pytest.fixture(scope="module")
def local() -> Iterator[Any]:
    """Two worker processes, which their nannies restart when they end."""
    here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": 50}
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **here) as two:
        yield two


@pytest.fixture
def client(local: Any) -> Iterator[Any]:
    connected = connect(local.scheduler_address)
    connected.wait_for_workers(2)
    yield connected
    connected.close()


def hunt(client: Any, folder: Path, cases: int, victims: str) -> tuple[Totals, list[Find], Schedule]:
    """A campaign that kills one worker, or all, at its first find; also returns the finds that it reported."""
    answer = cluster.ready(client, NAME, (OPERATOR,))
    schedule, totals, finds_heard = Schedule(NAME, answer.sheets, 1, cases), Totals(folder), []
    pids = list(client.run(os.getpid).values())

    def hear(number: int, find: Find) -> None:
        totals.hear(number, find)
        if not finds_heard:
            for pid in pids if victims == "all" else pids[:1]:
                os.kill(pid, signal.SIGKILL)
        finds_heard.append(find)

    for result in cluster.catches(client, answer, schedule, hear, lambda flying, workers: None):
        totals.add(result)
    assert not schedule.planned.total()  # no task is lost track of
    return totals, finds_heard, schedule


def test_a_killed_worker_loses_no_find(client: Any, tmp_path: Path) -> None:
    totals, finds_heard, schedule = hunt(client, tmp_path, 130, "one")
    assert schedule.done[OPERATOR] >= 130
    assert finds_heard
    assert not totals.lost
    stored_finds, problems = finds.read(tmp_path)
    assert not problems
    assert {(find.property, find.direction) for find in stored_finds} == {
        (find.property, find.direction) for find in finds_heard
    }
    assert {find.direction for find in stored_finds} == {"grad_boxes"}
    # And the surviving worker has shrunk each find.
    assert {find.file_name() for find in stored_finds} == set().union(*schedule.ways.values())


def test_a_task_that_kills_its_workers_is_reported_and_its_find_is_kept(
    local: Any, client: Any, tmp_path: Path
) -> None:
    """No retry: to dask, the tasks that ran when the workers ended are the cause.

    The first find is among the first tasks of many, so that some are under way however late the workers end.
    """
    local.scheduler.allowed_failures = 0
    try:
        totals, finds_heard, _ = hunt(client, tmp_path, 300, "all")
    finally:
        local.scheduler.allowed_failures = 3
    assert totals.lost
    assert all("each of these workers ended under it" in task.reason for task in totals.lost)
    stored_finds, _ = finds.read(tmp_path)
    assert {(find.property, find.direction) for find in stored_finds} >= {
        (find.property, find.direction) for find in finds_heard
    }


class Stub:
    """A client of workers with predefined answers."""

    def __init__(self, *answers: Any, gpu: int = 0) -> None:
        self.answers = {f"tcp://worker-{number}": answer for number, answer in enumerate(answers)}
        self.gpu = gpu

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        return {"workers": {name: {"resources": {"GPU": self.gpu}} for name in self.answers}}

    def run_on_scheduler(self, question: Any) -> Any:
        return question()

    def run(self, *_: Any, on_error: str) -> dict[str, Any]:
        return self.answers


@pytest.fixture(scope="module")
def fit() -> worker.About:
    return worker.about("reference", ("roi_align",))


@pytest.fixture(scope="module")
def on_gpu(fit: worker.About) -> worker.About:
    return replace(fit, sheets={"roi_align": replace(fit.sheets["roi_align"], device="cuda")})


def test_fit_workers_pass_the_check(fit: worker.About, on_gpu: worker.About) -> None:
    assert cluster.ready(Stub(fit, fit), "reference", ("roi_align",)) is fit
    assert cluster.ready(Stub(on_gpu, gpu=1), "roi_align_cuda", ("roi_align",)) is on_gpu


def test_each_problem_of_a_cluster_raises_its_message(fit: worker.About, on_gpu: worker.About) -> None:
    bare = Stub(fit, ModuleNotFoundError(name="harness"))
    for stub, name, says in (
        (Stub(), "reference", "The cluster has no workers"),
        (bare, "reference", "tcp://worker-1 does not have the module 'harness'"),
        (Stub(OSError("full")), "reference", "tcp://worker-0 cannot answer: OSError: full"),
        (Stub(fit, replace(fit, harness="0")), "reference", "Another revision of the harness is on tcp://worker-1;"),
        (Stub(replace(fit, may_begin_processes=False)), "roi_align", "which tcp://worker-0 may not start"),
        (Stub(replace(fit, missing="It is not here.")), "reference", "The worker tcp://worker-0: It is not here."),
        (Stub(on_gpu), "roi_align_cuda", "no worker has a GPU to give"),
    ):
        with pytest.raises(UnusableCluster, match=says):
            cluster.ready(stub, name, ("roi_align",))


def test_an_address_without_a_scheduler_raises_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging_cluster, "ANSWER_S", 0.3)
    for address in ("tcp://127.0.0.1:9", "nowhere://at.all"):
        with pytest.raises(UnusableCluster, match=f"No scheduler answers at '{address}'"):
            connect(address)


def test_a_missing_library_raises_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UnusableCluster, match="A cluster needs the module 'distributed'"):
        connect("tcp://127.0.0.1:9")


def test_a_scheduler_without_the_harness_raises_an_error(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler deserializes the tasks that it passes on: each would be lost."""

    def missing(question: Any) -> None:
        raise ModuleNotFoundError("No module named 'harness'", name="harness")

    monkeypatch.setattr(client, "run_on_scheduler", missing)
    with pytest.raises(UnusableCluster, match="The scheduler does not have the module 'harness'"):
        cluster.ready(client, NAME, (OPERATOR,))


def test_a_worker_of_another_revision_gets_no_task(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that joins later has not reported its versions."""
    answer = cluster.ready(client, NAME, (OPERATOR,))
    monkeypatch.setattr(cluster, "sources", lambda: "another")
    schedule = Schedule(NAME, answer.sheets, 1, 10)
    with pytest.raises(UnusableCluster, match="Another revision of the harness is on tcp://"):
        list(cluster.catches(client, answer, schedule, lambda *_: None, lambda *_: None))
