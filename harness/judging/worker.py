"""The worker process of isolation.py: runs an implementation and answers questions about it.

It is forked from a server that has already imported torch, or started in the interpreter that has the library:

    python -c "from harness.judging import worker; worker.begin(DESCRIPTOR)"

with the descriptor of a connection, whose first message says what to load. Arrays are sent with the memory around them,
strides included.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from harness.operators.arrays import Array
from harness.operators.implementation import Backend, Observation
from harness.operators.sheet import OperatorName, Sheet

Load = Callable[[str, OperatorName], Backend[Any]]
# A block of timed calls: at least so many, then until so many seconds have passed or so many calls were made.
CALLS_MIN, CALLS_S, CALLS_MOST = 3, 0.2, 200


@dataclass(frozen=True)
class PackedArray:
    """An array as its surrounding memory and its position in it; pickling alone would change its layout."""

    memory: bytes
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int


def pack(array: Array) -> PackedArray:
    if not array.size:
        return PackedArray(b"", array.dtype, array.shape, array.strides, 0)
    root = array  # the owner of a view's memory: the memory around a view is part of the case
    while isinstance(root.base, np.ndarray):
        root = root.base
    low, high = np.lib.array_utils.byte_bounds(root)
    offset = array.__array_interface__["data"][0] - low
    return PackedArray(ctypes.string_at(low, high - low), array.dtype, array.shape, array.strides, offset)


def _unpack(source: PackedArray) -> Array:
    if not source.memory:
        return np.zeros(source.shape, source.dtype)
    size = source.dtype.itemsize
    memory: Array = np.ndarray((len(source.memory) // size,), source.dtype, bytearray(source.memory))
    array: Array = np.ndarray(
        source.shape, source.dtype, memory, source.offset, source.strides
    )  # a view, so it has a base
    return array


def arrays(inputs: Any, change: Callable[[Any], Any], kind: type) -> Any:
    values = {each.name: getattr(inputs, each.name) for each in fields(inputs)}
    return replace(inputs, **{name: change(value) for name, value in values.items() if isinstance(value, kind)})


def begin(descriptor: int) -> None:
    """Serves on an inherited descriptor, in another interpreter."""
    connection = Connection(descriptor)
    serve(connection, *connection.recv())


def serve_to_log(connection: Connection, load: Load, name: str, operator: OperatorName, log: Any) -> None:
    """Serves in a forked process, with its output redirected to a file."""
    descriptor = log.detach()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    serve(connection, load, name, operator)


def serve(connection: Connection, load: Load, name: str, operator: OperatorName) -> None:
    """Answers questions until the connection closes."""
    faulthandler.enable()
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    backend: Backend[Any] | None = None
    with contextlib.suppress(EOFError):
        while True:
            question, *rest = connection.recv()
            try:
                backend = backend or load(name, operator)
                if question == "about":
                    connection.send((question, _about(backend)))
                    continue
                if question == "snippet":
                    inputs, direction, index = rest
                    assert backend.snippet is not None
                    connection.send((question, backend.snippet(arrays(inputs, _unpack, PackedArray), direction, index)))
                    continue
                *packed_calls, direction = rest
                calls = [arrays(each, _unpack, PackedArray) for each in packed_calls]
                if question == "avoids":
                    connection.send((question, backend.avoids(calls[0], direction)))
                elif question == "time":
                    connection.send((question, _seconds(backend.prepare(calls[0], direction))))
                elif question == "observe":
                    connection.send((question, _plain(backend.observe(calls, direction))))
                else:
                    result = backend.run(calls[0], direction)
                    connection.send((question, (result, _changed_inputs(calls[0], packed_calls[0]))))
            except Exception as error:
                connection.send(("raised", _name_and_message(error)))


def _about(backend: Backend[Any]) -> tuple[str, Sheet, bool, bool]:
    return backend.title, backend.sheet, backend.same_rule, backend.snippet is not None


def _seconds(call: Callable[[], Any]) -> tuple[float, ...]:
    """The seconds of each of a few calls, after one warm-up call."""
    call()
    seconds: list[float] = []
    while len(seconds) < CALLS_MIN or (sum(seconds) < CALLS_S and len(seconds) < CALLS_MOST):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return tuple(seconds)


def _plain(observation: Observation) -> Observation:
    """Replaces exceptions by their names and messages, since the other process may not have their classes."""
    results = [
        RuntimeError(*_name_and_message(each)) if isinstance(each, Exception) else each for each in observation.results
    ]
    return Observation(tuple(results), observation.effect)


def _name_and_message(error: Exception) -> tuple[str, str]:
    return type(error).__name__, str(error)


def _changed_inputs(inputs: Any, packed_calls: Any) -> dict[str, Array]:
    """The inputs that the call wrote to, with their new values."""
    names = [each.name for each in fields(inputs) if isinstance(getattr(inputs, each.name), np.ndarray)]
    return {
        name: np.array(getattr(inputs, name))
        for name in names
        if getattr(inputs, name).tobytes() != _unpack(getattr(packed_calls, name)).tobytes()
    }
