"""Runs a driver's call: its host code launches kernels, and each launch runs here, block by block.

The arrays of the call are the allocations of the launch, together with those that the host code allocates. An error
that stops a kernel ends the call, and is raised from it unchanged.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.kernels.binaries import short_name
from harness.kernels.drivers.arrays import picked_order
from harness.kernels.ptx import program
from harness.kernels.ptx.allocations import apart
from harness.kernels.ptx.block import Block, Triple
from harness.kernels.ptx.code import Code, prepare
from harness.kernels.ptx.counts import Counts, Traffic
from harness.kernels.ptx.faults import Fault
from harness.kernels.ptx.memory import Allocation, GlobalMemory
from harness.kernels.ptx.shared import GARBAGE, SharedMemory
from harness.kernels.ptx.spaces import Parameters, Spaces
from harness.operators.arrays import Array

_WITHOUT_ASKING = 48 * 1024
_MOST_SHARED = 227 * 1024
_MOST_THREADS = 1024
# Selects the blocks of a grid to run: (the kernel's short name, the number of blocks) -> block numbers.
Choice = Callable[[str, int], Sequence[int]]


class _Launch(ctypes.Structure):
    """The struct of runtime.cpp."""

    _fields_ = (
        ("image", ctypes.c_void_p),
        ("kernel", ctypes.c_char_p),
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_size_t),
        ("allowed_shared_bytes", ctypes.c_size_t),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
    )


_ON_LAUNCH = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Launch))
_VISIT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)
_ON_MEMORY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)


@dataclass
class _Call:
    """A running call: its allocations, how its kernels run, and its counts and error so far."""

    inputs: list[Allocation]
    direction: int
    choose: Choice | None
    scratch: dict[int, Allocation] = field(default_factory=dict)
    counts: list[Counts] = field(default_factory=list)
    error: Exception | None = None


@dataclass
class _KernelLibrary:
    """A library, with the code of the kernels launched so far."""

    library: ctypes.CDLL
    lock: threading.Lock = field(default_factory=threading.Lock)
    codes: dict[tuple[int, str], Code] = field(default_factory=dict)
    modules: dict[int, program.Module] = field(default_factory=dict)
    call: _Call | None = None
    callbacks: tuple[Any, ...] = ()

    def code(self, image: int, name: str) -> Code:
        if image not in self.modules:
            self.modules[image] = program.module(_text(image))
        if (image, name) not in self.codes:
            self.codes[image, name] = prepare(self.modules[image].kernel(name))
        return self.codes[image, name]


@functools.cache
def _load(path: Path) -> _KernelLibrary:
    kernels = _KernelLibrary(ctypes.CDLL(str(path)))

    def on_launch(launch: Any) -> int:
        assert kernels.call is not None
        try:
            _run(kernels, kernels.call, launch.contents)
        except Exception as error:  # an exception would get lost in the library's host code
            kernels.call.error = error
            return 1
        return 0

    def on_memory(address: int, size: int) -> None:
        assert kernels.call is not None
        if size:
            kernels.call.scratch[address] = Allocation("scratch", address, size, writable=True)
        else:
            kernels.call.scratch.pop(address, None)

    kernels.callbacks = (_ON_LAUNCH(on_launch), _ON_MEMORY(on_memory))
    kernels.library.set_callbacks(*kernels.callbacks)
    return kernels


def prepare_all(library: Path) -> list[Code]:
    """Prepares every kernel of a library; UnsupportedInstruction if one has an unknown instruction."""
    kernels = _load(library)
    names: list[tuple[int, str]] = []
    visit = _VISIT(lambda image, name: names.append((image, name.decode())))
    kernels.library.each_kernel(visit)
    return [kernels.code(*each) for each in names]


def launch(
    library: Path, name: str, order: int | None, boxes: Array, arguments: ctypes.Structure, results: Sequence[Array]
) -> None:
    """Runs a driver's function, with warps forward for an even order, backward for an odd one. None: selected by the
    boxes.

    Fault or UnsupportedInstruction if a kernel is stopped, RuntimeError with the host code's message if it refuses.
    """
    order = picked_order(boxes) if order is None else order
    with apart(arguments, results) as allocations:
        run(library, name, [ctypes.byref(arguments)], allocations, backward=order % 2 == 1)


def run(
    library: Path,
    name: str,
    arguments: Sequence[Any],
    allocations: Sequence[Allocation],
    *,
    backward: bool = False,
    choose: Choice | None = None,
) -> list[Counts]:
    """Calls a function of a library; returns the counts of each launch if `choose` is given. RuntimeError with the
    function's message, if it returns one."""
    kernels = _load(library)
    function = kernels.library[name]
    function.restype = ctypes.c_char_p
    with kernels.lock:
        call = _Call(list(allocations), -1 if backward else 1, choose)
        kernels.call = call
        try:
            message = function(*arguments)
        finally:
            kernels.call = None
    if call.error is not None:
        raise call.error
    if message is not None:
        raise RuntimeError(message.decode())
    return call.counts


