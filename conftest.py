"""Shared by all suites: the implementation under judgement, Hypothesis's profiles, and the counts of a run.

pytest suites/                        this project's operator
pytest suites/ --backend tensorflow   another implementation, judged by the same properties
pytest --benchmark-only               performance only
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from harness import backends, faults
from harness.judging import isolation
from harness.measuring import devices, settings
from harness.operators import OPERATORS
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName
from harness.operators.verdict import Crash, Hang
from harness.plain import plainly
from harness.repository import MissingLibrary
from suites import outcome, stranger
from suites.tally import Tally

# "pr" draws the same examples on every run; "nightly" draws new ones and keeps its failures; "dev" draws few. No
# profile has a deadline: machines are shared, and a slow example is not a wrong one.
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
BACKENDS = pytest.StashKey[dict[OperatorName, Backend[Any] | MissingLibrary]]()
UNDECLARED = pytest.StashKey[dict[str, str]]()


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
        help="how long a call of a function outside this project may take on a small case before it counts as a hang; "
        "larger cases get more time (default: the limit on its sheet, and more for a process's first call)",
    )


def pytest_configure(config: pytest.Config) -> None:
    plainly()
    config.addinivalue_line("markers", "package: about the roi_align package itself, on the device of its backend")
    config.addinivalue_line("markers", "cpu: about the package's CPU kernels, which its CUDA backends do not run")
    config.stash[BACKENDS] = {}
    try:
        _load_backends(config)
    except (ValueError, Crash, Hang) as unusable:
        raise pytest.UsageError(str(unusable)) from None
    config.stash[UNDECLARED] = {}
    if not config.getoption("--benchmark-only"):
        # Every benchmark body runs once, untimed, as a smoke test.
        config.option.benchmark_disable = True
    elif not config.option.benchmark_json:
        reason = _unmeasurable()
        if reason is not None:
            raise pytest.UsageError(reason)
    config.stash[TALLY] = Tally()


def _unmeasurable() -> str | None:
    """Why this process cannot measure; None if it can, or if the process that started it has checked the device."""
    try:
        return None if settings.read().output else devices.current().why_not()
    except ValueError as error:
        return str(error)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A run on a function outside this project omits the folders without tests of it, which take long to collect."""
    if not backends.is_foreign(config.getoption("--backend")) or not collection_path.is_dir():
        return None
    operator = _first_operator(config)
    room = "performance" if config.getoption("--benchmark-only") else "correctness"
    return stranger.has_none(collection_path, operator, config.rootpath, room) or None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    backend_name = config.getoption("--backend")
    if backends.is_foreign(backend_name):
        operator = _first_operator(config)
        about = stranger.times if config.getoption("--benchmark-only") else stranger.is_about
        ours = [item for item in items if not about(item, operator, config.rootpath)]
        config.hook.pytest_deselected(items=ours)
        rest = [item for item in items if item not in set(ours)]
        # Properties come first: they say the most in the fewest words.
        items[:] = sorted(rest, key=lambda item: item.path.name != "test_properties.py")
    marks = {}
    if backend_name not in PACKAGE:
        marks["package"] = pytest.mark.skip(reason=f"about the package roi_align, not about the backend {backend_name}")
    if PACKAGE.get(backend_name) != "cpu":
        marks["cpu"] = pytest.mark.skip(reason=f"about the package's CPU kernels, not about the backend {backend_name}")
    for item in items:
        for name, skip in marks.items():
            if item.get_closest_marker(name):
                item.add_marker(skip)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """The function outside this project that a run judges, and roughly how long that takes."""
    backend_name = config.getoption("--backend")
    backend = next(iter(config.stash[BACKENDS].values()))
    if (
        not backends.is_foreign(backend_name)
        or not isinstance(backend, Backend)
        or config.getoption("--benchmark-only")
    ):
        return []
    minutes = stranger.minutes(backend)
    if minutes is None:
        return [f"judging {backend.title}: even a few calls did not return"]
    about = "about a minute" if minutes < 1.5 else f"about {minutes:.0f} minutes"
    return [f"judging {backend.title}: {about} in one process; -n auto shares the work"]


def _load_backends(config: pytest.Config) -> None:
    """Loads the backend for each of its operators: this project's in this process, any other in a process of its own. A
    missing library is stored in its place, as the reason for skipping the tests that need it."""
    name = config.getoption("--backend")
    isolated = partial(isolation.isolated, limit_s=config.getoption("--limit"))
    if backends.is_foreign(name):
        backend: Any = _or_missing(isolated, name, "crop_and_resize")
        if isinstance(backend, MissingLibrary):  # a run that skips every test would pass
            raise pytest.UsageError(str(backend))
        operators = (backend.sheet.operator,) if isinstance(backend, Backend) else tuple(backends.BACKENDS)
        config.stash[BACKENDS] = dict.fromkeys(operators, backend)
        return
    operators = backends.operators_of(name) or ("crop_and_resize",)
    load = isolated if backends.is_a_peer(name) else faults.load
    config.stash[BACKENDS] = {operator: _or_missing(load, name, operator) for operator in operators}


def _first_operator(config: pytest.Config) -> OperatorName:
    loaded = config.stash[BACKENDS]
    return next(iter(loaded))


