"""The result of a test run in words, which the terminal shows before the tables: passed or failed, and why skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

# More reasons, or failed tests, than these are counted, not told.
_REASONS, _FAILURES = 5, 5
# `pytest --benchmark-only` skips every other test.
_NO_BENCHMARK = "Skipping non-benchmark"


def sentences(stats: Mapping[str, Sequence[Any]], subject: str = "", interrupted: bool = False) -> list[str]:
    """The result, most important first; nothing if no test ran.

    stats     pytest's reports by outcome, as its terminal reporter keeps them.
    subject   the implementation that somebody judges, "" for this project's own tests.
    """
    failures = [*stats.get("failed", ()), *stats.get("error", ())]
    # A test that is expected to fail, and does, passes.
    passes = len(stats.get("passed", ())) + len(stats.get("xfailed", ()))
    reasons = Counter(filter(None, map(_reason, stats.get("skipped", ()))))
    if not failures and not passes and not reasons:
        return []
    first = f"{_verdict(len(failures), len(failures) + passes, subject)}{_skipped(reasons)}"
    names = [f"  failed: {report.nodeid}" for report in failures[:_FAILURES]]
    more = [f"  and {len(failures) - _FAILURES:,} more"] if len(failures) > _FAILURES else []
    stopped = ["The run was interrupted: this is about the tests that had ended."] if interrupted else []
    return [*stopped, first, *names, *more, *_reason_lines(reasons)]


def _verdict(failures: int, ran: int, subject: str) -> str:
    tests = f"{ran:,} test{'' if ran == 1 else 's'}"
    if failures:
        return f"{subject} fails {failures:,} of {tests}" if subject else f"{failures:,} of {tests} failed"
    if not ran:
        return "No test ran"
    return f"{subject} passes all {tests}" if subject else f"All {tests} passed"


def _skipped(reasons: Counter[str]) -> str:
    count = reasons.total()
    return f"; {count:,} {'was' if count == 1 else 'were'} skipped:" if count else "."


def _reason_lines(reasons: Counter[str]) -> list[str]:
    most = reasons.most_common(_REASONS)
    rest = reasons.total() - sum(count for _, count in most)
    lines = [f"{count:6,}  {reason}" for reason, count in most]
    return [*lines, *([f"{rest:6,}  for {len(reasons) - len(most):,} other reasons, which -rs lists"] if rest else [])]


def _reason(report: Any) -> str:
    """Why a test was skipped, in one line; "" for what a run of benchmarks leaves out."""
    location = report.longrepr
    reason = location[2] if isinstance(location, tuple) else str(location)
    reason = " ".join(str(reason).removeprefix("Skipped: ").split())
    return "" if reason.startswith(_NO_BENCHMARK) else reason or "no reason given"
