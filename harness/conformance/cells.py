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
from dataclasses import dataclass, field
from typing import Any, Literal

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity
from hypothesis.errors import Unsatisfiable

from harness.measuring import cpu as machine
from harness.measuring import devices
from harness.operators import AnyCase
from harness.operators.arrays import Direction
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName
from harness.operators.verdict import Status, Verdict
from harness.properties import Property

Outcome = Literal["pass", "fail", "ambiguous", "crash", "hang", "undeclared", "missing", "not asked"]
# These are held against whoever declares the property.
BAD: tuple[Outcome, ...] = ("fail", "crash", "hang")
EXAMPLES = 100
FEWEST = 5
# So often a failing case is tried smaller. A call may take a second, and a case need not be the smallest that there is.
SHRINKS = 400
LIBRARIES = ("numpy", "torch", "torchvision", "tensorflow", "onnxruntime", "hypothesis")
_DEADLY = {Status.CRASH: "crash", Status.HANG: "hang"}
# What a library writes to its log before what it has to say: when, which thread, and of which file.
_LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: |[IWEF]\d{4} [\d:.]+ +\d+ |\b0x[0-9a-f]+\b")


@dataclass(frozen=True)
class Cell:
    """One backend, one property, one direction.

    device          where it ran, as results are filed: harness.measuring.cpu.device(), or a GPU's name.
    status          "ambiguous": it passed, but some value only because another order of rounding may take another
                    branch. "undeclared": its sheet leaves it out. "missing": its library or device is not here. "not
                    asked": every drawn case was refused.
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
    status: Outcome
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
    backend: Backend[Any], stated: Property, direction: Direction, examples: int = EXAMPLES, seed: int = 0
) -> Cell:
    """The cell of a backend, which should be isolated, on so many cases divided by the property's share."""
    count = max(FEWEST, examples // stated.share)
    undeclared = stated.undeclared(backend.sheet, direction)
    if undeclared is None:
        found = _searched(backend, stated, direction, count, seed, lambda verdict: not verdict.passed)
        return made(backend, stated, direction, *_told(found), True, found)
    if stated.can_be_probed(backend.sheet, direction):
        found = _searched(backend, stated, direction, count, seed, lambda verdict: verdict.status in _DEADLY)
        if found.case is not None and found.verdict is not None:
            reason = f"Undeclared ({undeclared}), and so undefined behaviour. {found.verdict.reason}"
            return made(backend, stated, direction, _DEADLY[found.verdict.status], reason, False, found)
    return made(backend, stated, direction, "undeclared", undeclared, False)


def without_backend(
    name: str, stated: Property, direction: Direction, status: Outcome, reason: str, declared: bool
) -> Cell:
    """The cell of a backend that could not be loaded: nothing more is known of it than its name."""
    return Cell(
        stated.operator, stated.name, direction, name, machine.device(), status, declared, 0, 0, None, "",
        _in_one_line(reason), name, versions(), "",
    )  # fmt: skip


@dataclass
class _Found:
    """What a search has seen: of the cases until the first failure, and the failing case that it ended with."""

    cases: int = 0
    ambiguous: int = 0
    fraction: float | None = None
    refused: int = 0
    refusal: str = ""
    case: AnyCase | None = None
    verdict: Verdict | None = None
    failed: dict[str, Verdict] = field(default_factory=dict)
    shrinks: int = 0


class _Fails(Exception):
    """For Hypothesis: this case is one."""


def _searched(
    backend: Backend[Any],
    stated: Property,
    direction: Direction,
    count: int,
    seed: int,
    matters: Callable[[Verdict], bool],
) -> _Found:
    """Draws cases until a verdict on one matters, and then smaller ones.

    A crash or hang is taken as it came: to try a smaller one is to start a library again each time.
    """
    found = _Found()

    def verdict_on(case: AnyCase) -> Verdict | None:
        line = repr(case)
        if line in found.failed:  # as it was seen, whether or not it would fail again
            return found.failed[line]
        deadly = any(verdict.status in _DEADLY for verdict in found.failed.values())
        if deadly or found.shrinks >= SHRINKS:
            return None
        verdict = stated.holds(backend, case, direction)
        if found.failed:
            found.shrinks += 1
        elif verdict is None:
            refusal = backend.refuses(case.inputs(), direction)
            found.refused += refusal is not None
            found.refusal = refusal or found.refusal or "The check had no use for the case."
        else:
            found.cases += 1
            found.ambiguous += verdict.status is Status.AMBIGUOUS
            if verdict.passed and verdict.compared:
                found.fraction = max(found.fraction or 0.0, verdict.fraction)
        if verdict is None or not matters(verdict):
            return None
        found.failed[line] = verdict
        return verdict

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count, database=None, deadline=None, derandomize=False, phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False, print_blob=False, verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @hypothesis.given(case=stated.cases(backend.sheet))
    def search(case: AnyCase) -> None:
        verdict = verdict_on(case)
        if verdict is not None:
            found.case, found.verdict = case, verdict  # the last that Hypothesis runs is the smallest
            raise _Fails

    try:
        search()
    except _Fails:
        pass
    except Unsatisfiable as nothing:
        found.refusal = str(nothing)
    return found


def _told(found: _Found) -> tuple[Outcome, str]:
    """The status of a declared property and why it is that."""
    if found.verdict is not None:
        status: Any = _DEADLY.get(found.verdict.status, "fail")
        return status, found.verdict.reason
    if not found.cases:
        return "not asked", found.refusal
    # What is refused is no pass: a reader shall see how much of it there was.
    refused = f"{found.refused} drawn cases were not asked, such as: {found.refusal}" if found.refused else ""
    return ("ambiguous" if found.ambiguous else "pass"), refused


def made(
    backend: Backend[Any],
    stated: Property,
    direction: Direction,
    status: Any,
    reason: str,
    declared: bool,
    found: _Found | None = None,
) -> Cell:
    """A cell of a backend that is here."""
    device, driver = _place(backend.sheet.device)
    seen = found or _Found()
    return Cell(
        stated.operator, stated.name, direction, backend.name, device, status, declared, seen.cases, seen.ambiguous,
        seen.fraction, repr(seen.case) if seen.case is not None else "", _in_one_line(reason), backend.title,
        versions(), driver,
    )  # fmt: skip


@functools.cache
def versions() -> str:
    """The libraries here and their versions, in one line."""
    return ", ".join(f"{name} {version}" for name, version in machine.versions(LIBRARIES).items())


@functools.cache
def _place(device: str) -> tuple[str, str]:
    """What results of a device of torch's are filed under, and its driver."""
    if device.partition(":")[0] != "cuda":
        return devices.load("cpu").name(), ""
    from harness.measuring import cuda as cuda_device  # it imports torch, and what runs on a CPU needs none here

    return cuda_device.name(), cuda_device.driver()


def _in_one_line(text: str) -> str:
    """The same words the next time, as far as possible: without times, numbers of processes, and addresses."""
    return " ".join(_LOGGED.sub("", text).split())[:500]