def _text(image: int) -> str:
    """The PTX of a file, from nvcc's fat binary: a wrapper points to a header, which is followed by the text."""
    magic, _, data = _fields(image, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)
    kind, _, header, size = _fields(data, ctypes.c_uint32, ctypes.c_uint16, ctypes.c_uint16, ctypes.c_uint64)
    if (magic, kind) != (0x466243B1, 0xBA55ED50):
        raise RuntimeError("This nvcc's objects have a layout that the emulator does not know.")
    content = ctypes.string_at(data + header, size)
    begin = content.index(b".version")
    return content[begin : content.index(b"\0", begin)].decode()


def _fields(address: int, *types: Any) -> list[Any]:
    layout: Any = type("Layout", (ctypes.Structure,), {"_fields_": [(f"f{i}", each) for i, each in enumerate(types)]})
    value = layout.from_address(address)
    return [getattr(value, f"f{i}") for i in range(len(types))]


def _run(kernels: _KernelLibrary, call: _Call, launch: _Launch) -> None:
    code = kernels.code(launch.image, launch.kernel.decode())
    grid, threads = _triple(launch.grid), _triple(launch.block)
    _check(code, grid, threads, launch.shared_bytes, launch.allowed_shared_bytes)
    memory = GlobalMemory([*call.inputs, *call.scratch.values()], strict=call.choose is None)
    parameters = Parameters(_parameters(code, launch.arguments))
    counts = execute(code, grid, threads, launch.shared_bytes, parameters, memory, call.choose, call.direction)
    if counts is not None:
        call.counts.append(counts)


def execute(
    code: Code,
    grid: Triple,
    threads: Triple,
    shared_bytes: int,
    parameters: Parameters,
    memory: GlobalMemory,
    choose: Choice | None,
    direction: int = 1,
) -> Counts | None:
    """Runs the blocks of one launch, with warps forward or, if direction is -1, backward.

    Returns its counts if `choose` is given. Fault or UnsupportedInstruction if a kernel is stopped.
    """
    count, name = int(np.prod(grid)), short_name(code.kernel.name)
    numbers: Sequence[int] = range(count) if choose is None else choose(name, count)
    traffic = None if choose is None else Traffic()
    warps = -(-int(np.prod(threads)) // 32)
    runs, divergent = [0] * len(code.parts), 0
    with np.errstate(all="ignore"):
        for number in numbers[::direction]:
            shared = SharedMemory(code.fixed_shared_bytes + shared_bytes, warps, code.grain, GARBAGE[direction])
            spaces = Spaces(parameters, memory, shared, traffic)
            block = Block(code, grid, threads, _index(number, grid), spaces, runs, direction)
            block.run()
            divergent += block.divergent_branches
    if traffic is None:
        return None
    opcodes = code.opcodes(runs)
    return Counts(
        kernel=name,
        blocks=count,
        blocks_run=len(numbers),
        threads=int(np.prod(threads)),
        shared_bytes=code.fixed_shared_bytes + shared_bytes,
        warps_run=warps * len(numbers),
        instructions=dict(opcodes),
        branches=sum(times for opcode, times in opcodes.items() if opcode.startswith("bra")),
        divergent_branches=divergent,
        requests=dict(traffic.requests),
        sectors=dict(traffic.sectors),
        shared_requests=dict(traffic.shared_requests),
        wavefronts=dict(traffic.wavefronts),
    )


def _triple(values: Any) -> Triple:
    x, y, z = values
    return x, y, z


def _index(number: int, grid: Triple) -> Triple:
    x, y, _ = grid
    return number % x, number // x % y, number // (x * y)


def _parameters(code: Code, arguments: Any) -> Array:
    values = np.zeros(code.kernel.parameter_bytes, np.uint8)
    for argument, (offset, size) in enumerate(code.kernel.parameters.values()):
        values[offset : offset + size] = np.frombuffer(ctypes.string_at(arguments[argument], size), np.uint8)
    return values


def _check(code: Code, grid: Triple, threads: Triple, shared: int, limit: int) -> None:
    """Fault if CUDA would refuse the launch."""
    name, count = short_name(code.kernel.name), int(np.prod(threads))
    most = code.kernel.most_threads or _MOST_THREADS
    if min(grid) < 1 or grid[0] >= 2**31 or max(grid[1:]) > 65535:
        raise Fault(
            f"CUDA refuses to launch {name}: a grid has at least one block and at most (2147483647, 65535, 65535), "
            f"not {grid}."
        )
    if count < 1 or count > most or threads[2] > 64:
        raise Fault(
            f"CUDA refuses to launch {name}: a block of this kernel has at least one thread and at most {most}, 64 of "
            f"them along z, not {threads}."
        )
    size = code.fixed_shared_bytes + shared
    if size > min(max(_WITHOUT_ASKING, limit), _MOST_SHARED):
        raise Fault(
            f"CUDA refuses to launch {name}: beyond 48 KiB shared memory has to be allowed with cudaFuncSetAttribute; "
            f"{size} bytes are asked for and {limit} are allowed."
        )
