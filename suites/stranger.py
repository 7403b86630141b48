"""A run that judges somebody else's function: which tests are about it, and how long they take.

This project's own tests of its package, its harness and the other operator say nothing about a stranger. They are no
part of such a run, so that its summary counts what was asked of the function and nothing else.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from harness.judging.trial import judged
from harness.operators import OPERATORS, drawing, within
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName
from harness.properties import questions

_FIXTURES = {"backend", "backend_of"}
# What a test with one of these asks is asked of that library.
_LIBRARIES = {"onnxruntime"}
# What the tests beside the properties take, as a part of what these take.
_BESIDE = 0.5


def is_about(item: pytest.Item, operator: OperatorName, root: Path) -> bool:
    """Whether a test asks something of the function under test, which is one of this operator."""
    folders = item.path.relative_to(root).parts
    others = [name for name in OPERATORS if name != operator]
    if folders[1] != "correctness" or any(name in folders for name in others):
        return False
    fixtures = set(getattr(item, "fixturenames", ()))
    if item.get_closest_marker("package") or not fixtures & _FIXTURES or fixtures & _LIBRARIES:
        return False
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    of = (each if isinstance(each, str) else getattr(each, "operator", operator) for each in parameters)
    return not any(name in others for name in of)


def times(item: pytest.Item, operator: OperatorName, root: Path) -> bool:
    """Whether a benchmark times the function: one does, beside the usual columns."""
    return item.path.relative_to(root).parts[1:] == ("performance", "bench_operators.py")


def minutes(backend: Backend[Any]) -> float | None:
    """About how long the run takes here in one process, from a few cases; None where not even these come back."""
    sheet = backend.sheet
    asked = [each for each, direction in questions(sheet.operator) if each.undeclared(sheet, direction) is None]
    try:
        start = time.perf_counter()
        cases = drawing.drawn(within(sheet), 10, 0)
        for case in cases:
            judged(backend, case, sheet.directions[0])
        seconds = (time.perf_counter() - start) / len(cases)
        backend.restart()
    except Exception:
        return None
    examples = settings().max_examples
    return seconds * sum(each.examples(examples) for each in asked) * (1 + _BESIDE) / 60
