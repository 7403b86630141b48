"""Whether an implementation has a property, as a cell of a matrix: one backend, one property, one direction.

A suite stops at the first failure; a matrix shows every property that holds or fails, beside the widely used libraries.
So nothing stops a run: every backend runs in a process of its own (isolation.py), and a crash, a hang or a missing
library is a word in a cell. Undeclared features do not count against a backend. Undeclared bad input is probed anyway:
a crash on it is recorded, but it is undefined behaviour and no test asserts it.
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
# The statuses that count against a backend if it declares the property.
BAD: tuple[CellStatus, ...] = ("fail", "crash", "hang")
EXAMPLES = 100
# The most attempts to shrink a failing case: a call may take a second, and the case need not be minimal.
SHRINKS = 400
LIBRARIES = ("numpy", "torch", "torchvision", "tensorflow", "onnxruntime", "hypothesis")
OURS: CellStatus = "judge"
DEADLY: dict[Status, CellStatus] = {Status.CRASH: "crash", Status.HANG: "hang"}
# The prefix of a library's log line: time, thread and file.
_LOG_PREFIX = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: |[IWEF]\d{4} [\d:.]+ +\d+ |\b0x[0-9a-f]+\b"
    r"|\(\d+,[0-9a-f]+,\w+\):[\d:.-]+"
)


@dataclass(frozen=True)
class Cell:
    """One backend, one property, one direction.

    device          the device, as in the names of results: harness.measuring.devices.cpu.device(), or a GPU's name.
    status          "ambiguous": it passed, but some value only because another order of rounding may take another
                    branch. "undeclared": its sheet does not declare it. "missing": its library or device is missing.
                    "not asked": every drawn case was refused. "judge": the judge itself failed, which does not count
                    against the backend.
    declared        whether its sheet declares it; a crash on undeclared input is shown but does not count.
    cases           the number of cases up to the first failure; ambiguous: how many of them had an ambiguous value.
    fraction        the largest fraction of a bound, None if nothing was judged by one.
    counterexample  the line of the smallest failing case; of a crash or hang, the first.
    reason          the reason for the status in one line; for "pass", the drawn cases that were refused.
    versions        of the installed libraries; driver: the GPU's, "" on a CPU.
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
    """The cell of a backend, on the property's share of `examples` cases. The backend should be isolated."""

    def search_with(fails: Callable[[Verdict], bool]) -> Finding:
        """Searches for a failure; does not shrink crashes and hangs, since each attempt would restart the library."""
        settings = effort(property_.examples(examples, backend.sheet), Phase.generate, Phase.shrink)
        return search(
            property_, backend, direction, settings, seed=seed, shrinks=SHRINKS, final=tuple(DEADLY), fails=fails
        )

    undeclared = property_.undeclared(backend.sheet, direction)
    if undeclared is None:
        try:
            finding = search_with(lambda verdict: not verdict.passed)
        except Unsatisfiable as nothing:
            return _of_backend(backend, property_, direction, "not asked", str(nothing), True)
        status, reason = _status(backend, direction, finding)
        return _of_backend(backend, property_, direction, status, reason, True, finding)
    if property_.can_be_probed(backend.sheet, direction):
        finding = search_with(lambda verdict: verdict.status in DEADLY)
        if finding.failure is not None:
            verdict = finding.failure.verdict
            reason = f"Undeclared ({undeclared}), and so undefined behaviour. {verdict.reason}"
            return _of_backend(backend, property_, direction, DEADLY[verdict.status], reason, False, finding)
    return _of_backend(backend, property_, direction, "undeclared", undeclared, False)


def without_backend(
    name: str, property_: Property, direction: Direction, status: CellStatus, reason: str, declared: bool
) -> Cell:
    """The cell of a backend that could not be loaded; only its name is known."""
    return Cell(
        property_.operator, property_.name, direction, name, cpu.device(), status, declared, 0, 0, None, "",
        _in_one_line(reason), name, versions(), "",
    )  # fmt: skip


def _status(backend: Backend[Any], direction: Direction, finding: Finding) -> tuple[CellStatus, str]:
    """The status of a declared property and the reason for it."""
    if finding.failure is not None:
        verdict = finding.failure.verdict
        return {**DEADLY, Status.JUDGE: OURS}.get(verdict.status, "fail"), verdict.reason + finding.failure.remark
    reasons = [reason for case in finding.refusals if (reason := backend.refuses(case.inputs(), direction))]
    refusal = reasons[-1] if reasons else "The check had no use for the case."
    if not finding.verdicts:
        return "not asked", refusal
    # Refused cases are no passes, so the reason counts them.
    remark = f"{len(reasons)} drawn cases were not asked, such as: {refusal}" if reasons else ""
    ambiguous = any(verdict.status is Status.AMBIGUOUS for _, verdict in finding.verdicts)
    return ("ambiguous" if ambiguous else "pass"), remark


def _of_backend(
    backend: Backend[Any],
    property_: Property,
    direction: Direction,
    status: CellStatus,
    reason: str,
    declared: bool,
    finding: Finding = NOTHING,
) -> Cell:
    """A cell of a loaded backend."""
    device, driver = _place(backend.sheet.device)
    verdicts = [verdict for _, verdict in finding.verdicts]
    ambiguous = sum(verdict.status is Status.AMBIGUOUS for verdict in verdicts)
    counterexample = "" if finding.failure is None else repr(finding.failure.case)
    return Cell(
        property_.operator, property_.name, direction, backend.name, device, status, declared, len(verdicts), ambiguous,
        largest_fraction(verdicts), counterexample, _in_one_line(reason), backend.title, versions(), driver,
    )  # fmt: skip


@functools.cache
def versions() -> str:
    """The installed libraries with their versions, in one line."""
    return ", ".join(f"{name} {version}" for name, version in cpu.versions(LIBRARIES).items())


@functools.cache
def _place(device: str) -> tuple[str, str]:
    """The name of a torch device in results, and its driver."""
    if device.partition(":")[0] != "cuda":
        return devices.load("cpu").name(), ""
    from harness.measuring.devices import cuda  # imports torch, which a CPU run does not need here

    return cuda.name(), cuda.driver()


def _in_one_line(text: str) -> str:
    """The text in one reproducible line, without times, process ids and addresses."""
    return " ".join(_LOG_PREFIX.sub("", text).split())[:500]
