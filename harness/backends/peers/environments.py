"""The environments of the matrix's libraries: beside torch, or one of their own.

Some cannot be installed beside torch and TensorFlow: they pin conflicting versions, or take gigabytes that no other
command uses. Each of these has an interpreter of its own in .venv-peers/NAME, which `make peers` makes from the pinned
versions in the files beside this one; the judge's worker runs there (judging/isolation.py).
"""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.repository import ROOT, MissingLibrary

FOLDER = ROOT / ".venv-peers"
# From a backend's file to the name of its library's own environment.
OF_THEIR_OWN = {
    "peers.paddle": "paddle",
    "peers.tvm": "tvm",
    "peers.mindspore": "mindspore",
    "peers.mmcv": "mmcv",
}


def interpreter(file: str) -> Path | None:
    """The Python of a backend's file, None if its library is installed beside torch; MissingLibrary if it is
    missing."""
    name = OF_THEIR_OWN.get(file)
    if name is None:
        return None
    python = FOLDER / name / "bin" / "python"
    if not python.exists():
        raise MissingLibrary(
            f"{name} lives in an environment of its own, {python.parents[1].relative_to(ROOT)}, which is not here; "
            f"`make peers PEERS={name}` makes it."
        )
    return python


def node_modules() -> Path:
    """The folder with TensorFlow.js's modules for node; MissingLibrary if they or node are missing."""
    folder = FOLDER / "tfjs"
    if shutil.which("node") is None:
        raise MissingLibrary("TensorFlow.js runs in node, and there is none in PATH; install it, then `make peers`.")
    if not (folder / "node_modules" / "@tensorflow" / "tfjs-core").is_dir():
        raise MissingLibrary(
            f"TensorFlow.js lives in {folder.relative_to(ROOT)}, which is not here; `make peers PEERS=tfjs` makes it."
        )
    return folder
