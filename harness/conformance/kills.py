"""Which check finds which planted fault, and which finds it first: the value of a pass of the suites.

The checks are the suites' properties, in their order, on cases that they draw. A fault must be found in every direction
and mode in which it shows.
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

# The name prefix of faults planted in the package.
PACKAGE = "package:"
# Many cases of one Hypothesis run are variations of a few, so occasionally all of them miss a fault. Whether they do
# changes with every line of the project, because Hypothesis also draws its constants. So a fault gets several turns.
TURNS, CASES = 16, 60


@dataclass(frozen=True)
class Attempt:
    """The outcome of one check on one fault in one direction: a line of results/mutants.csv.

    kind     "reference": planted in the step-by-step rule; "package": in the package itself, C++ or Python.
    outcome  "killed", "survived", or "not asked".
    first    whether this check found the fault before any other did.
    cases    the number of the case that found it, or of the cases it survived.
    detail   the verdict in words.
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
    """A direction in which a fault shows, with the sheet narrowed to the images and the mode that show it.

    name: the direction, with the mode if the operator has several.
    """

    name: str
    direction: Direction
    sheet: Sheet

    def checks(self) -> Iterator[Property]:
        """The properties to check."""
        for property_, direction in questions(self.sheet.operator):
            if direction == self.direction and property_.undeclared(self.sheet, direction) is None:
                yield property_


def showings(fault: Fault) -> Iterator[Showing]:
    """The directions and modes in which a fault must be found."""
    sheet = replace(fault.backend.sheet, image_dtypes=fault.image_dtypes)
    for direction in fault.directions:
        for mode in fault.modes:
            name = f"{direction}, {mode}" if len(sheet.modes) > 1 else direction
            yield Showing(name, direction, replace(sheet, modes=(mode,)))


@functools.cache
def draw_cases(check: Property, sheet: Sheet, count: int, turn: int) -> tuple[AnyCase, ...]:
    """A check's cases in one turn, the same for every fault."""
    return tuple(drawing.draw_cases(check.cases(sheet), count, turn))


def attempt(fault: Fault, showing: Showing, check: Property, turn: int) -> Attempt:
    """Runs one check on a fault with the cases of one turn; expensive checks get fewer cases, as in the suites."""
    cases = draw_cases(check, showing.sheet, check.examples(CASES, showing.sheet), turn)
    finding = among(cases, check, fault.backend, showing.direction)
    number = len(finding.verdicts)
    outcome, count, detail = ("survived" if number else "not asked"), number, ""
    if finding.failure is not None:
        verdict = finding.failure.verdict
        if verdict.status is Status.JUDGE:
            raise JudgementError(verdict)  # a failure of the judge is no kill
        outcome, count, detail = "killed", turn * len(cases) + number, f"{verdict.status.name}: {verdict.reason}"
    return Attempt(
        fault.name, "reference", fault.operator, showing.name, check.name, outcome, False, count, detail, fault.why
    )


def first_killer(fault: Fault, showing: Showing, only: str = "") -> Attempt | None:
    """The check that finds a fault first, None if the fault survives every turn of every check.

    only  the name of the one check to ask; by default all are asked.
    """
    checks = [check for check in showing.checks() if only in ("", check.name)]
    for turn in range(TURNS):
        for check in checks:
            latest = attempt(fault, showing, check, turn)
            if latest.outcome == "killed":
                return replace(latest, first=True)
    return None


def row(fault: Fault) -> list[Attempt]:
    """A fault's row of the matrix: every check in the first turn, with the first killer marked."""
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
    """The names of all faults: those in the reference, then those in the package."""
    return [fault.name for fault in FAULTS] + [PACKAGE + fault.name for fault in package.FAULTS]


def row_of(name: str) -> list[Attempt]:
    """The row of the fault of this name."""
    if name.startswith(PACKAGE):
        return [of_package(next(fault for fault in package.FAULTS if PACKAGE + fault.name == name))]
    return row(next(fault for fault in FAULTS if fault.name == name))


def of_package(fault: PackageFault) -> Attempt:
    """The first test of the suites that fails on a fault of the package."""
    test = building.killer_of(fault)
    return Attempt(
        fault=PACKAGE + fault.name, kind="package", operator=fault.operator,
        direction="all" if fault.directions == DIRECTIONS else ", ".join(fault.directions),
        check="every test of the package" if test is None else test.rpartition("/")[2],
        outcome="survived" if test is None else "killed", first=test is not None, cases=0, detail=test or "",
        why=fault.why,
    )  # fmt: skip


def survivors(attempts: Iterable[Attempt]) -> list[tuple[str, str]]:
    """The faults, with their directions, that no check found."""
    kills: dict[tuple[str, str], bool] = {}
    for each in attempts:
        key = each.fault, each.direction
        kills[key] = kills.get(key, False) or each.outcome == "killed"
    return [key for key, is_killed in kills.items() if not is_killed]


def write(attempts: Iterable[Attempt], path: Path) -> None:
    """Writes the attempts as CSV, atomically; details are cut to one line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Attempt)], lineterminator="\n")
    writer.writeheader()
    for each in attempts:
        writer.writerow({**asdict(each), "detail": each.detail.splitlines()[0][:200] if each.detail else ""})
    repository.replace(path, text.getvalue())
