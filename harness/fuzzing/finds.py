"""Finds: cases that an implementation failed, one small file each, replayed by the suite from then on.

The name of a find depends only on its question, so folders of several machines merge by copying, and the same find
always has the same file. A file is written atomically, and never written to again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from harness import properties
from harness.judging.trial import reproduction
from harness.operators import OPERATORS, AnyCase, operator_of, parse
from harness.operators.arrays import DIRECTIONS, Direction
from harness.operators.sheet import OperatorName
from harness.properties import Property
from harness.repository import ROOT

FOLDER = ROOT / "suites" / "finds"


@dataclass(frozen=True)
class Find:
    """One case that one backend failed, in one direction of one property.

    case            the line of the case.
    status, reason  of the verdict: the value of a harness.operators.verdict.Status, and the reason in words.
    backend, title  of the failing backend, by name and as in tables. Any other backend can replay the case.
    """

    operator: OperatorName
    property: str
    direction: Direction
    case: str
    status: str
    reason: str
    backend: str
    title: str

    def file_name(self) -> str:
        """The name of its file: a digest of operator, property, direction and case."""
        question = "\n".join((self.operator, self.property, self.direction, self.case))
        return f"{hashlib.sha256(question.encode()).hexdigest()[:20]}.json"

    def definition(self) -> Property:
        """Its property; ValueError if there is none of this name."""
        return properties.find(self.property, self.operator)

    def parse_case(self) -> AnyCase:
        return parse(self.case)

    def reproduction(self) -> str:
        """The command that reproduces it."""
        return reproduction(self.backend, self.direction, self.case, self.property)


def store(find: Find, folder: Path = FOLDER) -> tuple[Path, bool]:
    """Stores a find; returns its path and whether it is new. An existing file stays unchanged."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / find.file_name()
    descriptor, part = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(asdict(find), indent=1, ensure_ascii=False) + "\n")
        os.chmod(part, 0o644)
        os.link(part, path)  # unlike a rename, a link fails if the path exists
    except FileExistsError:
        return path, False
    finally:
        os.unlink(part)
    return path, True


def read(folder: Path = FOLDER) -> tuple[list[Find], list[str]]:
    """All finds of a folder, in the order of file names, and a sentence about each file that is not a find."""
    all_finds: list[Find] = []
    problems: list[str] = []
    for path in sorted(folder.glob("*.json")):
        try:
            all_finds.append(_read(path))
        except ValueError as broken:
            problems.append(
                f"{path} holds no find: {broken} Copy it again from where it was made, or delete it with the property "
                "that it was of."
            )
    return all_finds, problems


def _read(path: Path) -> Find:
    """The find in a file; ValueError with a sentence if there is none."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"it cannot be read as JSON ({error}).") from None
    names = [field.name for field in fields(Find)]
    if (
        not isinstance(content, dict)
        or sorted(content) != sorted(names)
        or not all(isinstance(v, str) for v in content.values())
    ):
        raise ValueError(f"it must be an object of texts named {', '.join(names)}.")
    find = Find(**content)
    if find.operator not in OPERATORS or find.direction not in DIRECTIONS:
        raise ValueError(f"there is no {find.direction!r} of {find.operator!r}.")
    find.definition()
    if operator_of(find.parse_case()).name != find.operator:
        raise ValueError(f"its case is not one of {find.operator}.")
    if find.file_name() != path.name:
        raise ValueError(f"what it holds is called {find.file_name()}.")
    return find
