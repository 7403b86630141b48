"""A launch that CUDA refuses raises one error: the runtime keeps none for torch's next call."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from harness.kernels import compiling, cuda_on_host
from harness.kernels.compiling import Change, kernel_sources
from suites.missing import skip_if_missing

with skip_if_missing():
    compiling.compiler()

SOURCE = Path(__file__).with_name("launching.cu")
WITHOUT_CLEARING = Change("cuda/launch.h", "  cudaGetLastError();\n", "")
TOO_MANY_THREADS, INVALID_CONFIGURATION = 1025, 9


def library(*changes: Change) -> ctypes.PyDLL:
    sources = kernel_sources(changes, cuda_on_host.BUILD)
    launcher = ctypes.PyDLL(str(cuda_on_host.library([SOURCE], include=sources)))
    launcher.launch_with.restype = ctypes.c_char_p
    return launcher


@pytest.mark.parametrize(
    ("changes", "error"), [((), 0), ((WITHOUT_CLEARING,), INVALID_CONFIGURATION)], ids=["as it is", "planted"]
)
def test_a_refused_launch_leaves_no_error_behind(changes, error):
    launcher = library(*changes)
    assert launcher.launch_with(32) is None
    assert launcher.last_error() == 0
    message = launcher.launch_with(TOO_MANY_THREADS).decode()
    assert message.startswith("roi_align: a CUDA kernel was not started: CUDA refuses to launch")
    assert launcher.last_error() == error
