"""The faults planted in the package itself, read from the texts in the folder of each operator.

Each is one keystroke or one plausible shortcut away from the code, and changes the result of a documented call. Changes
without an effect are left out, such as ignoring `deterministic` on the CPU, where it does nothing, or a gradient of the
wrong dtype, which autograd corrects. 32-bit offsets fail beyond 2^31 elements, too many for the memory of a test, so
16-bit offsets stand in for them.

A fault is a paragraph:

    name (grad_image, grad_boxes): what is wrong; in parentheses the directions in which it shows, by default all killed
    by shared/test_views.py::test_name, below suites/correctness: a test to run before all others in
    csrc/crop_and_resize/rule.h, below impl: a file to change - a text that occurs in it once + the replacement, by
    default nothing

Texts may have several lines. "(no result)" marks faults that show only in what torch or the user is told.
"""

from __future__ import annotations

import re
from pathlib import Path

from harness.faults.package.building import PackageFault
from harness.kernels.compiling import Change
from harness.operators import OPERATORS
from harness.operators.arrays import DIRECTIONS
from harness.operators.sheet import OperatorName

_DIRECTION = "|".join(DIRECTIONS)
_HEAD = re.compile(rf"(?P<name>\w+)(?: \((?P<places>no result|(?:(?:{_DIRECTION})(?:, )?)+)\))?: (?P<why>.+)")


def read(operator: OperatorName, text: str) -> list[PackageFault]:
    """The faults of an operator; ValueError for a malformed paragraph."""
    return [_fault(operator, *paragraph.split("\n")) for paragraph in text.rstrip().split("\n\n")]


def _fault(operator: OperatorName, first: str, *lines: str) -> PackageFault:
    tests: list[str] = []
    changes: list[tuple[str, dict[str, list[str]]]] = []
    for line in lines:
        mark, _, rest = line.partition(" ")
        if line.startswith("killed by "):
            tests.append(f"suites/correctness/{line.removeprefix('killed by ')}")
        elif mark == "in":
            changes.append((rest, {"-": [], "+": []}))
        elif mark in ("-", "+") and changes:
            changes[-1][1][mark].append(rest)
        else:
            raise ValueError(f"{first}: a fault has no such line: {line}")
    head = _HEAD.fullmatch(first)
    if head is None or not tests or not changes:
        raise ValueError(f"A fault is `name: what is wrong`, what it is killed by, and its changes, not: {first}")
    places = head["places"] or ", ".join(DIRECTIONS)
    return PackageFault(
        name=head["name"], why=head["why"], operator=operator,
        changes=tuple(Change(file, "\n".join(texts["-"]), "\n".join(texts["+"])) for file, texts in changes),
        suites=tuple(tests), directions=tuple(each for each in DIRECTIONS if each in places),
    )  # fmt: skip


FAULTS = tuple(
    fault
    for operator in OPERATORS
    for path in sorted(Path(__file__).parent.glob(f"{operator}/*.txt"))
    for fault in read(operator, path.read_text(encoding="utf-8"))
)
