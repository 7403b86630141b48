"""The composite action of `.github/actions/judge`: its own lines, run here as a runner would, on a kernel of a page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / ".github" / "actions" / "judge"
ACTION = yaml.safe_load((FOLDER / "action.yml").read_text(encoding="utf-8"))
KERNEL = """
import torchvision


def roi_align(input, boxes, output_size, spatial_scale, sampling_ratio, aligned):
    return FACTOR * torchvision.ops.roi_align(input, boxes, output_size, spatial_scale, sampling_ratio, aligned)


roi_align.sheet = {"operator": "roi_align", "extent": "positive", "same_dtype": True}
"""


def judge_folder(folder: Path, factor: str, before: str = "") -> tuple[int, str, Path]:
    """The exit code of the action's last step on a kernel, what it printed, and the table that it names."""
    (folder / "thekernel.py").write_text(before + KERNEL.replace("FACTOR", factor), encoding="utf-8")
    (step,) = [each for each in ACTION["runs"]["steps"] if each.get("id") == "judge"]
    output, table = folder / "output.txt", folder / "judged" / "conformance.csv"
    variables = {"BACKEND": "thekernel:roi_align", "EXAMPLES": "2", "FOLDER": str(folder), "TABLE": str(table)}
    assert variables.keys() == step["env"].keys()
    environment = {**os.environ, **variables, "GITHUB_ACTION_PATH": str(FOLDER), "GITHUB_OUTPUT": str(output)}
    # The environment of this run stands in for the one that the step before makes.
    lines = step["run"].replace(".venv/bin/python", sys.executable)
    process = subprocess.run(["bash", "-e", "-c", lines], env=environment, capture_output=True, text=True, check=False)
    assert output.read_text(encoding="utf-8") == f"table={table}\n"
    return process.returncode, process.stdout + process.stderr, table


@pytest.mark.parametrize(("factor", "code"), [("1.0", 0), ("1.01", 1)])
def test_the_action_passes_a_right_kernel_and_fails_a_wrong_one(tmp_path: Path, factor: str, code: int) -> None:
    pytest.importorskip("torchvision")
    exit_code, text, table = judge_folder(tmp_path, factor)
    assert exit_code == code, text
    assert "thekernel:roi_align" in table.read_text(encoding="utf-8")


def test_the_action_fails_a_kernel_that_cannot_be_loaded(tmp_path: Path) -> None:
    """Its module needs a library that the action's environment lacks: nothing was judged."""
    exit_code, text, table = judge_folder(tmp_path, "1.0", "import a_library_of_the_caller\n")
    assert exit_code == 1, text
    assert "a_library_of_the_caller" in table.read_text(encoding="utf-8")


def test_the_build_step_is_a_target_of_the_makefile() -> None:
    first = ACTION["runs"]["steps"][0]["run"]
    assert first == 'make -C "$GITHUB_ACTION_PATH/../../.." build'
    assert (FOLDER / ".." / ".." / ".." / "Makefile").resolve() == ROOT / "Makefile"
