"""A foreign implementation in its own process: it gets the case's arrays, its faults are detected, and its crash is a
result."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness import faults
from harness.judging import isolation
from harness.judging.trial import judge_case, run, side_effect
from harness.operators.arrays import LAYOUTS, Layout
from harness.operators.crop_and_resize.case import Case
from harness.operators.implementation import Backend
from harness.operators.verdict import Crash, Hang, Status
from harness.repository import MissingLibrary

CASE = Case((2, 3, 5, 6), ((0.1, 0.2, 0.8, 0.9), (0.0, 0.0, 1.0, 1.0)), (1, 0), (2, 3))
# The extrapolation value selects the fault of the next call.
MODULE = """
import ctypes, os, time
from dataclasses import replace
import numpy as np
from harness.backends import load

honest = load("reference")
memory = {}

def call(inputs, direction):
    vice, result = inputs.extrapolation_value, honest.run(inputs, direction)
    if vice == 1:
        ctypes.string_at(0)
    if vice == 2:
        os.abort()
    if vice == 3:
        time.sleep(60)
    if vice == 4:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    if vice == 5:
        raise IndexError("box 0 is of image 7")
    if vice == 6:
        os.write(2, b"libkernel: bad launch")
        os._exit(3)
    if vice == 7:
        inputs.boxes[...] = 0.25
    if vice == 8:
        kept = memory.setdefault(result.shape, result.copy())
        kept[...] = result
        return kept
    if vice == 9:
        image = inputs.image
        return np.array([image.strides, image.shape, [image.base is not None] * 4], np.float64)
    return result

def prepare(inputs, direction):
    return lambda: call(inputs, direction)

backend = replace(honest, name="vicious", title="vicious", prepare=prepare, to_numpy=lambda result: result)
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder: Path = tmp_path_factory.mktemp("vicious")
    (folder / "vicious.py").write_text(MODULE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield isolation.isolated("vicious:backend", "crop_and_resize", 5.0)


def with_vice(number: float) -> Case:
    return replace(CASE, extrapolation_value=float(number))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_have_the_cases_values_strides_and_surroundings(backend: Backend, layout: Layout) -> None:
    case = replace(with_vice(9), layout=layout)
    image = case.inputs().image
    strides, shape, is_view = backend.run(case.inputs(), "forward")
    assert tuple(strides) == image.strides
    assert tuple(shape) == image.shape
    assert is_view.all()
    assert judge_case(backend, replace(CASE, layout=layout), "forward").status in (Status.EXACT, Status.WITHIN)


@pytest.mark.parametrize(
    ("vice", "message"),
    [
        (1, "It ended its process: signal SIGSEGV."),
        (2, "It ended its process: signal SIGABRT."),
        (6, "It ended its process: exit code 3. Its last words: libkernel: bad launch"),
        (4, "It left the device unusable: RuntimeError: CUDA error: an illegal memory access was encountered"),
    ],
)
def test_a_crash_is_a_result_and_the_next_call_works(backend: Backend, vice: int, message: str) -> None:
    result = run(backend, with_vice(vice).inputs(), "forward")
    assert isinstance(result, Crash)
    assert str(result) == message
    verdict = judge_case(backend, with_vice(vice), "forward")
    assert (verdict.status, verdict.passed) == (Status.CRASH, False)
    assert judge_case(backend, CASE, "forward").passed


def test_a_hanging_call_is_stopped(tmp_path: Path, backend: Backend) -> None:
    verdict = judge_case(backend, with_vice(3), "forward")
    assert verdict.status is Status.HANG
    assert re.match(r"It did not return within \d+ s, and was stopped; `limit` in its sheet", verdict.reason)
    assert isinstance(run(backend, with_vice(3).inputs(), "forward"), Hang)
    assert judge_case(backend, CASE, "forward").passed


def test_exceptions_keep_their_type(backend: Backend) -> None:
    with pytest.raises(IndexError, match="box 0 is of image 7"):
        backend.run(with_vice(5).inputs(), "forward")


def test_side_effects_are_detected_in_another_process(backend: Backend) -> None:
    assert side_effect(backend, CASE, "forward") is None
    assert side_effect(backend, with_vice(7), "forward") == "The call writes to boxes, one of its inputs."
    shared = side_effect(backend, with_vice(8), "forward")
    assert shared == "A later call changes the result of an earlier one: they share memory."


def test_a_backend_that_does_not_load_raises_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unable.py").write_text("import nowhere_to_be_found\n", encoding="utf-8")
    (tmp_path / "deadly.py").write_text("import ctypes\nctypes.string_at(0)\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingLibrary, match="needs the module 'nowhere_to_be_found'"):
        isolation.isolated("unable:backend", "crop_and_resize")
    with pytest.raises(Crash, match="It ended its process: signal SIGSEGV"):
        isolation.isolated("deadly:backend", "crop_and_resize")
    with pytest.raises(ValueError, match="There is no backend 'nope'"):
        isolation.isolated("nope", "crop_and_resize")


def test_a_planted_fault_loads_through_its_own_loader() -> None:
    fault = isolation.isolated("fault:fma_position", "crop_and_resize", load=faults.load)
    assert fault.title == "fault: fma_position"
    with pytest.raises(ValueError, match="There is no backend 'fault:fma_position'"):
        isolation.isolated("fault:fma_position", "crop_and_resize")
