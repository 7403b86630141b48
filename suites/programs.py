"""Runs Python in a separate process, which a test may crash or give another environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def python(
    *arguments: str, text: str = "", cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs `python ARGUMENTS` with this text as its input, and this process's import path unless PYTHONPATH is
    passed."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    command = [sys.executable, *arguments]
    return subprocess.run(command, input=text, env=variables, cwd=cwd, capture_output=True, text=True, check=False)
