"""docs/judging.md, done as it says: its kernel, its sheet, the wrong line and the mended one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "judging.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def judge(tmp_path):
    """The page's command on a kernel, on some of the properties."""

    def run(source: str, *arguments: str, profile: str = "sanitize") -> str:
        (tmp_path / "mykernel.py").write_text(source, encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "HYPOTHESIS_PROFILE": profile}
        command = [sys.executable, "-m", "pytest", "suites/correctness/shared/test_properties.py", "-q"]
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider", "--backend", "mykernel:roi_align", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    return run


def without_numbers(text: str) -> str:
    """Which case is the smallest changes with what Hypothesis draws."""
    return re.sub(r"-?\d[\d.e+-]*", "0", text)


def test_the_kernel_of_the_page_is_judged_as_the_page_says(judge):
    kernel, sheet, mended = blocks("python")
    failure, passes = blocks("text")
    wrong = judge(f"{kernel}\n\n{sheet}", "-x", "-k", "within_bound_mode_avg and forward", profile="pr")
    shown = without_numbers(wrong.replace(f"torch {torch.__version__}", "torch"))
    said, call, reproduce = without_numbers(failure.replace("torch 2.11.0+cu130", "torch")).splitlines()
    for begins in (said, call.partition("shape=(")[0], reproduce.partition("shape=(")[0]):
        assert begins.strip() in shown, wrong
    line = next(line for line in kernel.splitlines(keepends=True) if "inside =" in line)
    right = judge(f"{kernel.replace(line, mended)}\n\n{sheet}", "-k", "roi_align")
    assert passes.strip() in right, right
    assert "failed" not in right, right
    assert "what mykernel:roi_align does not declare" in right
    assert "roi_align, permuted boxes, grad_boxes: grad_boxes is not declared" in right


def test_the_fields_of_the_page_are_the_sheets():
    from harness.operators.sheet import Sheet

    named = re.findall(
        r"`(\w+)`", "\n".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `"))
    )
    assert named
    assert set(named) <= set(vars(Sheet("roi_align")))


def test_a_kernel_that_ends_its_process_is_told_with_its_case(judge):
    _, sheet, _ = blocks("python")
    crash = "import ctypes\n\n\ndef roi_align(*arguments):\n    ctypes.string_at(0)\n\n\n"
    said = judge(crash + sheet, "-x", "-k", "permuted_boxes and forward")
    assert "CRASH: It ended its process: signal SIGSEGV" in said, said
    assert "1 failed" in said
    assert "reproduce  python -m harness judge --backend mykernel:roi_align --direction forward --property" in said
