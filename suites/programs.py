"""How tests run Python in a process of its own: one that they may end, or that has another environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def python(
    *arguments: str, text: str = "", cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` with this text as its input. It imports what this process can, unless PYTHONPATH is given."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    command = [sys.executable, *arguments]
    return subprocess.run(command, input=text, env=variables, cwd=cwd, capture_output=True, text=True, check=False)
