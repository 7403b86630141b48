"""A foreign function as a backend: mistakes raise clear errors, and the declared calls run."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harness import backends
from harness.backends import foreign, load
from harness.operators.crop_and_resize.case import Case
from harness.operators.roi_align.case import Mode, RoiCase
from harness.operators.sheet import Sheet, read
from harness.repository import ROOT, MissingLibrary
from suites.programs import python

MODULE = """
import torch
from torchvision.ops import roi_align as theirs
from harness.backends import load

def pool(input, boxes, output_size, spatial_scale, sampling_ratio, aligned):
    return theirs(input, boxes, output_size, spatial_scale, sampling_ratio, aligned)

pool.sheet = {"operator": "roi_align", "directions": ["forward", "grad_image"]}

def no_sheet():
    pass

def crop(image, boxes, box_indices, crop_size):
    return image.new_zeros(len(boxes), image.shape[1], *crop_size)

crop.sheet = {"operator": "crop_and_resize", "directions": ["forward", "grad_image"], "border": "zero"}

reference = load("reference")

class Kernels:
    pool = staticmethod(pool)

other = 1
"""
CASE = RoiCase((2, 3, 5, 6), ((1, 0.5, 0.25, 3.5, 4.0),), (2, 3), sampling_ratio=2)


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_kernels.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "their_typo.py").write_text("import os\n\ndef pool(:\n", encoding="utf-8")
    (tmp_path / "their_library.py").write_text("import ctypes\n\nctypes.CDLL('libnowhere.so.1')\n", encoding="utf-8")
    (tmp_path / "their_import.py").write_text("import nowhere_to_be_found\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("place", ["their_kernels:pool", "their_kernels:Kernels.pool"])
def test_a_function_is_a_backend_with_autograds_gradients(place: str) -> None:
    pytest.importorskip("torchvision")
    backend = load(place, "roi_align")
    assert backend.sheet.operator == "roi_align"
    theirs = load("torchvision", "roi_align")
    for direction in ("forward", "grad_image"):
        assert np.array_equal(backend.run(CASE.inputs(), direction), theirs.run(CASE.inputs(), direction))
    assert backend.refuses(CASE.inputs(), "grad_boxes") == "grad_boxes is not declared"


def test_a_missing_gradient_that_is_declared_raises_an_error() -> None:
    backend = load("their_kernels:crop")
    case = Case((1, 2, 4, 5), ((0.1, 0.2, 0.8, 0.9),), (0,), (2, 3), index_dtype="int64")
    assert backend.run(case.inputs(), "forward").shape == (1, 2, 2, 3)
    with pytest.raises(RuntimeError, match="grad_image is declared, but the result has no gradient"):
        backend.run(case.inputs(), "grad_image")


def test_a_name_may_refer_to_a_backend_object() -> None:
    pytest.importorskip("torchvision")
    assert load("their_kernels:reference") is load("reference")


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("their_kernels:no_sheet", "their_kernels:no_sheet has no capability sheet. Give it one, such as"),
        ("their_kernels:nothing", "their_kernels has no 'nothing'"),
        ("their_kernels:other", "their_kernels:other is a int; a backend is a function with a sheet"),
        ("their_nothing:pool", "There is no module 'their_nothing' for the backend"),
        ("nothing", "There is no backend 'nothing' of crop_and_resize; there are roi_align, "),
        (":f", "':f' names no function; a backend is given as module:function, such as mykernel:crop."),
        ("their_kernels:", "'their_kernels:' names no function; a backend is given as module:function"),
        (
            "their_typo:pool",
            "The module 'their_typo' of the backend 'their_typo:pool' cannot be imported: SyntaxError: ",
        ),
        (
            "their_library:pool",
            "The module 'their_library' of the backend 'their_library:pool' cannot be imported: OSErr",
        ),
    ],
)
def test_a_name_that_is_no_backend_raises_a_clear_error(place: str, sentence: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  the sentence is looked at below
        load(place)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(("place", "line"), [("their_typo:pool", 3), ("their_library:pool", 3)])
def test_an_import_error_names_file_and_line(place: str, line: int, tmp_path: Path) -> None:
    module = place.partition(":")[0]
    with pytest.raises(ValueError, match=rf"{module}\.py, line {line}\)\.$"):
        load(place)


def test_a_missing_module_or_device_skips_the_backend() -> None:
    with pytest.raises(MissingLibrary, match="needs the module 'nowhere_to_be_found', which is not installed"):
        load("their_import:pool")
    nowhere = "cuda:77" if torch.cuda.is_available() else "cuda"
    with pytest.raises(MissingLibrary, match=f"theirs needs the device '{nowhere}', and torch has none here: "):
        foreign.of_function("theirs", print, Sheet("roi_align", device=nowhere))


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ("roi_align", "x declares 'roi_align'; a capability sheet is a dict that names at least its operator"),
        ({"directions": ["forward"]}, "x declares {'directions': ['forward']}; a capability sheet is a dict"),
        ({"operator": "roi_pool"}, "x declares 'roi_pool' under operator; it can be 'crop_and_resize', 'roi_align'."),
        ({"operator": "roi_align", "dtypes": []}, "x declares 'dtypes', which no sheet has; there are operator, "),
        ({"operator": "roi_align", "modes": "max"}, "x declares modes = 'max'; it is a list, such as ['avg']."),
        (
            {"operator": "roi_align", "modes": ["avg", "max", "weighted_max"]},
            'x declares both "max" and "weighted_max" under modes: ',
        ),
        ({"operator": "roi_align", "layouts": ["NHWC"]}, "x declares 'NHWC' under layouts; it can be 'contiguous', "),
        ({"operator": "roi_align", "empty": "yes"}, "x declares empty = 'yes'; it is a list, such as ['boxes']."),
        ({"operator": "roi_align", "one_box": 1}, "x declares one_box = 1; it is True or False."),
        ({"operator": "roi_align", "limit": 0}, "x declares limit = 0; it is a number above 0, such as 30."),
        ({"operator": "roi_align", "title": 1}, "x declares title = 1; it is a string."),
        (
            {"operator": "roi_align", "modes": []},
            "x declares nothing under modes; it can be 'avg', 'max', 'weighted_max'.",
        ),
    ],
)
def test_an_invalid_sheet_raises_a_clear_error(declared: object, sentence: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  the sentence is looked at below
        read(declared, "x")
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize("maximum", ["max", "weighted_max"])
def test_every_maximum_is_passed_as_mode_max(maximum: Mode) -> None:
    modes = []

    def pool(input: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int], *rest: object, mode: str) -> torch.Tensor:
        modes.append(mode)
        return input.new_zeros(len(boxes), input.shape[1], *size)

    backend = foreign.of_function("theirs", pool, read({"operator": "roi_align", "modes": ["avg", maximum]}, "x"))
    for mode in ("avg", maximum):
        backend.run(replace(CASE.inputs(), mode=mode), "forward")
    assert modes == ["avg", "max"]


def test_a_package_registers_its_kernel_under_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchvision")
    point = importlib.metadata.EntryPoint("theirs", "their_kernels:pool", backends.ENTRY_POINTS)
    monkeypatch.setattr(backends, "entry_points", lambda group: [point] if group == backends.ENTRY_POINTS else [])
    assert backends.is_foreign("theirs")
    assert not backends.is_foreign("roi_align")
    assert load("theirs", "roi_align").name == "theirs"


def test_pytest_refuses_a_function_that_cannot_be_loaded(tmp_path: Path) -> None:
    """A run that skips all its tests would pass."""
    (tmp_path / "wanting.py").write_text("import a_library_of_the_caller\n", encoding="utf-8")
    command = ("-m", "pytest", "suites/", "--backend", "wanting:roi_align")
    process = python(*command, cwd=ROOT, PYTHONPATH=str(tmp_path))
    assert process.returncode == pytest.ExitCode.USAGE_ERROR, process.stdout
    assert "needs the module 'a_library_of_the_caller', which is not installed" in process.stderr
