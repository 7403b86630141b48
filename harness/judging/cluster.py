"""Connects to the workers of a dask.distributed cluster and checks that they are fit for the work.

Campaigns and the matrix run on them. Each worker needs this checkout, on its path and of the same revision, and one
thread:

    PYTHONPATH=. dask scheduler
    PYTHONPATH=. DASK_DISTRIBUTED__WORKER__DAEMON=False dask worker ADDRESS --nthreads 1
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.repository import sources

# Seconds for an address to answer.
ANSWER_S = 10.0


@dataclass(frozen=True)
class Fit:
    """A process's fitness: the digest of its harness sources, and whether it may start processes of its own."""

    harness: str
    may_begin_processes: bool


def fit() -> Fit:
    """The fitness of this process."""
    return Fit(sources(), not multiprocessing.current_process().daemon)


class UnusableCluster(Exception):
    """The cluster cannot be used; the message says why and what to do."""


def connect(address: str) -> Any:
    """A client of the cluster at this address; UnusableCluster if there is none."""
    try:
        import distributed
    except ModuleNotFoundError:
        raise UnusableCluster(
            "A cluster needs the module 'distributed', which is not installed; `make env` installs it. Without "
            "--cluster the work is done on this machine."
        ) from None
    try:
        return distributed.Client(address, timeout=ANSWER_S)
    except (OSError, ValueError) as error:
        raise UnusableCluster(
            f"No scheduler answers at {address!r} within {ANSWER_S:g} s ({type(error).__name__}). Start one with "
            "`PYTHONPATH=. dask scheduler` in this checkout, which prints its address, such as tcp://10.0.0.1:8786."
        ) from None


def answers_of(client: Any, question: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Each worker's answer to a question, which includes its `harness`; UnusableCluster if one cannot answer."""
    if not client.scheduler_info(n_workers=-1)["workers"]:
        raise UnusableCluster("The cluster has no workers; start one with `dask worker ADDRESS --nthreads 1`.")
    try:
        client.run_on_scheduler(fit)
    except ModuleNotFoundError as error:
        raise UnusableCluster(
            f"The scheduler does not have the module {error.name!r}, which it needs to pass tasks on; start it in "
            "this checkout with `PYTHONPATH=. dask scheduler`, in the environment of `make env`."
        ) from None
    answers: dict[str, Any] = client.run(question, *arguments, on_error="return")
    for worker, answer in answers.items():
        if isinstance(answer, ModuleNotFoundError):
            raise UnusableCluster(
                f"The worker {worker} does not have the module {answer.name!r}; start it in this checkout, with "
                "PYTHONPATH=. before `dask worker` and the environment of `make env`."
            )
        if isinstance(answer, Exception):
            raise UnusableCluster(f"The worker {worker} cannot answer: {type(answer).__name__}: {answer}")
    others = [worker for worker, answer in answers.items() if answer.harness != sources()]
    if others:
        raise UnusableCluster(
            f"Another revision of the harness is on {', '.join(others)}; update these workers to the revision of this "
            "checkout and restart them."
        )
    return answers


def require_processes(may_begin: Mapping[str, bool], backend: str) -> None:
    """UnusableCluster if a worker may not start a process for a backend."""
    if bound := [worker for worker, may in may_begin.items() if not may]:
        raise UnusableCluster(
            f"The backend {backend} needs a process of its own, which {', '.join(bound)} may not start; restart these "
            "workers with DASK_DISTRIBUTED__WORKER__DAEMON=False in their environment, or with --no-nanny."
        )


def require_same_sources(harness: str) -> None:
    """On a worker: UnusableCluster if the digest of its harness differs from this one."""
    from distributed import get_worker

    if sources() != harness:
        raise UnusableCluster(
            f"Another revision of the harness is on {get_worker().address}; update this worker to the revision of the "
            "checkout that started the work."
        )
