"""Whether an implementation has a property, as a cell of a matrix: one backend, one property, one direction.

A suite stops a kernel author at the first failure; a matrix shows all that holds and all that does not, beside the
libraries that others use. So nothing stops a run: every backend stands in a process of its own (isolation.py), and a
crash, a hang, a missing library are words in a cell. What a sheet does not declare is not held against anybody, but
undeclared bad input is put to everybody: that it ends a process is recorded as seen. It is undefined behaviour, and
asserted nowhere.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import Phase
from hypothesis.errors import Unsatisfiable

from harness.measuring import devices
from harness.measuring.devices import cpu
from harness.operators.arrays import Direction
from harness.operators.drawing import effort
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName
from harness.operators.verdict import Status, Verdict
from harness.properties import Property
from harness.properties.search import NOTHING, Finding, largest_fraction, search

CellStatus = Literal["pass", "fail", "ambiguous", "crash", "hang", "undeclared", "missing", "not asked", "judge"]
# These count against a backend that declares the property.
BAD: tuple[CellStatus, ...] = ("fail", "crash", "hang")
EXAMPLES = 100
# Of these, one in so many is put to a backend that compiles each of them first.
COMPILED_SHARE = 10
# So often a failing case is tried smaller. A call may take a second, and a case need not be the smallest that there is.
SHRINKS = 400
LIBRARIES = ("numpy", "torch", "torchvision", "tensorflow", "onnxruntime", "hypothesis")
OURS: CellStatus = "judge"
DEADLY: dict[Status, CellStatus] = {Status.CRASH: "crash", Status.HANG: "hang"}
# What a library writes to its log before what it has to say: when, which thread, and of which file.
_LOGGED = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: |[IWEF]\d{4} [\d:.]+ +\d+ |\b0x[0-9a-f]+\b"
    r"|\(\d+,[0-9a-f]+,\w+\):[\d:.-]+"
)


@dataclass(frozen=True)
class Cell:
    """One backend, one property, one direction.

    device          where it ran, as results are filed: harness.measuring.devices.cpu.device(), or a GPU's name.
    status          "ambiguous": it passed, but some value only because another order of rounding may take another
                    branch. "undeclared": its sheet leaves it out. "missing": its library or device is not here. "not
                    asked": every drawn case was refused. "judge": the judge itself failed, which is held against
                    nobody.
    declared        whether its sheet declares it; a crash on what it does not is shown, and held against nobody.
    cases           that were asked until the first failure, and in how many of them a value was ambiguous.
    fraction        the largest part of a bound that was used, None where nothing was judged by one.
    counterexample  the line of the smallest failing case that was found, of a crash or hang the first.
    reason          why the status is what it is, in one line; of one that holds which drawn cases were refused.
    versions        of the libraries here; driver: the GPU's, "" on a CPU.
    """

    operator: OperatorName
    property: str
    direction: Direction
    backend: str
    device: str
    status: CellStatus
    declared: bool
    cases: int
    ambiguous: int
    fraction: float | None
    counterexample: str
    reason: str
    title: str
    versions: str
    driver: str


def is_bad(each: Cell) -> bool:
    """Whether an implementation does not do what it declares."""
    return each.declared and each.status in BAD


def cell(
    backend: Backend[Any], property_: Property, direction: Direction, examples: int = EXAMPLES, seed: int = 0
) -> Cell:
    """The cell of a backend, which should be isolated, on so many cases divided by the property's share.

    A backend that compiles for each shape is asked for a tenth of them.
    """

    def searched(fails: Callable[[Verdict], bool]) -> Finding:
        """A crash or hang is taken as it came: to try a smaller one is to start a library again each time."""
        count = examples // COMPILED_SHARE if backend.sheet.compiles else examples
        settings = effort(property_.examples(count), Phase.generate, Phase.shrink)
        return search(
            property_, backend, direction, settings, seed=seed, shrinks=SHRINKS, final=tuple(DEADLY), fails=fails
        )

    undeclared = property_.undeclared(backend.sheet, direction)
    if undeclared is None:
        try:
            finding = searched(lambda verdict: not verdict.passed)
        except Unsatisfiable as nothing:
            return _of_backend(backend, property_, direction, "not asked", str(nothing), True)
        status, reason = _status(backend, direction, finding)
        return _of_backend(backend, property_, direction, status, reason, True, finding)
    if property_.can_be_probed(backend.sheet, direction):
        finding = searched(lambda verdict: verdict.status in DEADLY)
        if finding.failure is not None:
            verdict = finding.failure.verdict
            reason = f"Undeclared ({undeclared}), and so undefined behaviour. {verdict.reason}"
            return _of_backend(backend, property_, direction, DEADLY[verdict.status], reason, False, finding)
    return _of_backend(backend, property_, direction, "undeclared", undeclared, False)


def without_backend(
    name: str, property_: Property, direction: Direction, status: CellStatus, reason: str, declared: bool
) -> Cell:
    """The cell of a backend that could not be loaded: nothing more is known of it than its name."""
    return Cell(
        property_.operator, property_.name, direction, name, cpu.device(), status, declared, 0, 0, None, "",
        _in_one_line(reason), name, versions(), "",
    )  # fmt: skip


def _status(backend: Backend[Any], direction: Direction, finding: Finding) -> tuple[CellStatus, str]:
    """The status of a declared property and the reason for it."""
    if finding.failure is not None:
        verdict = finding.failure.verdict
        return {**DEADLY, Status.JUDGE: OURS}.get(verdict.status, "fail"), verdict.reason + finding.failure.remark
    reasons = [reason for case in finding.refused if (reason := backend.refuses(case.inputs(), direction))]
    refusal = reasons[-1] if reasons else "The check had no use for the case."
    if not finding.asked:
        return "not asked", refusal
    # What is refused is no pass: a reader shall see how much of it there was.
    refused = f"{len(reasons)} drawn cases were not asked, such as: {refusal}" if reasons else ""
    ambiguous = any(verdict.status is Status.AMBIGUOUS for _, verdict in finding.asked)
    return ("ambiguous" if ambiguous else "pass"), refused


def _of_backend(
    backend: Backend[Any],
    property_: Property,
    direction: Direction,
    status: CellStatus,
    reason: str,
    declared: bool,
    finding: Finding = NOTHING,
) -> Cell:
    """A cell of a backend that is here."""
    device, driver = _place(backend.sheet.device)
    verdicts = [verdict for _, verdict in finding.asked]
    ambiguous = sum(verdict.status is Status.AMBIGUOUS for verdict in verdicts)
    counterexample = "" if finding.failure is None else repr(finding.failure.case)
    return Cell(
        property_.operator, property_.name, direction, backend.name, device, status, declared, len(verdicts), ambiguous,
        largest_fraction(verdicts), counterexample, _in_one_line(reason), backend.title, versions(), driver,
    )  # fmt: skip


@functools.cache
def versions() -> str:
    """The libraries here and their versions, in one line."""
    return ", ".join(f"{name} {version}" for name, version in cpu.versions(LIBRARIES).items())


@functools.cache
def _place(device: str) -> tuple[str, str]:
    """What results of a device of torch's are filed under, and its driver."""
    if device.partition(":")[0] != "cuda":
        return devices.load("cpu").name(), ""
    from harness.measuring.devices import cuda  # it imports torch, which a run on a CPU does not need here

    return cuda.name(), cuda.driver()


def _in_one_line(text: str) -> str:
    """The same words the next time, as far as possible: without times, numbers of processes, and addresses."""
    return " ".join(_LOGGED.sub("", text).split())[:500]
