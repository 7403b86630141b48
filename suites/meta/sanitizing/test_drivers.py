"""What goes to the sanitizers' drivers and comes back, and what `make sanitize` says where it cannot run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from harness.kernels.compiling import ROOT, Change
from harness.operators.arrays import LAYOUTS, laid_out
from harness.operators.crop_and_resize.strategy import cases
from harness.operators.roi_align.case import RoiCase
from harness.sanitizing import sanitizers
from harness.sanitizing.driver_problems import CHANNELS, Pyramid, crop_cases, problem_of, roi_align_cases
from harness.sanitizing.packing import DTYPES, packed, unpacked
from suites.missing import skip_if_missing
from suites.programs import python


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", [*LAYOUTS, "empty"])
def test_an_array_comes_back_as_it_went(dtype, layout):
    values = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).astype(dtype)
    if layout == "empty":
        sent = values[:0]
    elif layout == "expanded":
        sent = np.broadcast_to(values[:1], values.shape)
    else:
        sent = laid_out(values, layout)
    ((back,),) = unpacked(packed(1, sent))
    assert back.dtype == sent.dtype
    assert back.strides == sent.strides
    np.testing.assert_array_equal(back, sent)


@given(cases(image_dtypes=["float32", "float64"]))
@settings(max_examples=50)
def test_the_image_of_a_case_comes_back_as_it_went(case):
    inputs = case.inputs()
    ((back, boxes),) = unpacked(packed(2, inputs.image, inputs.boxes))
    np.testing.assert_array_equal(back, inputs.image)
    np.testing.assert_array_equal(boxes, inputs.boxes)


def test_only_a_tensors_own_memory_is_sent():
    """From its first element to its last, whatever it is a part of."""
    row = np.arange(20, dtype=np.float32)
    head = 2 * 8 + 2 * 8  # dtype and rank, size and stride
    assert packed(row[3:12:4])[head:] == row[3:12].tobytes()


def test_what_no_kernel_takes_is_refused():
    with pytest.raises(ValueError, match="take no arrays of float16; they take float32, float64, int32, int64"):
        packed(np.zeros(3, np.float16))
    with pytest.raises(ValueError, match="Strides are at least 0"):
        packed(np.zeros(3, np.float32)[::-1])


@pytest.mark.parametrize("cut", [4, 20, 50])
def test_results_that_end_early_are_an_error(cut):
    whole = packed(1, np.zeros(5, np.float32))
    with pytest.raises(ValueError, match="in the middle of an array"):
        unpacked(whole[:cut])


@pytest.mark.parametrize("draw", [crop_cases, roi_align_cases])
def test_the_same_seed_draws_the_same_cases(draw: Callable[[int, int], list[object]]) -> None:
    assert repr(draw(20, 0)) == repr(draw(20, 0))  # a NaN is not equal to itself
    assert repr(draw(20, 0)) != repr(draw(20, 1))


def test_larger_cases_have_every_number_of_channels_in_every_layout():
    turns = len(CHANNELS) * len(LAYOUTS)
    for drawn in (crop_cases(2 * turns, 0), [each.case for each in roi_align_cases(2 * turns, 0)]):
        assert len({(case.shape[1], case.layout) for case in drawn[-turns:]}) == turns


def test_results_that_are_not_the_operators_are_seen():
    """By the bit, of a single map and of a pyramid, where a box may be of any level."""
    boxes = ((0, 0.5, 1.0, 7.5, 6.0), (0, 0.0, 0.0, 40.0, 40.0))  # of the first level, and of the second
    roi_case = RoiCase(shape=(1, 3, 40, 40), boxes=boxes, output_size=(2, 3), sampling_ratio=2)
    for case in (crop_cases(40, 0)[-3], Pyramid(roi_case, (0, 1))):
        results, problem = _results(case), problem_of(case)
        assert problem.wrong(results) is None
        crops = results[0].copy()
        crops.flat[-1] = np.nextafter(crops.flat[-1], np.inf, dtype=crops.dtype)
        assert "forward" in problem.wrong([crops, *results[1:]])


def _results(case):
    """What a driver without a fault gives."""
    operator = "roi_align" if isinstance(case, Pyramid) else "crop_and_resize"
    with skip_if_missing():
        program = sanitizers.driver(operator, "thread", "portable")
    environment = {**os.environ, "ROI_ALIGN_CPU": "portable"}
    data = packed(1) + problem_of(case).data
    done = subprocess.run([program], input=data, env=environment, capture_output=True, check=True)
    (results,) = unpacked(done.stdout)
    return results


def _sanitize(path: Path) -> subprocess.CompletedProcess[str]:
    """The verb, with only this folder's programs."""
    return python("-m", "harness", "sanitize", "--cases", "2", cwd=ROOT, PATH=str(path), COLUMNS="200")


def test_without_a_compiler_it_says_so_and_exits_with_2(tmp_path):
    done = _sanitize(tmp_path)
    assert done.returncode == 2
    assert "g++ is installed, and there is none in PATH" in done.stdout


def test_a_sanitizer_whose_library_is_missing_is_skipped_with_the_reason(tmp_path):
    """This g++ compiles anything to an empty file, and finds no library."""
    compiler = tmp_path / "g++"
    compiler.write_text(
        '#!/bin/sh\ncase "$*" in\n  --version) echo "no g++" ;;\n  *" -c "*) for last; do :; done; : > "$last" ;;\n'
        '  *) echo "ld: cannot find -lsanitizer: No such file or directory" >&2; exit 1 ;;\nesac\n'
    )
    compiler.chmod(0o755)
    done = _sanitize(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("skipped: g++ is here without the library of the") == 12
    assert "ld: cannot find -lsanitizer" in done.stdout
    assert "compute-sanitizer" in done.stdout


def test_what_is_found_is_told_and_exits_with_1(monkeypatch):
    """By the verb itself, of kernels with a fault in one file."""
    from typer.testing import CliRunner

    from harness.__main__ import app

    fault = Change("crop_and_resize/cpu/finish_grad_boxes.cpp", "double sum = 0;", "double sum = 1;")
    sound = sanitizers.driver
    monkeypatch.setattr(sanitizers, "driver", lambda *arguments: sound(*arguments, fault))
    monkeypatch.setattr(sanitizers, "SANITIZERS", {"thread": "thread"})
    monkeypatch.setattr(sanitizers, "INSTRUCTION_SETS", ("portable",))
    done = CliRunner().invoke(app, ["sanitize", "--cases", "10"])
    assert done.exit_code == 1, done.output
    assert "found: grad_boxes: " in done.output
    assert "\nat: Case(" in done.output
    assert "clean" in done.output  # roi_align has no part in that file
