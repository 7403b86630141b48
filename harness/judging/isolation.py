"""Somebody else's implementation in a process of its own, so that a crash is a result and not the end of the run.

A kernel under development segfaults, aborts, hangs, or leaves a GPU's context useless. Each call goes to a worker with
the memory that its arrays lie in, strides and surroundings included, and comes back as an array, an exception, or
Crashed or Hung from operators/verdict.py; then the next call gets a new worker. A call costs about a quarter of a
millisecond.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends import load
from harness.operators.arrays import Array, Direction
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName
from harness.operators.verdict import Crashed, Hung
from harness.repository import MissingLibrary

Load = Callable[[str, OperatorName], Backend[Any]]
# A first call may compile a kernel.
LIMIT_S = 120.0
# What a GPU's driver says once, and from then on of every call.
_USELESS = ("CUDA error", "CUDNN_STATUS", "HIP error", "an illegal memory access was encountered")


@dataclass(frozen=True)
class _Packed:
    """An array as the memory that it lies in and its place there: pickling alone would lay it out anew."""

    memory: bytes
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int


def _packed(array: Array) -> _Packed:
    if not array.size:
        return _Packed(b"", array.dtype, array.shape, array.strides, 0)
    root = array  # of a view the array that owns the memory: what lies around the view is part of the case
    while isinstance(root.base, np.ndarray):
        root = root.base
    low, high = np.lib.array_utils.byte_bounds(root)
    offset = array.__array_interface__["data"][0] - low
    return _Packed(ctypes.string_at(low, high - low), array.dtype, array.shape, array.strides, offset)


def _unpacked(packed: _Packed) -> Array:
    if not packed.memory:
        return np.zeros(packed.shape, packed.dtype)
    memory = bytearray(packed.memory)
    array: Array = np.ndarray(packed.shape, packed.dtype, memory, packed.offset, packed.strides)
    return array


def _arrays(inputs: Any, change: Callable[[Any], Any], kind: type) -> Any:
    values = {each.name: getattr(inputs, each.name) for each in fields(inputs)}
    return replace(inputs, **{name: change(value) for name, value in values.items() if isinstance(value, kind)})


def _serve(connection: Connection, load: Load, name: str, operator: OperatorName, log: str) -> None:
    """The worker: answers what it is asked until nobody asks."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    faulthandler.enable()
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    backend: Backend[Any] | None = None
    last: tuple[Array, bytes] | None = None
    with contextlib.suppress(EOFError):
        while True:
            question, *rest = connection.recv()
            try:
                backend = backend or load(name, operator)
                if question == "about":
                    connection.send(("about", (backend.title, backend.sheet, backend.same_rule)))
                elif question == "avoids":
                    connection.send(("avoids", backend.avoids(_arrays(rest[0], _unpacked, _Packed), rest[1])))
                else:
                    inputs = _arrays(rest[0], _unpacked, _Packed)
                    got = backend.run(inputs, rest[1])
                    changed = last[0].copy() if last is not None and last[0].tobytes() != last[1] else None
                    last = got, got.tobytes()
                    connection.send(("ran", (got, _written(inputs, rest[0]), changed)))
            except Exception as error:
                connection.send(("raised", (type(error).__name__, str(error))))


def _written(inputs: Any, sent: Any) -> dict[str, Array]:
    """The inputs that the call wrote to, as it left them."""
    names = [each.name for each in fields(inputs) if isinstance(getattr(inputs, each.name), np.ndarray)]
    return {
        name: np.array(getattr(inputs, name))
        for name in names
        if getattr(inputs, name).tobytes() != _unpacked(getattr(sent, name)).tobytes()
    }


