"""The program that measures fresh memory compiles as docs/performance.md says, and times each kind of memory."""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from harness.kernels import compiling
from harness.repository import ROOT
from suites.missing import skip_if_missing

with skip_if_missing():
    compiling.compiler()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the stores past the caches are those of x86-64")
def test_the_pages_command_times_each_kind_of_memory(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^    (g\+\+ .*fresh_memory.*) && (?:\S+)$", page, re.MULTILINE)
    program = tmp_path / "fresh_memory"
    words = [str(program) if word == "build/fresh_memory" else word for word in shlex.split(command)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    output = subprocess.run([program, "8", "3"], check=True, capture_output=True, text=True).stdout
    rows = {name.strip(): (float(least), float(median)) for name, least, median in _rows(output)}
    assert len(rows) == 8
    assert all(0 < least <= median for least, median in rows.values())


def _rows(output: str) -> list[tuple[str, ...]]:
    return re.findall(r"^(\S.*?) +([\d.]+) +([\d.]+)$", output, re.MULTILINE)
