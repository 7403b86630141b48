# ruff: noqa: RUF001  the characters are meant
"""What a console that is not UTF-8 is given in the place of a character that it lacks.

Python refuses to print such a character, and a run of an hour would end with an error in its last table.
"""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

_LIKE = {"×": "x", "µ": "u", "μ": "u", "…": "...", "–": "-", "—": "-", "‑": "-", "−": "-", "≤": "<=", "≥": ">="}
_LIKE |= {"→": "->", "‘": "'", "’": "'", "“": '"', "”": '"', "·": ".", "•": "*"}


def plainly() -> None:
    """From now on this process's streams print plain characters for those that they lack."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(like, error.object[error.start : error.end])), error.end


def like(character: str) -> str:
    """What is nearest to a character in ASCII: a letter without its accent, lines and blocks of a table, or "?"."""
    if character in _LIKE:
        return _LIKE[character]
    letters = "".join(each for each in unicodedata.normalize("NFKD", character) if each.isascii())
    is_drawing = unicodedata.name(character, "").startswith(("BOX DRAWINGS", "BLOCK", "BRAILLE"))
    return letters or ("-" if is_drawing else "?")
