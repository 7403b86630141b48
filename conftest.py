"""What every suite shares: which implementation is judged, how hard Hypothesis tries, and what a run has counted.

pytest suites/                        this project's operator
pytest suites/ --backend tensorflow   another one, judged by the same properties
pytest --benchmark-only               performance only
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import pytest

from harness import backends, devices, measure, roi_backends

# The same examples on every run, for a pull request; new ones every night, remembered; few while developing.
# No deadline anywhere: machines are shared, and a slow example is not a wrong one.
_CHECKS = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture]
hypothesis.settings.register_profile(
    "pr", derandomize=True, database=None, max_examples=150, deadline=None, suppress_health_check=_CHECKS
)
hypothesis.settings.register_profile(
    "nightly",
    derandomize=False,
    database=hypothesis.database.DirectoryBasedExampleDatabase(".hypothesis/examples"),
    max_examples=2000,
    deadline=None,
    suppress_health_check=_CHECKS,
)
# Under a sanitizer a call takes a hundred times as long.
hypothesis.settings.register_profile(
    "sanitize", derandomize=True, database=None, max_examples=10, deadline=None, suppress_health_check=_CHECKS
)
hypothesis.settings.register_profile("dev", max_examples=50, deadline=None, suppress_health_check=_CHECKS)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "pr"))

# The backends that are the package roi_align itself, on each device and in each mode.
DETERMINISTIC = "roi_align_cuda_deterministic"
PACKAGE = {"roi_align": "cpu", "roi_align_cuda": "cuda", DETERMINISTIC: "cuda"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        default="roi_align",
        metavar="NAME",
        help=f"the implementation to judge, one of {', '.join(backends.BACKENDS)}, or fault:NAME (default: roi_align)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "package: about the roi_align package itself, on the device of its backend")
    config.addinivalue_line("markers", "cpu: about the package's CPU kernels, which its CUDA backends do not run")
    chosen = config.getoption("--backend")
    try:
        # One of either operator, or of both: a test that needs what a backend has not is skipped.
        of_rois = chosen in roi_backends.ROI_BACKENDS or chosen.startswith("fault:roi_")
        (roi_backends.load if of_rois and chosen not in backends.BACKENDS else backends.load)(chosen)
    except ValueError as unknown:
        raise pytest.UsageError(str(unknown)) from None
    except backends.MissingLibrary:
        pass  # each test that needs it is skipped, with the reason
    if not config.getoption("--benchmark-only"):
        # Every benchmark body runs once, untimed, as a smoke test.
        config.option.benchmark_disable = True
    elif not config.option.benchmark_json:
        # Nobody said where to: into the same folders as `make bench`, one for each device.
        device, quick = devices.chosen(), os.environ.get("QUICK") == "1"
        missing = device.why_not()
        if missing is not None:
            raise pytest.UsageError(missing)
        config.option.benchmark_storage = f"file://{measure.results_folder(quick) / device.name()}"
        config.option.benchmark_save = "quick" if quick else "full"
        config.option.benchmark_save_data = True
    config.stash[TALLY] = Tally()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = config.getoption("--backend")
    skipped = {}
    if chosen not in PACKAGE:
        skipped["package"] = pytest.mark.skip(reason=f"about the package roi_align, not about the backend {chosen}")
    if PACKAGE.get(chosen) != "cpu":
        skipped["cpu"] = pytest.mark.skip(reason=f"about the package's CPU kernels, not about the backend {chosen}")
    for item in items:
        for name, skip in skipped.items():
            if item.get_closest_marker(name):
                item.add_marker(skip)


@dataclass(repr=False)  # a failure prints its arguments; these counts would bury it
class Tally:
    """What a run has compared: counts that its summary prints, so that a pass says how much it rests on."""

    compared: Counter[str] = field(default_factory=Counter)
    different: Counter[str] = field(default_factory=Counter)
    cases: Counter[str] = field(default_factory=Counter)
    fraction: dict[str, float] = field(default_factory=dict)

    def bits(self, what: str, compared: int, different: int) -> None:
        self.cases[what] += 1
        self.compared[what] += compared
        self.different[what] += different

    def bound(self, what: str, fraction: float) -> None:
        self.cases[what] += 1
        self.fraction[what] = max(self.fraction.get(what, 0.0), fraction)

    def add(
        self,
        compared: dict[str, int],
        different: dict[str, int],
        cases: dict[str, int],
        fraction: dict[str, float],
    ) -> None:
        """What another process has compared, too."""
        self.compared.update(compared)
        self.different.update(different)
        self.cases.update(cases)
        for what, largest in fraction.items():
            self.fraction[what] = max(self.fraction.get(what, 0.0), largest)


TALLY = pytest.StashKey[Tally]()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist, which prints no summary, sends its counts to the process that does."""
    if hasattr(session.config, "workeroutput"):
        counts = vars(session.config.stash[TALLY])
        session.config.workeroutput["tally"] = {name: dict(each) for name, each in counts.items()}  # no Counter is sent


