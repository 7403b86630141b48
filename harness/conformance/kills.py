"""Which check finds which planted fault, and which finds it first: what a pass of the suites is worth.

The checks are the properties that the suites assert, in their order, on cases that they draw. A fault is asked about in
each direction and mode in which it shows, and has to be found in every one of them.
"""

from __future__ import annotations

import csv
import functools
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from harness.faults import FAULTS
from harness.faults import package as package_faults
from harness.faults.fault import Fault
from harness.faults.package import building as faulty_package
from harness.faults.package.building import PackageFault
from harness.operators import AnyCase
from harness.operators.arrays import DIRECTIONS, Direction
from harness.operators.roi_align.case import Mode
from harness.operators.sheet import OperatorName, Sheet
from harness.properties import Property, all_properties

# Those planted in the package are called so beside the others.
PACKAGE = "package:"
# Of the cases that one run of Hypothesis draws many are variations of a few, so that now and then all of them miss a
# fault. Whether they do changes with every line of the project, whose constants it draws too: a fault gets more turns.
TURNS, CASES = 16, 60


@dataclass(frozen=True)
class Outcome:
    """What one check made of one fault in one direction: a line of results/mutants.csv.

    kind     "reference": planted in the step-by-step rule; "package": in the package itself, C++ or Python.
    outcome  "killed", "survived", or "not asked".
    first    whether this check found the fault before any other did.
    cases    at which case it was found, or how many it survived.
    detail   what the check said.
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


@functools.cache
def drawn(of: Property, sheet: Sheet, turn: int) -> tuple[AnyCase, ...]:
    """The cases of a property in one turn; the rarer ones in fewer cases, as in the suites."""
    found: list[AnyCase] = []

    @seed(turn)
    @settings(
        max_examples=max(5, CASES // of.share),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(of.cases(sheet))
    def draw(case: AnyCase) -> None:
        found.append(case)

    draw()
    return tuple(found)


def asked_about(fault: Fault) -> Iterator[tuple[Direction, Mode | None]]:
    """The directions, and of roi_align the modes, in which a fault shows."""
    for direction in fault.directions:
        for mode in fault.modes if fault.operator == "roi_align" else (None,):
            yield direction, mode


def checks(fault: Fault, direction: Direction, mode: Mode | None) -> Iterator[tuple[Property, Sheet]]:
    """The properties to hold against it, each with the sheet that narrows its cases to what shows the fault."""
    sheet = replace(fault.backend.sheet, image_dtypes=fault.image_dtypes)
    if mode is not None:
        sheet = replace(sheet, modes=(mode,))
    for of in all_properties():
        if of.operator == fault.operator and direction in of.directions and of.undeclared(sheet, direction) is None:
            yield of, sheet


def judged(fault: Fault, direction: Direction, mode: Mode | None, of: Property, sheet: Sheet, turn: int) -> Outcome:
    """What one check makes of a fault on the cases of one turn."""
    cases = drawn(of, sheet, turn)
    asked = 0
    name = direction if mode is None else f"{direction}, {mode}"
    made = functools.partial(
        Outcome, fault.name, "reference", fault.operator, name, of.name, first=False, why=fault.why
    )
    for case in cases:
        verdict = of.holds(fault.backend, case, direction)
        asked += verdict is not None
        if verdict is not None and not verdict.passed:
            return made(
                outcome="killed", cases=turn * len(cases) + asked, detail=f"{verdict.status.name}: {verdict.reason}"
            )
    return made(outcome="survived" if asked else "not asked", cases=asked, detail="")


def first_killer(fault: Fault, direction: Direction, mode: Mode | None) -> Outcome | None:
    """The check that finds a fault first, None if it survives every turn of all of them."""
    for turn in range(TURNS):
        for of, sheet in checks(fault, direction, mode):
            outcome = judged(fault, direction, mode, of, sheet, turn)
            if outcome.outcome == "killed":
                return replace(outcome, first=True)
    return None


def row(fault: Fault) -> list[Outcome]:
    """A fault's row of the matrix: every check in its first turn, and the one that finds it first."""
    outcomes: list[Outcome] = []
    for direction, mode in asked_about(fault):
        mine = [judged(fault, direction, mode, of, sheet, 0) for of, sheet in checks(fault, direction, mode)]
        killers = [at for at, outcome in enumerate(mine) if outcome.outcome == "killed"]
        if killers:
            mine[killers[0]] = replace(mine[killers[0]], first=True)
        else:
            late = first_killer(fault, direction, mode)
            mine = [late if late is not None and late.check == each.check else each for each in mine]
        outcomes += mine
    return outcomes


def names() -> list[str]:
    """All faults: those of the rule, then those of the package."""
    return [fault.name for fault in FAULTS] + [PACKAGE + fault.name for fault in package_faults.FAULTS]


def row_of(name: str) -> list[Outcome]:
    """The row of the fault of that name."""
    if name.startswith(PACKAGE):
        return [of_package(next(fault for fault in package_faults.FAULTS if PACKAGE + fault.name == name))]
    return row(next(fault for fault in FAULTS if fault.name == name))


def of_package(fault: PackageFault) -> Outcome:
    """What finds a fault of the package: the first of the suites' own tests that fails on it."""
    found = faulty_package.killed_by(fault)
    return Outcome(
        fault=PACKAGE + fault.name,
        kind="package",
        operator=fault.operator,
        direction="all" if fault.directions == DIRECTIONS else ", ".join(fault.directions),
        check="every test of the package" if found is None else found.rpartition("/")[2],
        outcome="survived" if found is None else "killed",
        first=found is not None,
        cases=0,
        detail="" if found is None else found,
        why=fault.why,
    )


def survivors(outcomes: Iterable[Outcome]) -> list[tuple[str, str]]:
    """The faults, each with its direction, that no check found."""
    found: dict[tuple[str, str], bool] = {}
    for each in outcomes:
        key = each.fault, each.direction
        found[key] = found.get(key, False) or each.outcome == "killed"
    return [key for key, killed in found.items() if not killed]


def write(outcomes: Iterable[Outcome], path: Path) -> None:
    """The outcomes as CSV, whole or not at all; a detail is cut to one line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Outcome)], lineterminator="\n")
    writer.writeheader()
    for each in outcomes:
        writer.writerow({**asdict(each), "detail": each.detail.splitlines()[0][:200] if each.detail else ""})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text.getvalue(), encoding="utf-8")
    os.replace(partial, path)