def _or_missing(load: Any, name: str, operator: str) -> Backend[Any] | MissingLibrary:
    try:
        backend: Backend[Any] = load(name, operator)
    except MissingLibrary as missing:
        return missing
    return backend


TALLY = pytest.StashKey[Tally]()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A pytest-xdist worker prints no summary; it sends its counts to the process that does."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["undeclared"] = session.config.stash[UNDECLARED]
        counts = vars(session.config.stash[TALLY])
        # Plain dicts, because xdist cannot send a Counter.
        session.config.workeroutput["tally"] = {name: dict(each) for name, each in counts.items()}


@pytest.hookimpl(optionalhook=True)  # a hook of pytest-xdist
def pytest_testnodedown(node: Any) -> None:
    output = getattr(node, "workeroutput", {})
    if "tally" in output:  # a crashed worker sends nothing, and fails the run
        node.config.stash[TALLY].add(**output["tally"])
        node.config.stash[UNDECLARED].update(output["undeclared"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    """The result in words, then the tables; a worker of pytest-xdist has no terminal."""
    name = config.getoption("--backend")
    backend = next(iter(config.stash[BACKENDS].values()))
    subject = backend.title if backends.is_foreign(name) and isinstance(backend, Backend) else ""
    interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
    result = outcome.sentences(terminalreporter.stats, subject, interrupted)
    if result:
        terminalreporter.section("the result")
    for sentence in result:
        terminalreporter.line(sentence)
    if config.stash[UNDECLARED]:
        terminalreporter.section(f"what {config.getoption('--backend')} does not declare")
    for subject, reason in config.stash[UNDECLARED].items():
        terminalreporter.line(f"{subject}: {reason}")
    tally = config.stash[TALLY]
    if tally.cases:
        terminalreporter.section("values compared")
    for subject, count in tally.compared.items():
        terminalreporter.line(
            f"{subject}: {count:,} values in {tally.cases[subject]:,} cases, "
            f"{tally.different[subject]:,} differ in any bit"
        )
    for subject, fraction in tally.fraction.items():
        terminalreporter.line(
            f"{subject}: {tally.cases[subject]:,} cases, largest fraction of the oracle's bound used {fraction:.3g}"
        )


@pytest.fixture
def undeclared(pytestconfig: pytest.Config) -> Callable[[str, str | None], None]:
    """Skips the test, and lists it in the summary, if there is a reason why its subject is not declared."""

    def skip(subject: str, reason: str | None) -> None:
        if reason is not None:
            pytestconfig.stash[UNDECLARED][subject] = reason
            pytest.skip(f"undeclared: {reason}")

    return skip


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    return pytestconfig.stash[TALLY]


@pytest.fixture(scope="session")
def backend_of(pytestconfig: pytest.Config) -> Callable[[OperatorName], Backend[Any]]:
    """The implementation of an operator that this run judges, or a skip if the chosen backend has none."""
    return lambda operator: _judged_backend(pytestconfig, operator)


@pytest.fixture(params=OPERATORS)
def operator(request: pytest.FixtureRequest) -> OperatorName:
    """Each operator in turn; a folder of tests for one operator overrides this in its conftest.py."""
    name: OperatorName = request.param
    return name


@pytest.fixture
def backend(backend_of: Callable[[OperatorName], Backend[Any]], operator: OperatorName) -> Backend[Any]:
    """The implementation of the test's operator that this run judges."""
    return backend_of(operator)


@pytest.fixture
def repeats(backend_of: Callable[[OperatorName], Backend[Any]]) -> Callable[[OperatorName], float]:
    """For gradcheck: how far the float64 gradients of two runs may be apart. 0 unless the order of a sum varies."""
    return lambda operator: 1e-12 if "grad_image" in backend_of(operator).sheet.unordered else 0.0


def _judged_backend(config: pytest.Config, operator: OperatorName) -> Backend[Any]:
    backend = config.stash[BACKENDS].get(operator)
    if backend is None:
        pytest.skip(f"the backend {config.getoption('--backend')} has no {operator}")
    if isinstance(backend, MissingLibrary):
        pytest.skip(str(backend))
    if not backend.same_rule:
        pytest.skip(f"{backend.title} computes another rule; it can be timed beside ours, not judged")
    return backend


def _load(name: str, operator: OperatorName) -> Backend[Any]:
    try:
        return backends.load(name, operator)
    except MissingLibrary as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def tensorflow() -> Backend[Any]:
    """TensorFlow's crop_and_resize; skips the test if TensorFlow is missing."""
    return _load("tensorflow", "crop_and_resize")


@pytest.fixture(scope="session")
def torchvision() -> Backend[Any]:
    """torchvision's roi_align; skips the test if torchvision is missing."""
    return _load("torchvision", "roi_align")


@pytest.fixture
def device(pytestconfig: pytest.Config) -> Iterator[str]:
    """The device of the package's own tests; it also sets torch's deterministic mode as the backend needs it."""
    backend_name = pytestconfig.getoption("--backend")
    if backend_name in PACKAGE:
        _load(backend_name, "crop_and_resize")
    if backend_name != DETERMINISTIC:
        yield PACKAGE.get(backend_name, "cpu")
        return
    import torch

    torch.use_deterministic_algorithms(True)
    try:
        yield PACKAGE[backend_name]
    finally:
        torch.use_deterministic_algorithms(False)
