"""Runs the jobs of the matrix on this machine: a few at once, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from harness.conformance.jobs import Answer, Job, JobResult, answers, questions_of, result_of

# Called with a job, its number of answers, and the latest answer (None at the start).
Tell = Callable[[Job, int, Answer | None], None]


def run(
    jobs: Sequence[Job],
    tell: Tell,
    on_end: Callable[[JobResult], None] = lambda result: None,
    side_by_side: int = 2,
) -> list[JobResult]:
    """Runs all jobs, `side_by_side` at once, each in a process of its own; ValueError if a backend is unusable.

    tell    see Tell; called from threads.
    on_end  called from threads with the result of each finished job.

    KeyboardInterrupt ends the processes and returns the results so far, each job with its problem.
    """
    running: list[Any] = []
    stop = threading.Event()
    # The threads only wait for processes: the oracle is Python, and one interpreter would run one job at a time.
    with ThreadPoolExecutor(side_by_side) as pool:
        futures = [pool.submit(_run, job, tell, on_end, running, stop) for job in jobs]
        try:
            return [each.result() for each in futures]
        except BaseException as error:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                process.terminate()
            if not isinstance(error, KeyboardInterrupt):
                raise
    return [
        JobResult(job, (), f"{job.backend} was not asked.", True) if each.cancelled() else each.result()
        for job, each in zip(jobs, futures, strict=True)
    ]


def _run(
    job: Job,
    tell: Tell,
    on_end: Callable[[JobResult], None],
    running: list[Any],
    stop: threading.Event,
) -> JobResult:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, job))
    process.start()
    running.append(process)
    if stop.is_set():
        process.terminate()
    theirs.close()
    replies: list[Answer] = []
    count = len(questions_of(job, job.operators[:1]))
    tell(job, count, None)
    problem: str | None = None
    try:
        while (message := ours.recv()) is not None:
            if isinstance(message, str):
                raise ValueError(message)
            replies.append(message)
            tell(job, count, message)
    except EOFError:
        process.join()
        ending = "was stopped" if stop.is_set() else f"ended with code {process.exitcode}"
        problem = f"The process that asked {job.backend} {ending} after {len(replies)} cells."
    process.join()
    running.remove(process)
    result = result_of(job, replies, problem or "", stop.is_set() and bool(problem))
    on_end(result)
    return result


def _send(connection: Connection, job: Job) -> None:
    """Runs in the process of a job: sends its answers, then None; or an error message first."""
    # A terminal interrupts this process too; its parent decides when to end it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for each in answers(job):
            connection.send(each)
    except ValueError as unusable:
        connection.send(str(unusable))
    connection.send(None)
