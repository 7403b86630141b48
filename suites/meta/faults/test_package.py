"""Faults in the package itself: the changed code runs, a control passes, and cheap faults are killed.

`python -m harness mutants` runs all of them; these tests run a few, one for each kind of evidence.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.faults.package import FAULTS, read
from harness.faults.package.building import (
    SELECTIONS,
    PackageFault,
    build,
    control,
    first_failure,
    killer_of,
    package_with,
)
from harness.kernels import compiling
from harness.kernels.compiling import Change
from suites.missing import skip_if_missing
from suites.programs import python

with skip_if_missing():
    compiling.compiler()

pytestmark = [pytest.mark.package, pytest.mark.cpu]

BY_NAME = {fault.name: fault for fault in FAULTS}
MODULES = "suites/correctness/crop_and_resize/test_modules.py"


def faulty(change: Change) -> PackageFault:
    """A fault for the tests of the modules."""
    return replace(FAULTS[0], changes=(change,), suites=(MODULES,))


def _imported(folder: Path, program: str, kernels: str = "") -> subprocess.CompletedProcess[str]:
    return python("-c", program, PYTHONPATH=str(folder), ROI_ALIGN_CPU=kernels)


def test_the_changed_package_is_imported():
    folder = build(*BY_NAME["function_without_extrapolation"].changes)
    program = "import importlib.metadata as m, roi_align, torch; print(roi_align.__file__, m.version('roi-align'))"
    where, version = _imported(folder, program).stdout.split()
    assert where == str(folder / "roi_align" / "__init__.py")
    assert version == importlib.metadata.version("roi-align")
    # Every set's name selects the compiled, changed kernels.
    program = "import torch, roi_align; print(torch.ops.roi_align.cpu_kernels())"
    for kernels in ("portable", "avx2", "avx512"):
        process = _imported(folder, program, kernels)
        assert process.stdout.strip() == kernels or "but this machine runs" in process.stderr


def test_changed_cpp_runs():
    words = "the gradient has the dtype of the crops"
    folder = build(Change("csrc/crop_and_resize/torch_cpu.cpp", words, "this is the change"))
    program = """
import torch, roi_align
image, grad = torch.rand(1, 1, 2, 2), torch.rand(1, 1, 2, 2).double()
torch.ops.roi_align.crop_and_resize_grad_boxes(grad, image, torch.rand(1, 4), torch.tensor([0]), 0)
"""
    assert "ValueError: roi_align: this is the change" in _imported(folder, program).stderr


INAPPLICABLE = {
    "not there": Change("roi_align/_cropping/modules.py", "nowhere", ""),
    "there twice": Change("csrc/crop_and_resize/boxes.cpp", "return", ""),
    "no such file": Change("none.py", "a", ""),
}


@pytest.mark.parametrize("change", INAPPLICABLE.values(), ids=INAPPLICABLE)
def test_an_inapplicable_change_is_an_error(change):
    with pytest.raises(ValueError, match="is to be changed in one place, but has"):
        killer_of(faulty(change))


def test_every_change_applies_and_every_selection_exists():
    for fault in FAULTS:
        package_with(*fault.changes)
        assert fault.suites
        assert all((compiling.ROOT / place.partition("::")[0]).exists() for place in (*fault.suites, *SELECTIONS))
    assert len(BY_NAME) == len(FAULTS) >= 60


PARAGRAPH = """a_fault (grad_image): it is wrong
killed by shared/test_views.py
in csrc/one.h
- a
+ b
"""


def test_a_paragraph_is_read_as_a_fault():
    (fault,) = read("roi_align", PARAGRAPH)
    assert (fault.name, fault.why, fault.directions) == ("a_fault", "it is wrong", ("grad_image",))
    assert fault.suites == ("suites/correctness/shared/test_views.py",)
    assert fault.changes == (Change("csrc/one.h", "a", "b"),)
    (fault,) = read("roi_align", PARAGRAPH.replace("grad_image", "no result").replace("- a\n+ b", "-   a\n-\n- b"))
    assert (fault.directions, fault.changes) == ((), (Change("csrc/one.h", "  a\n\nb", ""),))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        *(("grad_image", "grad_images"), (": it", " it"), ("killed by", "killed")),
        *(("killed by shared/test_views.py\n", ""), ("in csrc/one.h\n", ""), ("in csrc", "of csrc"), ("- a", "-a")),
    ],
)
def test_a_malformed_paragraph_is_an_error(right, wrong):
    with pytest.raises(ValueError, match="fault"):
        read("roi_align", PARAGRAPH.replace(right, wrong))


def test_a_compile_error_is_no_kill():
    broken = Change("csrc/crop_and_resize/boxes.cpp", "int64_t first_bad_index(", "int64_t first_bad_index(((")
    with pytest.raises(RuntimeError, match="does not compile"):
        killer_of(faulty(broken))


def test_tests_that_cannot_run_are_no_kill():
    broken = Change(
        "roi_align/_cropping/modules.py", "from torch import Tensor, fx, nn", "from torch import Tensor, fx, none"
    )
    with pytest.raises(RuntimeError, match="ended with"):
        killer_of(faulty(broken))
    with pytest.raises(RuntimeError, match="ended with"):
        first_failure(build(), [f"{MODULES}::test_that_is_not_there"])


def test_a_crash_is_named_after_the_running_test():
    call = "return crop_and_resize(image, boxes, box_ind,"
    change = Change("roi_align/_cropping/modules.py", call, f"import os; os.abort(); {call}")
    test = f"{MODULES}::test_crop_and_resize_under_its_three_names"
    assert killer_of(faulty(change)) == f"crash: signal SIGABRT in {test}"


CHEAP = ("function_without_extrapolation", "index_n_accepted", "order_by_threads", "roi_index_n_accepted")


def test_the_unchanged_package_passes_the_killing_tests():
    """The other selections are the suites themselves, of which this run is a part."""
    assert control([BY_NAME[name] for name in CHEAP]) is None


@pytest.mark.parametrize("name", CHEAP)
def test_a_fault_is_killed_by_the_tests_that_it_names(name):
    killer = killer_of(BY_NAME[name])
    assert killer is not None
    assert any(place in killer for place in BY_NAME[name].suites), killer  # after a crash, the test that was running
