"""Every fault that is planted in the package itself, read from the texts in the folder of its operator.

Each is one keystroke or one plausible shortcut away from the code as it is, and changes what a documented call gives.
What would change nothing is left out: that `deterministic` is ignored, say, which on the CPU asks for nothing; or that
a gradient comes in another dtype, which autograd itself sets right. 32-bit offsets go wrong beyond 2^31 elements, for
which no test has the memory: offsets in 16 bits stand in for them.

A fault is a paragraph:

    name (grad_image, grad_boxes): what is wrong; the directions in which it shows, without which it shows in all
    killed by shared/test_views.py::test_name, below suites/correctness: a test that is run before all others
    in csrc/crop_and_resize/rule.h, below impl: a file that is changed
    - a text that is in it once
    + the text in its place, without which there is none

Texts have as many lines as they take. "(no result)" shows in what is told to torch or to the user.
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
    """The faults of an operator; ValueError for a paragraph that is none."""
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
