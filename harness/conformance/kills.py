"""Which check finds which planted fault, and which finds it first: what a pass of the suites is worth.

The checks are the properties that the suites assert, in their order, on cases that they draw. A fault is asked about in
each direction and mode in which it shows, and has to be found in every one of them.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from harness import repository
from harness.faults import FAULTS, package
from harness.faults.fault import Fault
from harness.faults.package import building
from harness.faults.package.building import PackageFault
from harness.operators import AnyCase, drawing
from harness.operators.arrays import DIRECTIONS, Direction
from harness.operators.sheet import OperatorName, Sheet
from harness.operators.verdict import JudgementError, Status
from harness.properties import Property, questions
from harness.properties.search import among

# Those planted in the package are called so beside the others.
PACKAGE = "package:"
# Of the cases that one run of Hypothesis draws many are variations of a few, so that now and then all of them miss a
# fault. Whether they do changes with every line of the project, whose constants it draws too: a fault gets more turns.
TURNS, CASES = 16, 60


@dataclass(frozen=True)
class Attempt:
    """What one check made of one fault in one direction: a line of results/mutants.csv.

    kind     "reference": planted in the step-by-step rule; "package": in the package itself, C++ or Python.
    outcome  "killed", "survived", or "not asked".
    first    whether this check found the fault before any other did.
    cases    at which case it was found, or how many it survived.
    detail   the words of the verdict.
    """

    fault: str
    kind: str
    operator: OperatorName
    direction: str
    check: str
    outcome: str
    first: bool
    cases: int
    detail: str
    why: str


@dataclass(frozen=True)
class Showing:
    """Where a fault shows: in a direction, on the cases of a sheet narrowed to the images and the mode that show it.

    name: the direction, with the mode where the operator has several.
    """

    name: str
    direction: Direction
    sheet: Sheet

    def checks(self) -> Iterator[Property]:
        """The properties that it is held against."""
        for property_, direction in questions(self.sheet.operator):
            if direction == self.direction and property_.undeclared(self.sheet, direction) is None:
                yield property_


def showings(fault: Fault) -> Iterator[Showing]:
    """The directions and modes in which a fault has to be found."""
    sheet = replace(fault.backend.sheet, image_dtypes=fault.image_dtypes)
    for direction in fault.directions:
        for mode in fault.modes:
            name = f"{direction}, {mode}" if len(sheet.modes) > 1 else direction
            yield Showing(name, direction, replace(sheet, modes=(mode,)))


@functools.cache
def draw_cases(check: Property, sheet: Sheet, count: int, turn: int) -> tuple[AnyCase, ...]:
    """A check's cases in one turn, the same ones for every fault."""
    return tuple(drawing.draw_cases(check.cases(sheet), count, turn))


def attempt(fault: Fault, showing: Showing, check: Property, turn: int) -> Attempt:
    """What one check makes of a fault on the cases of one turn; the rarer checks in fewer cases, as in the suites."""
    cases = draw_cases(check, showing.sheet, check.examples(CASES), turn)
    finding = among(cases, check, fault.backend, showing.direction)
    number = len(finding.verdicts)
    outcome, count, detail = ("survived" if number else "not asked"), number, ""
    if finding.failure is not None:
        verdict = finding.failure.verdict
        if verdict.status is Status.JUDGE:
            raise JudgementError(verdict)  # that kills nothing
        outcome, count, detail = "killed", turn * len(cases) + number, f"{verdict.status.name}: {verdict.reason}"
    return Attempt(
        fault.name, "reference", fault.operator, showing.name, check.name, outcome, False, count, detail, fault.why
    )


def first_killer(fault: Fault, showing: Showing) -> Attempt | None:
    """The check that finds a fault first, None if it survives every turn of all of them."""
    for turn in range(TURNS):
        for check in showing.checks():
            latest = attempt(fault, showing, check, turn)
            if latest.outcome == "killed":
                return replace(latest, first=True)
    return None


def row(fault: Fault) -> list[Attempt]:
    """A fault's row of the matrix: every check in its first turn, and the one that finds it first."""
    attempts: list[Attempt] = []
    for showing in showings(fault):
        first_turn = [attempt(fault, showing, check, 0) for check in showing.checks()]
        killers = [at for at, each in enumerate(first_turn) if each.outcome == "killed"]
        if killers:
            first_turn[killers[0]] = replace(first_turn[killers[0]], first=True)
        else:
            late = first_killer(fault, showing)
            first_turn = [late if late is not None and late.check == each.check else each for each in first_turn]
        attempts += first_turn
    return attempts


def names() -> list[str]:
    """All faults: those of the rule, then those of the package."""
    return [fault.name for fault in FAULTS] + [PACKAGE + fault.name for fault in package.FAULTS]


def row_of(name: str) -> list[Attempt]:
    """The row of the fault of that name."""
    if name.startswith(PACKAGE):
        return [of_package(next(fault for fault in package.FAULTS if PACKAGE + fault.name == name))]
    return row(next(fault for fault in FAULTS if fault.name == name))


def of_package(fault: PackageFault) -> Attempt:
    """What finds a fault of the package: the first of the suites' own tests that fails on it."""
    test = building.killed_by(fault)
    return Attempt(
        fault=PACKAGE + fault.name, kind="package", operator=fault.operator,
        direction="all" if fault.directions == DIRECTIONS else ", ".join(fault.directions),
        check="every test of the package" if test is None else test.rpartition("/")[2],
        outcome="survived" if test is None else "killed", first=test is not None, cases=0, detail=test or "",
        why=fault.why,
    )  # fmt: skip


def survivors(attempts: Iterable[Attempt]) -> list[tuple[str, str]]:
    """The faults, each with its direction, that no check found."""
    kills: dict[tuple[str, str], bool] = {}
    for each in attempts:
        key = each.fault, each.direction
        kills[key] = kills.get(key, False) or each.outcome == "killed"
    return [key for key, is_killed in kills.items() if not is_killed]


def write(attempts: Iterable[Attempt], path: Path) -> None:
    """The attempts as CSV, whole or not at all; a detail is cut to one line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Attempt)], lineterminator="\n")
    writer.writeheader()
    for each in attempts:
        writer.writerow({**asdict(each), "detail": each.detail.splitlines()[0][:200] if each.detail else ""})
    repository.replace(path, text.getvalue())
