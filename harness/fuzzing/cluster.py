"""A campaign on the workers of a dask.distributed cluster, any of which may be killed at any time.

A few tasks per worker are submitted ahead. When a worker dies, dask runs its task again on another with the same seed.
A find is sent as an event at once, so it survives its worker. Each worker needs this checkout on its path, of the same
revision, and one thread; a worker for CUDA has the resource GPU:

    PYTHONPATH=. dask scheduler
    PYTHONPATH=. DASK_DISTRIBUTED__WORKER__DAEMON=False dask worker ADDRESS --nthreads 1 --resources GPU=1
"""

from __future__ import annotations

import queue
import threading
import time
import warnings
from collections.abc import Callable, Generator
from dataclasses import asdict
from typing import Any

from hypothesis.errors import HypothesisDeprecationWarning

from harness.fuzzing.campaign import Catch, LostTask, Schedule, Task, hunt, in_process
from harness.fuzzing.finds import Find
from harness.fuzzing.worker import About, about
from harness.judging.cluster import (
    UnusableCluster,
    answers_of,
    require_processes,
    require_same_sources,
)
from harness.operators.sheet import OperatorName
from harness.repository import sources

TOPIC = "roi-align-finds"
AHEAD = 3
# Seconds: between two looks at the running tasks; and the grace period for tasks still running when the time is up, and
# for a cluster without workers.
LOOK_S, GRACE_S = 0.5, 60.0


def ready(client: Any, backend: str, operators: tuple[OperatorName, ...]) -> About:
    """One answer for all workers; UnusableCluster if they are not fit for a campaign."""
    answers = answers_of(client, about, backend, operators)
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not in_process(backend):
        require_processes({worker: answer.may_begin_processes for worker, answer in answers.items()}, backend)
    with_gpu = [worker for worker in answers if workers.get(worker, {}).get("resources", {}).get("GPU")]
    for worker in with_gpu or answers:
        if answers[worker].missing:
            raise UnusableCluster(f"The worker {worker}: {answers[worker].missing}")
    one_for_all: About = answers[(with_gpu or list(answers))[0]]
    if _resources(one_for_all) and not with_gpu:
        raise UnusableCluster(
            f"The backend {backend} runs on CUDA, and no worker has a GPU to give; start those that have one with "
            '`dask worker ADDRESS --nthreads 1 --resources "GPU=1"`.'
        )
    return one_for_all


def _resources(workers: About) -> dict[str, float] | None:
    return {"GPU": 1} if any(sheet.device == "cuda" for sheet in workers.sheets.values()) else None


# A process runs one task at a time, however many threads its worker has: a backend's calls share one process, and a
# property of two calls would be disturbed by calls in between.
_one_at_a_time = threading.Lock()


def _hunt_here(task: Task, harness: str) -> Catch | LostTask:
    """Runs on a worker: the task, with its finds sent at once."""
    from distributed import get_worker

    require_same_sources(harness)
    with _one_at_a_time, warnings.catch_warnings():
        # Hypothesis monitors the `random` module, which other threads of the worker use for their own purposes.
        warnings.filterwarnings("ignore", "Do not use the `random` module", HypothesisDeprecationWarning)
        return hunt(task, lambda find: get_worker().log_event(TOPIC, {"task": task.number, "find": asdict(find)}))


def catches(
    client: Any, workers: About, schedule: Schedule, tell: Callable[[int, Find], None], look: Callable[[int, int], None]
) -> Generator[Catch | LostTask]:
    """The result of each of the schedule's tasks as they finish; UnusableCluster if the cluster becomes unusable.

    workers  the result of `ready`.
    tell  called with a task's number and a find as soon as it arrives, before its task finishes.
    look  called with the numbers of running tasks and of workers, twice a second.
    """
    from distributed import wait

    events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    client.subscribe_topic(TOPIC, lambda event: events.put(event[1]))
    flying: dict[Any, Task] = {}
    alone_since = over_since = None
    try:
        while True:
            count = len(client.scheduler_info(n_workers=-1)["workers"])
            while len(flying) < AHEAD * max(count, 1) and (task := schedule.next()) is not None:
                future = client.submit(_hunt_here, task, sources(), pure=False, resources=_resources(workers))
                flying[future] = task
            look(len(flying), count)
            if not flying:
                return
            now = time.monotonic()
            alone_since = None if count else alone_since or now
            over_since = over_since or now if schedule.is_over() else None
            if alone_since and now - alone_since > GRACE_S:
                raise UnusableCluster(f"The cluster has had no workers for {GRACE_S:g} s.")
            if over_since and now - over_since > GRACE_S:
                for task in flying.values():
                    yield LostTask(task, f"It was still under way {GRACE_S:g} s after the campaign's time was up.")
                return
            try:
                futures = wait(list(flying), timeout=LOOK_S, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                futures = set()
            _pass_on(events, tell)
            for future in futures:
                task = flying.pop(future)
                result = result_of(task, future)
                schedule.record_result(result)
                yield result
    finally:
        client.cancel(list(flying))
        client.unsubscribe_topic(TOPIC)
        _pass_on(events, tell)


def result_of(task: Task, future: Any) -> Catch | LostTask:
    """The result of a finished task; raises its exception, unless its workers were killed."""
    from distributed import KilledWorker

    error = future.exception()
    if isinstance(error, KilledWorker):
        return LostTask(
            task, f"It was on {error.last_worker.address} and others, and each of these workers ended under it."
        )
    if error is not None:
        raise error
    result: Catch | LostTask = future.result()
    return result


def _pass_on(events: queue.SimpleQueue[dict[str, Any]], tell: Callable[[int, Find], None]) -> None:
    while not events.empty():
        event = events.get()
        tell(event["task"], Find(**event["find"]))