@pytest.hookimpl(optionalhook=True)  # nobody calls it without pytest-xdist
def pytest_testnodedown(node: Any) -> None:
    counts = getattr(node, "workeroutput", {}).get("tally")
    if counts is not None:  # a worker that crashed, which fails the run, has left none
        node.config.stash[TALLY].add(**counts)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tally = config.stash[TALLY]
    if tally.cases:
        terminalreporter.section("what was compared")
    for what, compared in tally.compared.items():
        terminalreporter.line(
            f"{what}: {compared:,} values in {tally.cases[what]:,} cases, {tally.different[what]:,} differ in any bit"
        )
    for what, fraction in tally.fraction.items():
        terminalreporter.line(
            f"{what}: {tally.cases[what]:,} cases, largest fraction of the oracle's bound used {fraction:.3g}"
        )


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    return pytestconfig.stash[TALLY]


def _load(name: str) -> backends.Backend:
    if name not in backends.BACKENDS and not name.startswith("fault:"):
        pytest.skip(f"the backend {name} has no crop_and_resize")
    try:
        return backends.load(name)
    except backends.MissingLibrary as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def backend(pytestconfig: pytest.Config) -> backends.Backend:
    """The implementation that this run judges."""
    chosen = _load(pytestconfig.getoption("--backend"))
    if not chosen.same_rule:
        pytest.skip(f"{chosen.title} computes another rule; it can be timed beside ours, not judged")
    return chosen


@pytest.fixture(scope="session")
def roi_backend(pytestconfig: pytest.Config) -> roi_backends.RoiBackend:
    """The implementation of roi_align that this run judges: that of the chosen backend, if it has one."""
    chosen = pytestconfig.getoption("--backend")
    if chosen not in roi_backends.ROI_BACKENDS and not chosen.startswith("fault:roi_"):
        pytest.skip(f"the backend {chosen} has no roi_align")
    try:
        return roi_backends.load(chosen)
    except backends.MissingLibrary as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def torchvision() -> roi_backends.RoiBackend:
    """torchvision's roi_align, or a skip that says it is missing."""
    try:
        return roi_backends.load("torchvision")
    except backends.MissingLibrary as missing:
        pytest.skip(str(missing))


@pytest.fixture
def device(pytestconfig: pytest.Config) -> Iterator[str]:
    """Where the package's own tests make their tensors, and in which mode: torch's, as the chosen backend has it."""
    chosen = pytestconfig.getoption("--backend")
    _load(chosen)
    if chosen != DETERMINISTIC:
        yield PACKAGE.get(chosen, "cpu")
        return
    import torch

    torch.use_deterministic_algorithms(True)
    try:
        yield PACKAGE[chosen]
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.fixture
def repeats(backend: backends.Backend) -> float:
    """How far gradients of two runs in float64 may be apart, for gradcheck: not at all, or by the order of a sum."""
    return 1e-12 if "grad_image" in backend.unordered else 0.0


@pytest.fixture(scope="session")
def tensorflow() -> backends.Backend:
    """TensorFlow, or a skip that says it is missing."""
    return _load("tensorflow")
