"""Runs the libraries' snippets as a reader would: in the library's own environment, without this project."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile

from harness.backends import interpreter
from harness.backends.peers.environments import node_modules
from harness.operators.sheet import OperatorName

_LIMIT_S = 30.0


def language(name: str) -> str:
    """The language of a backend's snippets."""
    return "javascript" if name.startswith("tfjs") else "python"


def output(name: str, operator: OperatorName, source: str) -> str:
    """The last line that a backend's snippet prints, or how it ended; MissingLibrary if its library is missing."""
    with tempfile.TemporaryDirectory() as empty:
        if language(name) == "javascript":
            command, folder = ["node", "-"], str(node_modules())
        else:
            command, folder = [str(interpreter(name, operator) or sys.executable), "-"], empty
        try:
            process = subprocess.run(
                command, input=source, cwd=folder, capture_output=True, text=True, timeout=_LIMIT_S, check=False,
                env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"no end within {_LIMIT_S:.0f} s"
    if process.returncode < 0:
        return f"ended by {signal.Signals(-process.returncode).name}"
    lines = (process.stderr if process.returncode else process.stdout).strip().splitlines()
    return lines[-1].strip()[:300] if lines else f"exit code {process.returncode}"
