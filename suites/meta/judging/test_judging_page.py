"""Follows docs/judging.md: its kernel, its sheet, the wrong line and the corrected one."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from harness.operators.sheet import Sheet
from suites import stranger

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "judging.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def command(begins: str) -> tuple[dict[str, str], list[str]]:
    """The environment variables, and the words after them, of the page's command that begins with this text."""
    line = next(line for line in PAGE.splitlines() if line.startswith("    ") and begins in line)
    words = line.split()
    variables = dict(word.split("=", 1) for word in words if re.match("[A-Z_]+=", word))
    return variables, words[len(variables) :]


@pytest.fixture
def judge(tmp_path):
    """Runs a command of the page on a kernel, with additional arguments and variables."""

    def run(source: str, begins: str, *added: str, **variables: str) -> str:
        message, words = command(begins)
        (tmp_path / f"{words[3].partition(':')[0]}.py").write_text(source, encoding="utf-8")
        environment = {name: value for name, value in os.environ.items() if name not in ("HYPOTHESIS_PROFILE", "CI")}
        environment |= {"PYTHONPATH": str(tmp_path), **message, **variables}
        assert words[0] == "pytest"
        process = subprocess.run(
            [sys.executable, "-m", *words, "-p", "no:cacheprovider", *added],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return process.stdout + process.stderr

    return run


def without_numbers(text: str) -> str:
    """The smallest case depends on Hypothesis's random choices."""
    return re.sub(r"-?\d[\d.e+-]*", "0", text)


COMMAND = "pytest suites/ --backend mykernel"
FEW = {"HYPOTHESIS_PROFILE": "sanitize"}


def test_the_pages_kernel_gets_the_pages_verdict(judge):
    """With the page's own command: first the wrong kernel, then the corrected one, which gets fewer cases."""
    kernel, sheet, correction, _ = blocks("python")
    failure, passes = blocks("text")
    wrong = judge(f"{kernel}\n\n{sheet}", COMMAND)
    plain = without_numbers(wrong.replace(f"torch {torch.__version__}", "torch"))
    first, call, reproduce = without_numbers(failure.replace("torch 2.11.0+cu130", "torch")).splitlines()
    for begins in (first, call.partition("shape=(")[0], reproduce.partition("shape=(")[0]):
        assert begins.strip() in plain, wrong
    assert re.search(r"judging mykernel:roi_align, torch .*: about (a|\d+) minutes? in one process", wrong), wrong
    line = next(line for line in kernel.splitlines(keepends=True) if "inside =" in line)
    right = judge(f"{kernel.replace(line, correction)}\n\n{sheet}", COMMAND, **FEW)
    assert passes.strip() in right, right[-3000:]
    assert "failed" not in right, right[-3000:]
    assert "what mykernel:roi_align does not declare" in right
    assert "roi_align, permuted boxes, grad_boxes: grad_boxes is not declared" in right
    assert "ONNX" not in right, "what is asked of ONNX Runtime is no part of a stranger's summary"


def test_the_pages_triton_kernel_passes_without_a_gpu(judge):
    pytest.importorskip("triton")
    kernel = blocks("python")[-1]
    right = judge(kernel, "pytest suites/ --backend mytriton", "-k", "within_bound or side_effect or layout", **FEW)
    assert "judging my Triton kernel: about" in right, right[-3000:]
    assert re.search(r"\d+ passed, ", right), right[-3000:]
    assert "failed" not in right, right[-3000:]
    wrong = kernel.replace("(s + 0.5) / RATIO", "s / RATIO")
    assert "OUT: crops" in judge(wrong, "pytest suites/ --backend mytriton", "-k", "mode_avg and forward", "-x", **FEW)


def test_the_fields_of_the_page_are_the_sheets_with_their_defaults():
    rows = [line.split("|")[1:4] for line in PAGE.splitlines() if line.startswith("| `")]
    field_names = [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(field_names) == sorted(field.name for field in fields(Sheet))
    defaults = {field.name: field.default for field in fields(Sheet)}
    for names, _, default in rows:
        for name in re.findall(r"`(\w+)`", names):
            value = defaults[name]
            if value in ((), "", False):
                assert re.search("none|no$|no,|torch|all|no *$", default.strip()), names


KERNEL = "import ctypes, os, time\nfrom torchvision.ops import roi_align as theirs\n\ncalls = []\n\n"
BEGIN = "def roi_align(input, boxes, *rest):\n    calls.append(input.shape)\n"
RIGHT = "    return theirs(input.contiguous(), boxes.contiguous(), *rest)\n\n\n"
SOME = "permuted_boxes or split_list"


def test_a_crash_is_reported_with_its_case(judge):
    """And the suite continues with the next property."""
    _, sheet, *_ = blocks("python")
    text = judge(f"{KERNEL}{BEGIN}    ctypes.string_at(0)\n\n\n{sheet}", COMMAND, "-k", SOME, "--maxfail=9", **FEW)
    assert "CRASH: It ended its process: signal SIGSEGV" in text, text
    assert "2 failed" in text
    assert "reproduce  python -m harness judge --backend mykernel:roi_align --direction forward --property" in text


def test_a_hang_fails_its_property_and_the_run_goes_on(judge):
    _, sheet, *_ = blocks("python")
    hangs = f"{KERNEL}{BEGIN}    if len(boxes) > 1:\n        time.sleep(999)\n{RIGHT}{sheet}"
    text = judge(hangs, COMMAND, "-k", SOME, "--limit", "2", "--maxfail=9", **FEW)
    assert "HANG: It did not return within" in text, text
    assert "2 failed" in text


def test_a_failure_that_needs_earlier_calls_is_reproduced_with_them(judge, tmp_path):
    _, sheet, *_ = blocks("python")
    kernel = f"{KERNEL}{BEGIN}    worn = len(calls) > 9\n{RIGHT.replace('return', 'pooled =').rstrip()}\n"
    kernel += f"    return pooled + 1 if worn else pooled\n\n\n{sheet}"
    text = judge(kernel, COMMAND, "-k", "plain_float32 and forward", **FEW)
    assert "It depends on earlier calls: the line below asks for those too." in text, text
    line = next(line for line in text.splitlines() if "reproduce  python -m harness judge" in line)
    words = shlex.split(line.partition("reproduce  python ")[2])
    assert words.count("--after") == 9
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    again = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 1, again.stdout + again.stderr
    assert "OUT: crops" in again.stdout


def test_a_killed_run_leaves_no_files(tmp_path):
    """The logs of its workers are unnamed files."""
    program = (
        "import os, sys; from harness.judging.isolation import isolated; "
        "isolated('reference', 'roi_align'); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, check=False
    )
    assert process.returncode == -9, process.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


SMALL = {
    "roi_align": ({"operator": "roi_align", "same_dtype": True}, "torchvision.ops", "roi_align"),
    "crop_and_resize": ({"operator": "crop_and_resize", "border": "zero"}, "roi_align", "crop_and_resize"),
}


@pytest.mark.parametrize(("sheet", "module", "function"), SMALL.values(), ids=SMALL)
def test_a_right_function_with_a_small_sheet_passes_every_test(judge, sheet, module, function):
    """No test assumes a field that the sheet omits."""
    source = f"from {module} import {function} as theirs\n\n\n"
    source += f"def {function}(*arguments):\n    return theirs(*arguments)\n\n\n"
    text = judge(
        f"{source}{function}.sheet = {sheet}\n",
        COMMAND,
        "-k",
        "not test_property",
        "--backend",
        f"mykernel:{function}",
        **FEW,
    )
    assert re.search(r"\d+ passed, ", text), text[-3000:]
    assert "failed" not in text, text[-3000:]
    assert "ONNX" not in text, "what is asked of ONNX Runtime is no part of a stranger's summary"


ROOMS = {
    "suites": (False, False), "suites/correctness": (False, True), "suites/correctness/roi_align": (False, True),
    "suites/correctness/crop_and_resize": (True, True), "suites/meta": (True, True), "suites/meta/house": (True, True),
    "suites/performance": (True, False), "harness": (False, False),
}  # fmt: skip


@pytest.mark.parametrize("folder", ROOMS)
def test_only_rooms_with_tests_of_the_function_are_collected(folder):
    judged, timed = (
        stranger.has_none(ROOT / folder, "roi_align", ROOT, room) for room in ("correctness", "performance")
    )
    assert (judged, timed) == ROOMS[folder]
