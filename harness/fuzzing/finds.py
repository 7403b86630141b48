"""Cases that an implementation failed: one small file each, replayed by the suite from then on.

A find is named by what it is about and nothing else, so that two machines' folders merge by copying, and the same find
again is the same file. A file appears whole or not at all, and one that is there is never written to again.
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

    case            the line that makes it.
    status, reason  what the verdict was: the value of a harness.operators.verdict.Status, and its words.
    backend, title  whose failure it was, by name and as tables call it. Any other may be asked for the same.
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
        """What its file is called: a digest of the question, the backend that failed it, and how."""
        asked = "\n".join((self.operator, self.property, self.direction, self.case))
        return f"{hashlib.sha256(asked.encode()).hexdigest()[:20]}.json"

    def definition(self) -> Property:
        """The property of its name; ValueError if there is none."""
        return properties.find(self.property, self.operator)

    def parsed(self) -> AnyCase:
        return parse(self.case)

    def reproduction(self) -> str:
        """The command that shows it again."""
        return reproduction(self.backend, self.direction, self.case, self.property)


def store(find: Find, folder: Path = FOLDER) -> tuple[Path, bool]:
    """The find's file, and whether it is new: one that is there stays as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / find.file_name()
    descriptor, part = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(asdict(find), indent=1, ensure_ascii=False) + "\n")
        os.chmod(part, 0o644)
        os.link(part, path)  # unlike a rename, it fails where something stands already
    except FileExistsError:
        return path, False
    finally:
        os.unlink(part)
    return path, True


def read(folder: Path = FOLDER) -> tuple[list[Find], list[str]]:
    """All finds of a folder, by name of their files, and a sentence about each file that holds none."""
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
    if operator_of(find.parsed()).name != find.operator:
        raise ValueError(f"its case is not one of {find.operator}.")
    if find.file_name() != path.name:
        raise ValueError(f"what it holds is called {find.file_name()}.")
    return find