class Worker:
    """One backend's process, begun when it is first asked and again after each crash."""

    def __init__(self, name: str, operator: OperatorName, limit_s: float = LIMIT_S, load: Load = load) -> None:
        self.name, self.operator, self.limit_s, self.load = name, operator, limit_s, load
        self._context = multiprocessing.get_context("forkserver")
        # They take seconds to import; a forked worker has them at once. Importing starts no threads and no GPU. What is
        # not installed is passed over.
        self._context.set_forkserver_preload(["harness.judging.isolation", "torch", "torchvision"])
        self._process: Any = None
        self._connection: Connection | None = None
        self._log = Path(tempfile.mkstemp(prefix="roi-align-worker-")[1])
        self._last: Array | None = None

    def ask(self, question: str, *rest: Any) -> Any:
        """The worker's answer; Crashed, Hung, or what the call raised."""
        connection = self._begin()
        try:
            connection.send((question, *rest))
            if not connection.poll(self.limit_s):
                self.stop()
                raise Hung(f"It did not return within {self.limit_s:g} s, and was stopped.")
            kind, answer = connection.recv()
        except (EOFError, ConnectionError):
            raise Crashed(self._how_it_ended()) from None
        if kind != "raised":
            return answer
        return self._raise(*answer)

    def run(self, inputs: Any, direction: Direction) -> Array:
        """One call. What it did to its inputs, or to the result before, is done to them here as well."""
        got, written, changed = self.ask("run", _arrays(inputs, _packed, np.ndarray), direction)
        if changed is not None and self._last is not None:
            self._last[...] = changed
        for name, values in written.items():
            getattr(inputs, name)[...] = values
        self._last = got
        return np.asarray(got)

    def stop(self) -> None:
        """Ends the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()  # type: ignore[union-attr]
        self._process = self._connection = self._last = None

    def close(self) -> None:
        """Ends the process and removes its log."""
        self.stop()
        self._log.unlink(missing_ok=True)

    def _begin(self) -> Connection:
        if self._connection is None:
            self._log.write_bytes(b"")
            self._connection, theirs = self._context.Pipe()
            arguments = (theirs, self.load, self.name, self.operator, str(self._log))
            self._process = self._context.Process(target=_serve, args=arguments, daemon=True)
            self._process.start()
            theirs.close()
        return self._connection

    def _how_it_ended(self) -> str:
        self._process.join()
        code = self._process.exitcode
        self.stop()
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        said = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        # Python's own account of a fault comes last and says where it was called from; what came before says why.
        said = said[: next((at for at, line in enumerate(said) if line.startswith("Fatal Python error")), len(said))]
        # Who is killed for a stray access says nothing; what stands in the log then is about something else.
        told = said and code != -signal.SIGSEGV
        return f"It ended its process: {how}." + (f" Its last words: {said[-1].strip()[:300]}" if told else "")

    def _raise(self, kind: str, message: str) -> Any:
        if any(word in message for word in _USELESS):
            self.stop()
            raise Crashed(f"It left the device useless: {kind}: {message.splitlines()[0]}")
        if kind == "MissingLibrary":
            raise MissingLibrary(message)
        known = getattr(builtins, kind, None)
        if isinstance(known, type) and issubclass(
            known, (ValueError, TypeError, LookupError, MemoryError, NotImplementedError)
        ):
            raise known(message)
        raise RuntimeError(f"{kind}: {message}")


def isolated(name: str, operator: OperatorName, limit_s: float = LIMIT_S, load: Load = load) -> Backend[Any]:
    """The backend of that name behind a Worker; the errors of harness.backends.load, and Crashed if loading ends it.

    load: what loads it there, such as harness.faults.load; found by its module and name, which the worker imports.
    """
    worker = Worker(name, operator, limit_s, load)
    title, sheet, same_rule = worker.ask("about")
    return Backend(
        name=name,
        title=title,
        sheet=sheet,
        prepare=lambda inputs, direction: lambda: worker.run(inputs, direction),
        to_numpy=lambda result: result,
        avoids=lambda inputs, direction: worker.ask("avoids", _arrays(inputs, _packed, np.ndarray), direction),
        same_rule=same_rule,
    )
