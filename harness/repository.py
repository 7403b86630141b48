"""Where the checkout and its results are, and what every room does with files alike.

A file is written whole or not at all, so that no reader sees half a result; runs are named by one kind of stamp, and
contents are recognised by one kind of digest.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
# A quick run says that the way works; what is committed under results/ stays what a longer one measured.
QUICK_RESULTS = ROOT / "build" / "quick-results"
# What was confirmed of failures lies beside the results of runs and is none of them.
FINDINGS = "findings.json"
# Nor is a run that timed somebody else's function a part of this project's history.
FOREIGN_RESULTS = ROOT / "build" / "foreign-results"


def results_folder(quick: bool, foreign: bool = False) -> Path:
    """Where the files of a run go, by its device and name."""
    return FOREIGN_RESULTS if foreign else QUICK_RESULTS if quick else RESULTS


def stamp() -> str:
    """The moment as the name of a run, in UTC: 20261128T091500Z. Names sort as the runs were made."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def digest(*parts: Any, size: int = 16) -> str:
    """BLAKE2b of these bytes, one after the other, as 2 * size hexadecimal digits; a part is a C-contiguous buffer."""
    hasher = hashlib.blake2b(digest_size=size)
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()


def replace(path: Path, text: str) -> None:
    """Puts a text in the place of a file, in one step; folders on the way are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def between(text: str, begin: str, end: str, lines: Sequence[str]) -> str:
    """The text with these lines between two comments, as it is if it has not both."""
    before, opening, rest = text.partition(begin)
    _, closing, after = rest.partition(end)
    return "\n".join([before + opening, *lines, closing + after]) if opening and closing else text


class MissingLibrary(Exception):
    """What a backend stands for, a library or a device, is not here; the message says which and how to get it."""


@functools.cache
def sources() -> str:
    """A digest of this checkout's harness: two of different ones do not mean the same by a case or a task."""
    paths = sorted((ROOT / "harness").rglob("*.py"))
    return digest(*(part for path in paths for part in (str(path.relative_to(ROOT)).encode(), path.read_bytes())))
