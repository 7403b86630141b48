"""The jobs of the matrix on this machine: a few at once, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from harness.conformance.jobs import Answer, Done, Job, answers, done_of, questions_of

# Called with a job, how many answers it will have, and the one that came, at first None.
Tell = Callable[[Job, int, Answer | None], None]


def run(
    chosen: Sequence[Job],
    tell: Tell,
    ended: Callable[[Done], None] = lambda done: None,
    side_by_side: int = 2,
) -> list[Done]:
    """All jobs, so many at once, each in a process of its own; ValueError if a backend cannot be used at all.

    tell   called from threads, as Tell has it.
    ended  called from threads with a job that is done.

    KeyboardInterrupt ends the processes: what they had done by then is returned, each job with its problem.
    """
    running: list[Any] = []
    stopped = threading.Event()
    # Threads wait for the processes that work: the oracle is Python, and one interpreter would do one thing at a time.
    with ThreadPoolExecutor(side_by_side) as pool:
        jobs = [pool.submit(_run, job, tell, ended, running, stopped) for job in chosen]
        try:
            return [each.result() for each in jobs]
        except BaseException as error:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                process.terminate()
            if not isinstance(error, KeyboardInterrupt):
                raise
    return [
        Done(job, (), f"{job.backend} was not asked.", True) if each.cancelled() else each.result()
        for job, each in zip(chosen, jobs, strict=True)
    ]


def _run(
    job: Job,
    tell: Tell,
    ended: Callable[[Done], None],
    running: list[Any],
    stopped: threading.Event,
) -> Done:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(theirs, job))
    process.start()
    running.append(process)
    if stopped.is_set():
        process.terminate()
    theirs.close()
    done: list[Answer] = []
    count = len(questions_of(job, job.operators[:1]))
    tell(job, count, None)
    problem: str | None = None
    try:
        while (message := ours.recv()) is not None:
            if isinstance(message, str):
                raise ValueError(message)
            done.append(message)
            tell(job, count, message)
    except EOFError:
        process.join()
        how = "was stopped" if stopped.is_set() else f"ended with code {process.exitcode}"
        problem = f"The process that asked {job.backend} {how} after {len(done)} cells."
    process.join()
    running.remove(process)
    finished = done_of(job, done, problem or "", stopped.is_set() and bool(problem))
    ended(finished)
    return finished


def _send(connection: Connection, job: Job) -> None:
    """The process of a job: its answers, then None; or a sentence."""
    # A terminal interrupts this process too, and it is for the one that began it to end it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for each in answers(job):
            connection.send(each)
    except ValueError as unusable:
        connection.send(str(unusable))
    connection.send(None)
