"""`make sanitize`: the CPU kernels under the address, undefined-behaviour and thread sanitizers, on the property cases.

A driver in C++ for each operator (cpu_threads.cpp, roi_cpu_threads.cpp) runs the package's own kernels under
std::thread. It is compiled with a sanitizer and one instruction set's kernels, reads problems, and compares the bits of
1, 2, 4 and 7 threads; its output is compared with the operator here.
"""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.kernels.compiling import Change, digest, kernel_sources, make, objects
from harness.operators.arrays import DIRECTIONS
from harness.operators.crop_and_resize.case import Case
from harness.repository import ROOT, MissingLibrary
from harness.sanitizing.driver_problems import Problem, Pyramid, crop_cases, problem_of, roi_align_cases
from harness.sanitizing.packing import pack, unpack

HERE = Path(__file__).resolve().parent
BUILD = ROOT / "build" / "sanitizers"
DRIVERS = {"crop_and_resize": HERE / "cpu_threads.cpp", "roi_align": HERE / "roi_cpu_threads.cpp"}
CASES: dict[str, Callable[[int, int], Sequence[Case | Pyramid]]] = {
    "crop_and_resize": crop_cases,
    "roi_align": roi_align_cases,
}
SANITIZERS = {"address": "address,undefined,float-cast-overflow", "thread": "thread"}
INSTRUCTION_SETS = ("portable", "avx2", "avx512")
THREAD_COUNTS = (1, 2, 4, 7)
# Without optimisation every access in the source is one in the program, and compiling takes a quarter of the time.
FLAGS = ("-std=c++17", "-O0", "-g1", "-ffp-contract=off", "-Wall", "-fno-omit-frame-pointer")
# The number of problems per run of a driver.
_BATCH = 20
_OPTIONS = {"TSAN_OPTIONS": "halt_on_error=1", "UBSAN_OPTIONS": "print_stacktrace=1"}


@dataclass(frozen=True)
class SanitizerReport:
    """A message or a sanitizer's report, and the case that caused it, None if no single case did."""

    message: str
    case: Case | Pyramid | None

    def __str__(self) -> str:
        return f"{self.message}\nat: {self.case!r}" if self.case else self.message


@dataclass(frozen=True)
class Outcome:
    """The outcome of one driver on its cases. `status` is "clean", "found" or "skipped"; `message` says why."""

    sanitizer: str
    operator: str
    kernels: str
    cases: int
    status: str
    message: str = ""

    def __str__(self) -> str:
        calls = self.cases * len(DIRECTIONS) * len(THREAD_COUNTS)
        totals = f"{self.cases:6,} cases {calls:9,} calls  "
        head = f"{self.sanitizer:8} {self.operator:16} {self.kernels:9}"
        return f"{head} {'' if self.status == 'skipped' else totals}{self.status}{self.message and ': ' + self.message}"


@functools.cache
def driver(operator: str, sanitizer: str, kernels: str, *changes: Change) -> Path:
    """Builds an operator's driver with a sanitizer and an instruction set's kernels, optionally with changes.

    MissingLibrary if there is no compiler, or none with this sanitizer.
    """
    flags = [*FLAGS, f"-fsanitize={SANITIZERS[sanitizer]}", "-fno-sanitize-recover=all"]
    root = kernel_sources(changes, BUILD)
    sources = [DRIVERS[operator], *sorted(root.glob("*/boxes.cpp")), *sorted(root.glob("**/cpu/*.cpp"))]
    other_sets = [name for name in INSTRUCTION_SETS if name != kernels]
    selection = [path for path in sources if path.stem.removeprefix("isa_") not in other_sets]
    parts = objects(selection, flags, [root], BUILD)
    for name in other_sets:
        parts += objects([HERE / "left_out_kernels.cpp"], [*flags, f"-DROI_ALIGN_ISA={name}"], [root], BUILD)
    target = BUILD / f"{operator}-{digest(*(path.name for path in parts))}"
    try:
        make(target, [*flags, *map(str, parts), "-pthread"])
    except RuntimeError as error:
        missing = next((line for line in str(error).splitlines() if "cannot find" in line), None)
        if missing is None:
            raise
        raise MissingLibrary(f"g++ is here without the library of the {sanitizer} sanitizer: {missing}") from error
    return target


def examine(
    program: Path,
    kernels: str,
    cases: Sequence[Case | Pyramid],
    *,
    race: bool = False,
    tell: Callable[[int], None] = lambda count: None,
) -> SanitizerReport | None:
    """Runs a driver on cases and returns the first report, or None; calls `tell` with the number of finished cases.

    race: plants a fault: all threads work on every unit. MissingLibrary if this machine cannot run the kernels.
    """
    for start in range(0, len(cases), _BATCH):
        problems = [problem_of(case) for case in cases[start : start + _BATCH]]
        finding = _examine(program, kernels, problems, race)
        if finding is not None:
            return finding
        tell(start + len(problems))
    return None


def _examine(program: Path, kernels: str, problems: Sequence[Problem], race: bool) -> SanitizerReport | None:
    process = subprocess.run(
        [str(program), *(["race"] if race else [])],
        input=pack(len(problems)) + b"".join(problem.data for problem in problems),
        env={**os.environ, "ROI_ALIGN_CPU": kernels, **_OPTIONS}, capture_output=True, check=False, cwd=ROOT,
    )  # fmt: skip
    report = process.stderr.decode(errors="replace").strip()
    if "but this machine runs" in report:
        raise MissingLibrary(f"This machine has no {kernels}.")
    results = unpack(process.stdout)
    if process.returncode != 0 or len(results) != len(problems):
        at = problems[len(results)].case if len(results) < len(problems) else None
        return SanitizerReport(report or f"the driver ended with exit code {process.returncode} and said nothing", at)
    for problem, arrays in zip(problems, results, strict=False):
        wrong = problem.wrong(arrays)
        if wrong is not None:
            return SanitizerReport(wrong, problem.case)
    return None


def outcomes(count: int, seed: int, tell: Callable[[str], None]) -> Iterator[Outcome]:
    """All runs of `make sanitize` on a CPU: one outcome for each sanitizer, operator and instruction set.

    tell: called with a progress message.
    """
    for operator, draw in CASES.items():
        tell(f"{operator}: {count} cases are drawn")
        cases = draw(count, seed)
        for sanitizer, kernels in itertools.product(SANITIZERS, INSTRUCTION_SETS):
            yield _outcome(sanitizer, operator, kernels, cases, tell)


def _outcome(
    sanitizer: str, operator: str, kernels: str, cases: Sequence[Case | Pyramid], tell: Callable[[str], None]
) -> Outcome:
    about = f"{sanitizer}, {operator}, {kernels}"
    outcome = functools.partial(Outcome, sanitizer, operator, kernels, len(cases))
    try:
        tell(f"{about}: compiling")
        program = driver(operator, sanitizer, kernels)
        finding = examine(
            program, kernels, cases, tell=lambda count: tell(f"{about}: {count:,} of {len(cases):,} cases")
        )
    except MissingLibrary as missing:
        return outcome("skipped", str(missing))
    return outcome("clean") if finding is None else outcome("found", str(finding))
