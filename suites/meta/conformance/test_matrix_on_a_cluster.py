"""The matrix on the workers of a cluster: the same cells as on this machine, from tasks of a few properties each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness.conformance import cluster, processes
from harness.conformance.jobs import Answer, Job, JobResult
from harness.judging.cluster import UnusableCluster, connect

distributed = pytest.importorskip("distributed", reason="distributed is not installed; `make env` installs it")
dask = pytest.importorskip("dask", reason="dask is not installed; `make env` installs it")
NAMES = (
    "boxes inside",
    "aligned",
    "adaptive grid",
    "boxes outside",
    "boxes without extent",
    "nothing to do",
    "one sample",
)
HERE = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": 50}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two workers that may start processes."""
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, **HERE) as two,
        connect(two.scheduler_address) as connected,
    ):
        connected.wait_for_workers(2)
        yield connected


def by_question(job_results: list[JobResult]) -> dict[Any, Any]:
    return {(each.operator, each.property, each.direction): each for one in job_results for each in one.cells}


def test_the_cells_equal_those_of_this_machine(client: Any) -> None:
    job = Job("torchvision", ("roi_align",), NAMES, examples=5, seed=1)
    answers: list[Answer | None] = []
    finished_jobs: list[JobResult] = []
    job_results = cluster.run(client, [job], lambda _, count, answer: answers.append(answer), finished_jobs.append)
    assert job_results == finished_jobs
    assert len(cluster._parts(job)) == 2
    assert [each.cell for each in answers[1:] if each] == list(job_results[0].cells)
    here = processes.run([job], lambda *_: None)
    assert by_question(job_results) == by_question(here)


def test_an_unusable_backend_raises_a_clear_error(client: Any) -> None:
    with pytest.raises(ValueError, match="There is no module 'nobodys_module'"):
        cluster.run(client, [Job("nobodys_module:f", ("roi_align",), NAMES[:1])], lambda *_: None, lambda _: None)


def test_a_worker_that_may_not_start_processes_raises_an_error() -> None:
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, **HERE) as one,
        connect(one.scheduler_address) as own,
    ):
        own.wait_for_workers(1)
        with pytest.raises(UnusableCluster, match=r"which tcp://.* may not start"):
            cluster.run(own, [Job("torchvision", ("roi_align",))], lambda *_: None, lambda _: None)
