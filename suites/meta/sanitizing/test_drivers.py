"""The format of the sanitizers' drivers, and the messages of `make sanitize` if it cannot run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from harness import backends
from harness.kernels.compiling import ROOT, Change
from harness.operators.arrays import LAYOUTS, laid_out
from harness.operators.crop_and_resize.strategy import cases
from harness.operators.roi_align.case import RoiCase
from harness.sanitizing import sanitizers
from harness.sanitizing.driver_problems import CHANNELS, Pyramid, crop_cases, problem_of, roi_align_cases
from harness.sanitizing.packing import DTYPES, pack, unpack
from suites.missing import skip_if_missing
from suites.programs import python


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", [*LAYOUTS, "empty"])
def test_an_array_is_unpacked_unchanged(dtype, layout):
    values = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(dtype)
    if layout == "empty":
        array = values[:0]
    elif layout == "expanded":
        array = np.broadcast_to(values[:1], values.shape)
    else:
        array = laid_out(values, layout)
    ((back,),) = unpack(pack(1, array))
    assert back.dtype == array.dtype
    assert back.strides == array.strides
    np.testing.assert_array_equal(back, array)


@given(cases(image_dtypes=["float32", "float64"]))
@settings(max_examples=50)
def test_a_cases_arrays_are_unpacked_unchanged(case):
    inputs = case.inputs()
    ((back, boxes),) = unpack(pack(2, inputs.image, inputs.boxes))
    np.testing.assert_array_equal(back, inputs.image)
    np.testing.assert_array_equal(boxes, inputs.boxes)


def test_only_a_tensors_own_memory_is_packed():
    """From its first element to its last, without the rest of its buffer."""
    row = np.arange(20, dtype=np.float32)
    head = 2 * 8 + 2 * 8  # dtype and rank, size and stride
    assert pack(row[3:12:4])[head:] == row[3:12].tobytes()


def test_arrays_that_no_kernel_accepts_raise_an_error():
    with pytest.raises(ValueError, match="take no arrays of float16; they take float32, float64, int32, int64"):
        pack(np.zeros(3, np.float16))
    with pytest.raises(ValueError, match="Strides are at least 0"):
        pack(np.zeros(3, np.float32)[::-1])


@pytest.mark.parametrize("cut", [4, 20, 50])
def test_truncated_results_raise_an_error(cut):
    whole = pack(1, np.zeros(5, np.float32))
    with pytest.raises(ValueError, match="in the middle of an array"):
        unpack(whole[:cut])


@pytest.mark.parametrize("draw", [crop_cases, roi_align_cases])
def test_the_same_seed_draws_the_same_cases(draw: Callable[[int, int], list[object]]) -> None:
    assert repr(draw(20, 0)) == repr(draw(20, 0))  # a NaN is not equal to itself
    assert repr(draw(20, 0)) != repr(draw(20, 1))


def test_larger_cases_have_every_number_of_channels_in_every_layout():
    turns = len(CHANNELS) * len(LAYOUTS)
    for samples in (crop_cases(2 * turns, 0), [each.case for each in roi_align_cases(2 * turns, 0)]):
        assert len({(case.shape[1], case.layout) for case in samples[-turns:]}) == turns


def test_wrong_results_are_detected():
    """A single bit, for a single map and a pyramid, whose boxes may be on any level."""
    boxes = ((0, 0.5, 1.0, 7.5, 6.0), (0, 0.0, 0.0, 40.0, 40.0))  # of the first level, and of the second
    roi_case = RoiCase(shape=(1, 3, 40, 40), boxes=boxes, output_size=(2, 3), sampling_ratio=2)
    for case in (crop_cases(40, 0)[-3], Pyramid(roi_case, (0, 1))):
        results, problem = _results(case), problem_of(case)
        assert problem.wrong(results) is None
        for place, direction in ((0, "forward"), (1, "grad_image"), (len(results) - 2, "grad_image")):
            array = results[place].copy()
            array.flat[-1] = np.nextafter(array.flat[-1], np.inf, dtype=array.dtype)
            assert direction in problem.wrong([*results[:place], array, *results[place + 1 :]]), place


def test_a_box_on_another_level_is_detected():
    """Both maps are alike for the box, so each level's result is one that another box may have."""
    boxes = ((0, 0.5, 1.0, 7.5, 6.0), (0, 0.0, 0.0, 40.0, 40.0))
    case = Pyramid(RoiCase(shape=(1, 3, 40, 40), boxes=boxes, output_size=(2, 3), sampling_ratio=2), (0, 1))
    crops, *rest = _results(case)
    swapped = crops.copy()
    operator = backends.load("roi_align", "roi_align")
    swapped[0] = operator.run(case.inputs()[1], "forward")[0]  # the first box, pooled from the second map
    assert "map 0: forward" in problem_of(case).wrong([swapped, *rest])


def _results(case):
    """The results of a driver without a fault."""
    operator = "roi_align" if isinstance(case, Pyramid) else "crop_and_resize"
    with skip_if_missing():
        program = sanitizers.driver(operator, "thread", "portable")
    environment = {**os.environ, "ROI_ALIGN_CPU": "portable"}
    data = pack(1) + problem_of(case).data
    process = subprocess.run([program], input=data, env=environment, capture_output=True, check=True)
    (results,) = unpack(process.stdout)
    return results


def _sanitize(path: Path) -> subprocess.CompletedProcess[str]:
    """Runs the verb with only this folder in PATH."""
    return python("-m", "harness", "sanitize", "--cases", "2", cwd=ROOT, PATH=str(path), COLUMNS="200")


def test_a_missing_compiler_exits_with_2_and_a_message(tmp_path):
    process = _sanitize(tmp_path)
    assert process.returncode == 2
    assert "g++ is installed, and there is none in PATH" in process.stdout


def test_a_sanitizer_whose_library_is_missing_is_skipped_with_the_reason(tmp_path):
    """This fake g++ compiles everything to an empty file, and finds no library."""
    compiler = tmp_path / "g++"
    compiler.write_text(
        '#!/bin/sh\ncase "$*" in\n  --version) echo "no g++" ;;\n  *" -c "*) for last; do :; done; : > "$last" ;;\n'
        '  *) echo "ld: cannot find -lsanitizer: No such file or directory" >&2; exit 1 ;;\nesac\n'
    )
    compiler.chmod(0o755)
    process = _sanitize(tmp_path)
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.count("skipped: g++ is here without the library of the") == 12
    assert "ld: cannot find -lsanitizer" in process.stdout
    assert "compute-sanitizer" in process.stdout


def test_a_finding_is_printed_and_exits_with_1(monkeypatch):
    """The verb itself, on kernels with a fault in one file."""
    from typer.testing import CliRunner

    from harness.__main__ import app

    fault = Change("crop_and_resize/cpu/finish_grad_boxes.cpp", "double sum = 0;", "double sum = 1;")
    sound = sanitizers.driver
    monkeypatch.setattr(sanitizers, "driver", lambda *arguments: sound(*arguments, fault))
    monkeypatch.setattr(sanitizers, "SANITIZERS", {"thread": "thread"})
    monkeypatch.setattr(sanitizers, "INSTRUCTION_SETS", ("portable",))
    result = CliRunner().invoke(app, ["sanitize", "--cases", "10"])
    assert result.exit_code == 1, result.output
    assert "found: grad_boxes: " in result.output
    assert "\nat: Case(" in result.output
    assert "clean" in result.output  # roi_align has no part in that file
