"""What every suite shares: which implementation is judged, how hard Hypothesis tries, and what a run has counted.

pytest suites/                        this project's operator
pytest suites/ --backend tensorflow   another one, judged by the same properties
pytest --benchmark-only               performance only
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import hypothesis
import pytest

from harness import backends, faults
from harness.judging import isolation
from harness.measuring import devices, settings
from harness.operators import OPERATORS
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName
from harness.operators.verdict import Crashed, Hung
from harness.plain import plainly
from harness.repository import MissingLibrary
from suites import outcome, stranger
from suites.tally import Tally

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
    names = sorted(set().union(*backends.BACKENDS.values(), *backends.PEERS.values()))
    parser.addoption(
        "--backend",
        default="roi_align",
        metavar="NAME",
        help=f"the implementation to judge: one of {', '.join(names)}, "
        "a planted fault as fault:NAME, or yours as module:function or by an entry point of the group "
        f"{backends.ENTRY_POINTS!r} (default: roi_align)",
    )
    parser.addoption(
        "--limit",
        type=float,
        metavar="SECONDS",
        help="how long a call of somebody else's function may take on a small case before it counts as one that never "
        "ends; larger cases are granted more (default: what its sheet says, and a process's first call more)",
    )


def pytest_configure(config: pytest.Config) -> None:
    plainly()
    config.addinivalue_line("markers", "package: about the roi_align package itself, on the device of its backend")
    config.addinivalue_line("markers", "cpu: about the package's CPU kernels, which its CUDA backends do not run")
    config.stash[CHOSEN] = {}
    try:
        _load_chosen(config)
    except (ValueError, Crashed, Hung) as unusable:
        raise pytest.UsageError(str(unusable)) from None
    config.stash[UNDECLARED] = {}
    if not config.getoption("--benchmark-only"):
        # Every benchmark body runs once, untimed, as a smoke test.
        config.option.benchmark_disable = True
    elif not config.option.benchmark_json and not settings.read().output:
        # Nobody has looked yet whether there is such a device.
        missing = devices.chosen().why_not()
        if missing is not None:
            raise pytest.UsageError(missing)
    config.stash[TALLY] = Tally()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = config.getoption("--backend")
    if backends.is_foreign(chosen):
        of = next(iter(config.stash[CHOSEN]))
        about = stranger.times if config.getoption("--benchmark-only") else stranger.is_about
        ours = [item for item in items if not about(item, of, config.rootpath)]
        config.hook.pytest_deselected(items=ours)
        rest = [item for item in items if item not in set(ours)]
        # The properties tell most, in fewest words.
        items[:] = sorted(rest, key=lambda item: item.path.name != "test_properties.py")
    skipped = {}
    if chosen not in PACKAGE:
        skipped["package"] = pytest.mark.skip(reason=f"about the package roi_align, not about the backend {chosen}")
    if PACKAGE.get(chosen) != "cpu":
        skipped["cpu"] = pytest.mark.skip(reason=f"about the package's CPU kernels, not about the backend {chosen}")
    for item in items:
        for name, skip in skipped.items():
            if item.get_closest_marker(name):
                item.add_marker(skip)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Somebody else's function that a run judges, and about how long that takes."""
    chosen = config.getoption("--backend")
    judged = next(iter(config.stash[CHOSEN].values()))
    if not backends.is_foreign(chosen) or not isinstance(judged, Backend) or config.getoption("--benchmark-only"):
        return []
    minutes = stranger.minutes(judged)
    if minutes is None:
        return [f"judging {judged.title}: not even a few calls came back"]
    about = "about a minute" if minutes < 1.5 else f"about {minutes:.0f} minutes"
    return [f"judging {judged.title}: {about} in one process; -n auto shares the work"]


CHOSEN = pytest.StashKey[dict[str, Backend | MissingLibrary]]()
UNDECLARED = pytest.StashKey[dict[str, str]]()


def _load_chosen(config: pytest.Config) -> None:
    """The chosen backend, for each operator that it has: this project's in this process, somebody else's in one of its
    own. What is missing is kept as the reason for which each test that needs it is skipped."""
    name = config.getoption("--backend")
    isolated = partial(isolation.isolated, limit_s=config.getoption("--limit"))
    if backends.is_foreign(name):
        made: Any = _or_missing(isolated, name, "crop_and_resize")
        of = (made.sheet.operator,) if isinstance(made, Backend) else tuple(backends.BACKENDS)
        config.stash[CHOSEN] = dict.fromkeys(of, made)
        return
    of = backends.operators_of(name) or ("crop_and_resize",)
    load = isolated if backends.is_a_peer(name) else faults.load
    config.stash[CHOSEN] = {operator: _or_missing(load, name, operator) for operator in of}


