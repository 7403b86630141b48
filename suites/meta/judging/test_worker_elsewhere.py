"""A worker in another interpreter answers, crashes, hangs and exits like one forked here."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.backends.peers import environments
from harness.judging import isolation
from harness.judging.trial import judge_case, run
from harness.operators.crop_and_resize.case import Case
from harness.operators.implementation import Backend
from harness.operators.verdict import Crash, Hang, Status

CASE = Case((2, 3, 5, 6), ((0.1, 0.2, 0.8, 0.9), (0.0, 0.0, 1.0, 1.0)), (1, 0), (2, 3))
# The module that the other worker loads. The extrapolation value selects the call's behaviour.
MODULE = """
import ctypes, os, time
from dataclasses import replace
import numpy as np
from harness import backends
from harness.operators.verdict import Crash

honest = backends.load("reference")

def call(inputs, direction):
    vice = inputs.extrapolation_value
    if vice == 1:
        ctypes.string_at(0)
    if vice == 2:
        os.write(2, b"libkernel: bad launch")
        os._exit(3)
    if vice == 3:
        time.sleep(600)
    if vice == 4:
        raise IndexError("box 0 is of image 7")
    if vice == 7:
        raise Crash("node ended: exit code 3.")
    if vice == 5:
        return np.array([os.getpid()])
    if vice == 6:
        return np.array(["torch" in __import__("sys").modules])
    return honest.run(inputs, direction)

def load(name, operator):
    prepare = lambda inputs, direction: lambda: call(inputs, direction)
    return replace(honest, name=name, title="elsewhere", prepare=prepare, to_numpy=lambda result: result)
"""


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend[Any]]:
    """A backend whose worker runs in another interpreter: this Python with one more folder in its path."""
    (tmp_path / "elsewhere.py").write_text(MODULE, encoding="utf-8")
    python = tmp_path / "tvm" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{tmp_path}" exec "{sys.executable}" "$@"\n', encoding="utf-8"
    )
    python.chmod(0o755)
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import elsewhere  # type: ignore[import-not-found]

    worker = isolation.isolated("tvm", "crop_and_resize", 5.0, elsewhere.load)
    yield worker
    worker.restart()
    del sys.modules["elsewhere"]


def case_with(number: float) -> Case:
    return Case(CASE.shape, CASE.boxes, CASE.box_indices, CASE.crop_size, extrapolation_value=number)


def process_of(backend: Backend[Any]) -> int:
    (number,) = backend.run(case_with(5).inputs(), "forward")
    return int(number)


def has_ended(process: int) -> bool:
    """Within two seconds; a zombie counts as still running."""
    until = time.monotonic() + 2
    while Path(f"/proc/{process}").exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def test_a_worker_in_another_interpreter_answers_without_torch(backend: Backend[Any]) -> None:
    assert backend.title == "elsewhere"
    assert process_of(backend) != os.getpid()
    (has_torch,) = backend.run(case_with(6).inputs(), "forward")
    assert not has_torch
    assert judge_case(backend, CASE, "forward").passed
    with pytest.raises(IndexError, match="box 0 is of image 7"):
        backend.run(case_with(4).inputs(), "forward")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (7, "node ended: exit code 3."),
        (1, "It ended its process: signal SIGSEGV."),
        (2, "It ended its process: exit code 3. Its last words: libkernel: bad launch"),
    ],
)
def test_a_crash_in_another_interpreter_is_a_result_and_the_next_call_works(
    backend: Backend[Any], number: int, message: str
) -> None:
    process = process_of(backend)
    result = run(backend, case_with(number).inputs(), "forward")
    assert isinstance(result, Crash)
    assert str(result) == message
    assert has_ended(process) or number == 7  # another process than the worker's
    assert judge_case(backend, CASE, "forward").passed


def test_a_worker_killed_in_a_call_is_a_crash(backend: Backend[Any]) -> None:
    process = process_of(backend)
    killer = threading.Timer(0.5, os.kill, (process, signal.SIGKILL))
    killer.start()
    assert str(run(backend, case_with(3).inputs(), "forward")) == "It ended its process: signal SIGKILL."
    killer.join()
    assert has_ended(process)
    assert judge_case(backend, CASE, "forward").passed


def test_a_hanging_call_in_another_interpreter_is_stopped(backend: Backend[Any]) -> None:
    process = process_of(backend)
    assert isinstance(run(backend, case_with(3).inputs(), "forward"), Hang)
    assert has_ended(process)
    assert judge_case(backend, case_with(3), "forward").status is Status.HANG
    assert judge_case(backend, CASE, "forward").passed


def test_a_restart_ends_the_worker_process(backend: Backend[Any]) -> None:
    process = process_of(backend)
    backend.restart()
    assert has_ended(process)
    assert process_of(backend) != process
