"""Where the checkout is, and how a file is written: whole or not at all, so that no reader sees half a result."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def replace(path: Path, text: str) -> None:
    """Puts a text in the place of a file, in one step; folders on the way are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


class MissingLibrary(Exception):
    """What a backend stands for, a library or a device, is not here; the message says which and how to get it."""