def _or_missing(load: Any, name: str, operator: str) -> Backend | MissingLibrary:
    try:
        made: Backend = load(name, operator)
    except MissingLibrary as missing:
        return missing
    return made


TALLY = pytest.StashKey[Tally]()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist, which prints no summary, sends what it would say to the process that does."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["undeclared"] = session.config.stash[UNDECLARED]
        counts = vars(session.config.stash[TALLY])
        session.config.workeroutput["tally"] = {name: dict(each) for name, each in counts.items()}  # no Counter is sent


@pytest.hookimpl(optionalhook=True)  # nobody calls it without pytest-xdist
def pytest_testnodedown(node: Any) -> None:
    sent = getattr(node, "workeroutput", {})
    if "tally" in sent:  # a worker that crashed, which fails the run, has left nothing
        node.config.stash[TALLY].add(**sent["tally"])
        node.config.stash[UNDECLARED].update(sent["undeclared"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    """The result in words, then the tables; a worker of pytest-xdist has no terminal."""
    chosen = config.getoption("--backend")
    judged = next(iter(config.stash[CHOSEN].values()))
    subject = judged.title if backends.is_foreign(chosen) and isinstance(judged, Backend) else ""
    interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
    result = outcome.sentences(terminalreporter.stats, subject, interrupted)
    if result:
        terminalreporter.section("the result")
    for sentence in result:
        terminalreporter.line(sentence)
    if config.stash[UNDECLARED]:
        terminalreporter.section(f"what {config.getoption('--backend')} does not declare")
    for what, reason in config.stash[UNDECLARED].items():
        terminalreporter.line(f"{what}: {reason}")
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


@pytest.fixture
def undeclared(pytestconfig: pytest.Config) -> Callable[[str, str | None], None]:
    """Called with what a test is about and what of it is not declared, if anything: then it is skipped and listed."""

    def skip(what: str, reason: str | None) -> None:
        if reason is not None:
            pytestconfig.stash[UNDECLARED][what] = reason
            pytest.skip(f"undeclared: {reason}")

    return skip


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    return pytestconfig.stash[TALLY]


@pytest.fixture(scope="session")
def backend_of(pytestconfig: pytest.Config) -> Callable[[OperatorName], Backend]:
    """The implementation of an operator that this run judges, or a skip if the chosen backend has none."""
    return lambda operator: _chosen(pytestconfig, operator)


@pytest.fixture(params=OPERATORS)
def operator(request: pytest.FixtureRequest) -> OperatorName:
    """Each operator in turn; in a folder for one operator's tests a conftest.py says which."""
    name: OperatorName = request.param
    return name


@pytest.fixture
def backend(backend_of: Callable[[OperatorName], Backend], operator: OperatorName) -> Backend:
    """The implementation of the test's operator that this run judges."""
    return backend_of(operator)


@pytest.fixture
def repeats(backend_of: Callable[[OperatorName], Backend]) -> Callable[[OperatorName], float]:
    """How far gradients of two runs in float64 may be apart, for gradcheck: not at all, or by the order of a sum."""
    return lambda operator: 1e-12 if "grad_image" in backend_of(operator).sheet.unordered else 0.0


def _chosen(config: pytest.Config, operator: OperatorName) -> Backend:
    backend = config.stash[CHOSEN].get(operator)
    if backend is None:
        pytest.skip(f"the backend {config.getoption('--backend')} has no {operator}")
    if isinstance(backend, MissingLibrary):
        pytest.skip(str(backend))
    if not backend.same_rule:
        pytest.skip(f"{backend.title} computes another rule; it can be timed beside ours, not judged")
    return backend


def _load(name: str, operator: OperatorName) -> Backend:
    try:
        return backends.load(name, operator)
    except MissingLibrary as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def tensorflow() -> Backend:
    """TensorFlow's crop_and_resize, or a skip that says it is missing."""
    return _load("tensorflow", "crop_and_resize")


@pytest.fixture(scope="session")
def torchvision() -> Backend:
    """torchvision's roi_align, or a skip that says it is missing."""
    return _load("torchvision", "roi_align")


@pytest.fixture
def device(pytestconfig: pytest.Config) -> Iterator[str]:
    """Where the package's own tests make their tensors, and in which mode: torch's, as the chosen backend has it."""
    chosen = pytestconfig.getoption("--backend")
    if chosen in PACKAGE:
        _load(chosen, "crop_and_resize")
    if chosen != DETERMINISTIC:
        yield PACKAGE.get(chosen, "cpu")
        return
    import torch

    torch.use_deterministic_algorithms(True)
    try:
        yield PACKAGE[chosen]
    finally:
        torch.use_deterministic_algorithms(False)
