"""The command lines of README and the documents, and whether what they call exists and takes their options.

Nothing is run here: a target of the Makefile is looked up, and a verb's or pytest's own parser reads the options.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
# In these, indented blocks hold something else too: formulas, and the output of a failed test.
MIXED = ("docs/operators.md", "docs/suites.md")
_USAGE_ERROR = typer.BadParameter.__bases__[0]
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_SHELL = ("", "sh", "bash", "shell", "console")
_BEGINS = re.compile(r"([A-Z_]+=\S+ )*(make|python3?|pytest|pip|dask|g\+\+|tar|git|npm|docker)( |$)")
_SPAN = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Command:
    """A command line of a document, its comment cut off."""

    document: str
    line: str

    @property
    def words(self) -> list[str]:
        """Without the variables before it."""
        words = shlex.split(self.line)
        while words and re.match(r"[A-Z_]+=", words[0]):
            del words[0]
        return words


def commands(document: str, text: str) -> list[Command]:
    """All command lines of a document: those of its blocks, and those within its sentences."""
    fenced = [body for language, body in _FENCE.findall(text) if language in _SHELL]
    text = _FENCE.sub("", text)
    blocks = [*fenced, *_indented(text)]
    lines = [line for block in blocks for line in _lines(block) if document not in MIXED or _BEGINS.match(line)]
    prose = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
    spans = [" ".join(span.split()) for span in _SPAN.findall(prose)]
    return [Command(document, line) for line in (*lines, *filter(_BEGINS.match, spans))]


def _indented(text: str) -> Iterator[str]:
    """The blocks that four spaces make, each after an empty line."""
    for block in re.findall(r"(?:\A|\n\n)((?:    .*(?:\n|\Z))+)", text):
        yield re.sub(r"^    ", "", block, flags=re.MULTILINE)


def _lines(block: str) -> Iterator[str]:
    """A block's lines without comments; a line that ends in a backslash goes on in the next one."""
    for line in block.replace("\\\n", " ").splitlines():
        command = re.sub(r"(^|\s+)#.*$", "", line).strip()
        if command:
            yield " ".join(command.split())


def problem(command: Command, parser: object) -> str | None:
    """What is wrong with what a command calls or with its options, as a sentence; None if nothing is.

    parser: pytest's own, with this project's options.
    """
    try:
        words = command.words
    except ValueError as error:  # a quotation that does not end
        return f"{command.line}: {error}."
    if words[:1] == ["make"]:
        return _of_make(command, words[1:])
    if words[:3] == ["python", "-m", "harness"]:
        return _of_verb(command, words[3:])
    if words[:2] == ["python", "-m"]:
        module = words[2]
        return None if importlib.util.find_spec(module) else f"{command.line}: there is no module {module}."
    if words[:1] == ["pytest"]:
        return _of_pytest(command, words[1:], parser)
    return None


def _of_make(command: Command, words: list[str]) -> str | None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    steps = " ".join(re.findall(r"^GPU_STEPS :?\+?= (.+)$", makefile, re.MULTILINE))
    sanitizers = " ".join(re.findall(r"^SANITIZERS := (.+)$", makefile, re.MULTILINE)).split()
    targets = {*phony.split(), *steps.split(), *sanitizers, *(f"{each}-deterministic" for each in sanitizers)}
    variables = {*re.findall(r"^([A-Z_]+) \?=", makefile, re.MULTILINE)}
    for word in words:
        name, sign, _ = word.partition("=")
        if name not in (variables if sign else targets):
            return f"{command.line}: the Makefile has no {name}."
    return None


def _of_verb(command: Command, words: list[str]) -> str | None:
    from harness.__main__ import app

    group = typer.main.get_command(app)
    if not words or words in (["--help"], ["VERB", "--help"]):
        return None
    verb = group.commands.get(words[0])  # type: ignore[attr-defined]
    if verb is None:
        return f"{command.line}: there is no verb {words[0]}."
    try:
        with verb.make_context(words[0], words[1:]):
            return None
    except _USAGE_ERROR as error:
        return f"{command.line}: {error}"


def _of_pytest(command: Command, words: list[str], parser: object) -> str | None:
    try:
        parser.parse(words)  # type: ignore[attr-defined]
    except pytest.UsageError as error:
        return f"{command.line}: {error}"
    paths = [word for word in words if "/" in word and not word.startswith("-")]
    missing = [path for path in paths if not (ROOT / path.partition("::")[0]).exists()]
    return f"{command.line}: there is no {missing[0]}." if missing else None
