# ruff: noqa: RUF001  the characters are meant
"""What the verbs print and exit with: on a console that is not UTF-8, and where a file was left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pandas", reason="reading results needs pandas")
pytest.importorskip("matplotlib", reason="a report needs matplotlib")

from typer.testing import CliRunner

from harness.__main__ import app
from suites.meta.report.made_results import store, timed_row

NOT_UTF8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def on_a_plain_console(folder: Path, *command: str) -> tuple[int, str]:
    process = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env={**os.environ, **NOT_UTF8}, capture_output=True, check=False
    )
    return process.returncode, (process.stdout + process.stderr).decode("ascii")


def test_tables_are_printed_in_plain_characters(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    store(tmp_path, "a.json", [timed_row([1.0], workload="10×7 µs … é ✓")])
    code, output = on_a_plain_console(pytestconfig.rootpath, "harness", "report", str(tmp_path))
    assert code == 0, output
    assert "10x7 us ... e ?" in output


def test_pytest_prints_plain_characters(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    test = tmp_path / "test_plain.py"
    test.write_text("def test_it(): assert False, '10×7 µs'\n", encoding="utf-8")
    _, output = on_a_plain_console(
        pytestconfig.rootpath, *("pytest", "-p", "conftest", "-p", "no:cacheprovider", "-q", f"--rootdir={tmp_path}"),
        *("-c", str(pytestconfig.rootpath / "pyproject.toml"), str(test)),
    )  # fmt: skip
    assert "FAILED" in output
    assert "10x7 us" in output


def test_a_report_names_a_file_that_it_left_out_and_exits_with_1(tmp_path: Path) -> None:
    store(tmp_path, "a.json", [timed_row([1.0])])
    assert CliRunner().invoke(app, ["report", str(tmp_path)]).exit_code == 0
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    process = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert process.exit_code == 1
    assert "broken.json was left out" in process.output
    assert (tmp_path / "report.html").exists()
