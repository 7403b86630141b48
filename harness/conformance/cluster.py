"""Runs the jobs of the matrix on a cluster, whose workers share the properties of each backend.

A task is a few properties of one backend. Each task starts the backend's process anew; a larger task would keep one
worker busy for half an hour, with a library that compiles every call, while the others wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from harness.conformance.jobs import Answer, Job, JobResult, answers, questions_of, result_of
from harness.conformance.processes import Tell
from harness.judging.cluster import answers_of, fit, require_processes, require_same_sources
from harness.repository import sources

# The number of properties per task.
_TOGETHER = 6
# A backend's calls share one process, and a worker may have several threads.
_one_at_a_time = threading.Lock()


def run(client: Any, jobs: Sequence[Job], tell: Tell, on_end: Callable[[JobResult], None]) -> list[JobResult]:
    """Runs all jobs on the workers of a client; UnusableCluster if they are not fit, ValueError if a backend is
    unusable.

    tell, on_end  as in harness.conformance.processes.run. KeyboardInterrupt cancels the remaining tasks and returns the
                  results so far.
    """
    from distributed import as_completed

    replies = answers_of(client, fit)
    require_processes({worker: each.may_begin_processes for worker, each in replies.items()}, jobs[0].backend)
    replies_of: dict[Job, list[Answer]] = {job: [] for job in jobs}
    open_parts = {job: _parts(job) for job in jobs}
    futures: dict[Any, tuple[Job, Job]] = {}
    for job, parts in open_parts.items():
        tell(job, len(questions_of(job, job.operators[:1])), None)
        futures |= {client.submit(_ask_here, part, sources(), pure=False): (job, part) for part in parts}
    problems: dict[Job, str] = {}
    results: list[JobResult] = []
    try:
        for future in as_completed(list(futures)):
            job, part = futures[future]
            error = future.exception()
            if isinstance(error, ValueError):
                raise error
            if error is not None:
                problems[job] = f"A worker that asked {job.backend} ended: {type(error).__name__}: {error}"
            else:
                for each in future.result():
                    replies_of[job].append(each)
                    tell(job, len(questions_of(job, job.operators[:1])), each)
            open_parts[job].remove(part)
            if not open_parts[job]:
                results.append(result_of(job, replies_of[job], problems.get(job, "")))
                on_end(results[-1])
    except KeyboardInterrupt:
        client.cancel(list(futures))
        for job in (job for job, parts in open_parts.items() if parts):
            problem = f"{job.backend} was stopped after {len(replies_of[job])} cells."
            results.append(result_of(job, replies_of[job], problem, stopped=True))
    return results


def _parts(job: Job) -> list[Job]:
    """Splits a job into jobs of a few properties each."""
    names = list(dict.fromkeys(property_.name for property_, _ in questions_of(job)))
    return [replace(job, property_names=tuple(names[k : k + _TOGETHER])) for k in range(0, len(names), _TOGETHER)]


def _ask_here(job: Job, harness: str) -> list[Answer]:
    """Runs on a worker: the answers of a job."""
    require_same_sources(harness)
    with _one_at_a_time:
        return list(answers(job))
