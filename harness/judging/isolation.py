"""Runs an implementation in a process of its own, so that a crash is a result and does not end the run.

A kernel under development may segfault, abort, hang, or corrupt a GPU's context. Each call is sent to a worker with the
memory around its arrays, strides included, and returns an array, an exception, or Crash or Hang from
operators/verdict.py; after those the next call gets a new worker. A call costs about a quarter of a millisecond. Shared
memory between results is visible only in the worker, so the worker itself observes a series of calls.
"""

from __future__ import annotations

import builtins
import multiprocessing
import os
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import interpreter, load
from harness.judging.worker import Load, arrays, pack, serve_to_log
from harness.operators.arrays import Array, Direction
from harness.operators.implementation import Backend, Observation
from harness.operators.sheet import LIMIT_S, OperatorName
from harness.operators.verdict import Crash, Hang
from harness.repository import ROOT, MissingLibrary

# A process's first call may compile a kernel, and gets this many extra seconds; later processes get three times what
# the first call took.
FIRST_S = 90.0
# A call gets the sheet's limit once more for every this many values of its image and result.
VALUES = 100_000
# Errors after which a GPU fails every further call.
_USELESS = ("CUDA error", "CUDNN_STATUS", "HIP error", "an illegal memory access was encountered")


class Worker:
    """One backend's process, started on first use and again after each crash."""

    def __init__(
        self,
        name: str,
        operator: OperatorName,
        limit_s: float | None = None,
        load: Load = load,
        values: float = VALUES,
    ) -> None:
        self.name, self.operator, self.limit_s, self.load = name, operator, limit_s or LIMIT_S, load
        self.values = values
        self._context = multiprocessing.get_context("forkserver")
        # They take seconds to import; a forked worker has them at once. Importing starts no threads and no GPU. Missing
        # modules are skipped.
        self._context.set_forkserver_preload(["harness.judging.isolation", "torch", "torchvision"])
        self._process: Any = None
        self._connection: Connection | None = None
        self._has_run, self._first_s = False, FIRST_S if limit_s is None else 0.0
        # An unnamed file, which disappears however this process ends.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  it is open as long as this object lives
        weakref.finalize(self, self._log.close)

    def ask(self, question: str, *rest: Any, limit_s: float = 0.0) -> Any:
        """The worker's answer within the time limit; raises Crash, Hang, or the call's own exception."""
        connection = self._begin()
        limit_s = max(limit_s, self.limit_s) + (0.0 if self._has_run else self._first_s)
        start = time.monotonic()
        try:
            connection.send((question, *rest))
            if not connection.poll(limit_s):
                self.stop()
                raise Hang(
                    f"It did not return within {limit_s:,.0f} s, and was stopped; `limit` in its sheet, or --limit, "
                    "grants a slow one more."
                )
            kind, answer = connection.recv()
        except (EOFError, ConnectionError):
            raise Crash(self._exit_message()) from None
        if question in ("run", "observe") and not self._has_run:
            self._has_run, self._first_s = True, 3 * (time.monotonic() - start)
        if kind != "raised":
            return answer
        raise self._error(*answer)

    def run(self, inputs: Any, direction: Direction) -> Array:
        """One call. Its changes to the inputs are applied to them here as well."""
        result, changes = self.ask(
            "run", arrays(inputs, pack, np.ndarray), direction, limit_s=self.limit_s * self._work(inputs)
        )
        for name, values in changes.items():
            getattr(inputs, name)[...] = values
        return np.asarray(result)

    def observe(self, series: Sequence[Any], direction: Direction) -> Observation:
        """A series of calls, as in Backend.observe."""
        packed_calls = [arrays(each, pack, np.ndarray) for each in series]
        observation: Observation = self.ask(
            "observe", *packed_calls, direction, limit_s=self.limit_s * sum(map(self._work, series))
        )
        results = [self._error(*each.args) if isinstance(each, Exception) else each for each in observation.results]
        return Observation(tuple(results), observation.effect)

    def time(self, inputs: Any, direction: Direction) -> tuple[float, ...]:
        """The seconds of each of a few calls, measured in the worker."""
        limit_s = 5 * self.limit_s * self._work(inputs)
        seconds: tuple[float, ...] = self.ask("time", arrays(inputs, pack, np.ndarray), direction, limit_s=limit_s)
        return seconds

    def stop(self) -> None:
        """Kills the process."""
        if self._process is not None:
            self._process.kill()
            self._exit_code()
            self._connection.close()  # type: ignore[union-attr]
        self._process = self._connection = None
        self._has_run = False

    def _begin(self) -> Connection:
        if self._connection is None:
            self._log.seek(0)
            self._log.truncate()
            python = interpreter(self.name, self.operator)
            self._connection, theirs = self._context.Pipe()
            if python is None:
                arguments = (theirs, self.load, self.name, self.operator, DupFd(self._log.fileno()))
                self._process = self._context.Process(target=serve_to_log, args=arguments, daemon=True)
                self._process.start()
            else:
                self._process = self._elsewhere(python, theirs.fileno())
                self._connection.send((self.load, self.name, self.operator))
            theirs.close()
        return self._connection

    def _elsewhere(self, python: Path, descriptor: int) -> subprocess.Popen[bytes]:
        """Starts the worker in another interpreter, which sees this checkout but no package installed for this one."""
        process = subprocess.Popen(
            [python, "-c", f"from harness.judging import worker; worker.begin({descriptor})"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=(descriptor,),
        )
        weakref.finalize(self, _end, process)  # during a call it would outlive this process
        return process

    def _work(self, inputs: Any) -> float:
        """The multiple of the limit that a call gets: 1, plus 1 for every `values` values."""
        return 1.0 + float(inputs.image.size + inputs.upstream.size) / self.values

    def _exit_code(self) -> int:
        """Waits for the process to end."""
        if isinstance(self._process, subprocess.Popen):
            return self._process.wait()
        self._process.join()
        code: int = self._process.exitcode
        return code

    def _exit_message(self) -> str:
        code = self._exit_code()
        self.stop()
        ending = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        # Python's own traceback of a fault comes last and says where; the lines before it say why.
        lines = lines[: next((k for k, line in enumerate(lines) if line.startswith("Fatal Python error")), len(lines))]
        # A segfault prints nothing; the log is unrelated then.
        has_log = lines and code != -signal.SIGSEGV
        return f"It ended its process: {ending}." + (f" Its last words: {lines[-1].strip()[:300]}" if has_log else "")

    def _error(self, kind: str, message: str) -> Exception:
        """A call's exception, by its class if this process knows it; raises Crash if the device is unusable from now
        on."""
        if any(word in message for word in _USELESS):
            self.stop()
            raise Crash(f"It left the device unusable: {kind}: {message.splitlines()[0]}")
        if kind == "MissingLibrary":
            return MissingLibrary(message)
        if kind == "Crash":  # a process that the worker runs the library in, such as node
            return Crash(message)
        error_class = getattr(builtins, kind, None)
        if isinstance(error_class, type) and issubclass(
            error_class, (ValueError, TypeError, LookupError, MemoryError, NotImplementedError)
        ):
            return error_class(message)
        return RuntimeError(f"{kind}: {message}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def isolated(
    name: str, operator: OperatorName, limit_s: float | None = None, load: Load = load, values: float = VALUES
) -> Backend[Any]:
    """The backend of this name behind a Worker; raises the errors of harness.backends.load, and Crash if loading
    crashes.

    limit_s: seconds that a call on a small case may take, including a process's first call; by default the sheet's
    limit. load: loads the backend in the worker, e.g. harness.faults.load; the worker imports it by module and name.
    values: a call gets the limit once more for every this many values of its image and result.
    """
    worker = Worker(name, operator, limit_s, load, values)
    title, sheet, same_rule, has_snippet = worker.ask("about")
    worker.limit_s = limit_s or sheet.limit
    return Backend(
        name=name,
        title=title,
        sheet=sheet,
        prepare=lambda inputs, direction: lambda: worker.run(inputs, direction),
        to_numpy=lambda result: result,
        avoids=lambda inputs, direction: worker.ask("avoids", arrays(inputs, pack, np.ndarray), direction),
        same_rule=same_rule,
        remote=worker.observe,
        restart=worker.stop,
        snippet=(lambda *of: str(worker.ask("snippet", arrays(of[0], pack, np.ndarray), *of[1:])))
        if has_snippet
        else None,
        seconds=worker.time,
    )
