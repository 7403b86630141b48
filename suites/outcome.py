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
    failed = [*stats.get("failed", ()), *stats.get("error", ())]
    # A test that is expected to fail, and does, passes.
    passed = len(stats.get("passed", ())) + len(stats.get("xfailed", ()))
    reasons = Counter(filter(None, map(_reason, stats.get("skipped", ()))))
    if not failed and not passed and not reasons:
        return []
    first = f"{_verdict(len(failed), len(failed) + passed, subject)}{_skipped(reasons)}"
    names = [f"  failed: {report.nodeid}" for report in failed[:_FAILURES]]
    more = [f"  and {len(failed) - _FAILURES:,} more"] if len(failed) > _FAILURES else []
    stopped = ["The run was interrupted: this is about the tests that had ended."] if interrupted else []
    return [*stopped, first, *names, *more, *_shown(reasons)]


def _verdict(failed: int, ran: int, subject: str) -> str:
    tests = f"{ran:,} test{'' if ran == 1 else 's'}"
    if failed:
        return f"{subject} fails {failed:,} of {tests}" if subject else f"{failed:,} of {tests} failed"
    if not ran:
        return "No test ran"
    return f"{subject} passes all {tests}" if subject else f"All {tests} passed"


def _skipped(reasons: Counter[str]) -> str:
    count = reasons.total()
    return f"; {count:,} {'was' if count == 1 else 'were'} skipped:" if count else "."


def _shown(reasons: Counter[str]) -> list[str]:
    shown = reasons.most_common(_REASONS)
    rest = reasons.total() - sum(count for _, count in shown)
    lines = [f"{count:6,}  {reason}" for reason, count in shown]
    return [*lines, *([f"{rest:6,}  for {len(reasons) - len(shown):,} other reasons, which -rs lists"] if rest else [])]


def _reason(report: Any) -> str:
    """Why a test was skipped, in one line; "" for what a run of benchmarks leaves out."""
    location = report.longrepr
    reason = location[2] if isinstance(location, tuple) else str(location)
    reason = " ".join(str(reason).removeprefix("Skipped: ").split())
    return "" if reason.startswith(_NO_BENCHMARK) else reason or "no reason given"
