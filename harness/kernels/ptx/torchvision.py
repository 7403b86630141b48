"""Counts torchvision's own roi_align kernels like this project's, by emulating the PTX in torchvision's library.

A transcription of its rule would count our own code instead. The wheels built with CUDA contain PTX for their newest
architecture, which cuobjdump extracts. The launch is torchvision's: 512 threads per block, at most 4096 blocks, a
thread for each value. The operator is deterministic in the forward; its gradient uses atomics.
"""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from harness.kernels.binaries import disassembler
from harness.kernels.ptx.code import Code, prepare
from harness.kernels.ptx.counts import Counts
from harness.kernels.ptx.emulator import execute
from harness.kernels.ptx.memory import Allocation, GlobalMemory
from harness.kernels.ptx.program import Kernel, module
from harness.kernels.ptx.spaces import Parameters
from harness.operators.arrays import Array, Direction
from harness.operators.roi_align.case import RoiInputs
from harness.repository import MissingLibrary

_THREADS, _MOST_BLOCKS = 512, 4096
_KERNELS: dict[Direction, str] = {
    "forward": "roi_align_forward_kernel_implIfE",
    "grad_image": "roi_align_backward_kernel_implIfE",
}


def count_torchvision(inputs: RoiInputs, direction: Direction, *, blocks: int = 4) -> tuple[Counts, Array]:
    """The counts of torchvision's kernel on a case of float32, contiguous maps and mode "avg", in a few blocks.

    Also returns the part of the crops or gradient that these blocks wrote. MissingLibrary if torchvision or cuobjdump
    is missing, or if torchvision was built without CUDA.
    """
    code = prepare(_kernel(direction))
    image = np.ascontiguousarray(inputs.image)
    boxes, upstream = inputs.boxes.astype(np.float32), np.ascontiguousarray(inputs.upstream)
    _, channels, height, width = image.shape
    bins, rule = inputs.output_size, (np.int32(inputs.sampling_ratio), np.bool_(inputs.aligned))
    sizes = [np.int32(each) for each in (channels, height, width, *bins)]
    scale = np.float32(inputs.spatial_scale)
    total = np.int32(upstream.size)
    if direction == "forward":
        result = np.zeros_like(upstream)
        values = [total, image, scale, *sizes, *rule, boxes, result]
    else:
        result = np.zeros_like(image)
        strides = [np.int32(stride // upstream.itemsize) for stride in upstream.strides]
        values = [total, upstream, scale, *sizes, *rule, result, boxes, *strides, np.int32(image.size)]
    arrays = [each for each in values if isinstance(each, np.ndarray)]
    grid = (min(-(-int(total) // _THREADS), _MOST_BLOCKS), 1, 1)
    counts = execute(
        code,
        grid,
        (_THREADS, 1, 1),
        0,
        Parameters(_parameters(code, values)),
        GlobalMemory([_allocation(each, each is result) for each in arrays], strict=False),
        lambda _, all_blocks: [(2 * k + 1) * all_blocks // (2 * blocks) for k in range(min(blocks, all_blocks))],
    )
    assert counts is not None
    return counts, result


def _allocation(array: Array, writable: bool) -> Allocation:
    return Allocation("torchvision's array", array.ctypes.data, array.nbytes, writable, filled=True)


def _parameters(code: Code, values: list[Array | np.generic]) -> Array:
    """The values laid out as the kernel's parameters; arrays become addresses. A kernel may take fewer values."""
    parameters = np.zeros(code.kernel.parameter_bytes, np.uint8)
    for value, (offset, size) in zip(values, code.kernel.parameters.values(), strict=False):
        scalar = np.uint64(value.ctypes.data) if isinstance(value, np.ndarray) else value
        if scalar.nbytes != size:
            raise RuntimeError(
                "torchvision's kernel has other parameters in this version; update the call in this module."
            )
        parameters[offset : offset + size] = np.frombuffer(scalar.tobytes(), np.uint8)
    return parameters


@functools.cache
def _kernel(direction: Direction) -> Kernel:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise MissingLibrary("torchvision is not installed.")
    libraries = sorted(Path(spec.origin).parent.glob("_C*.so"))
    for library in libraries:
        with tempfile.TemporaryDirectory() as folder:
            command = [str(disassembler()), "-xptx", "all", str(library)]
            subprocess.run(command, cwd=folder, capture_output=True, check=True)
            for file in sorted(Path(folder).glob("*.ptx")):
                text = file.read_text(encoding="utf-8")
                at = text.find(_KERNELS[direction])
                while at >= 0 and "ps_" in text[at - 4 : at]:
                    at = text.find(_KERNELS[direction], at + 1)
                if at >= 0:
                    name = text[text.rindex(" ", 0, at) + 1 : text.index("(", at)].strip()
                    return module(text).kernel(name)
    raise MissingLibrary("torchvision's library holds no PTX: this build is without CUDA.")
