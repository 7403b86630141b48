"""The tests that judge a function outside this project, and an estimate of their duration.

Such a run omits the tests of this project's package, of its harness and of the other operator, so that its summary
counts the checks of the function only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from harness.judging.sample import with_boxes
from harness.judging.trial import judge_case
from harness.operators import OPERATORS, drawing, within
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName
from harness.properties import questions

_FIXTURES = {"backend", "backend_of"}
# A test with one of these fixtures tests that library.
_LIBRARIES = {"onnxruntime"}
# The values in the one call that is timed; the values that the tests of large sizes compute; and the seconds that
# drawing and comparing take in these tests.
_VALUES, _LARGE, _OWN_S = 200_000, 60_000_000, 30.0


def has_none(folder: Path, operator: OperatorName, root: Path, room: str) -> bool:
    """Whether no test in this folder is about an implementation of this operator, so that it need not be collected.

    room  the folder of suites/ whose tests are: "correctness", or "performance" for benchmarks.
    """
    parts = folder.relative_to(root).parts
    others = {name for name in OPERATORS if name != operator}
    return parts[:1] == ("suites",) and len(parts) > 1 and (parts[1] != room or bool(others & set(parts)))


def is_about(item: pytest.Item, operator: OperatorName, root: Path) -> bool:
    """Whether a test checks the function under test, an implementation of this operator."""
    if has_none(item.path.parent, operator, root, "correctness"):
        return False
    others = [name for name in OPERATORS if name != operator]
    fixtures = set(getattr(item, "fixturenames", ()))
    if item.get_closest_marker("package") or not fixtures & _FIXTURES or fixtures & _LIBRARIES:
        return False
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    of = (each if isinstance(each, str) else getattr(each, "operator", operator) for each in parameters)
    return not any(name in others for name in of)


def times(item: pytest.Item, operator: OperatorName, root: Path) -> bool:
    """Whether a benchmark times the function: bench_operators.py does, beside the usual columns."""
    return item.path.relative_to(root).parts[1:] == ("performance", "bench_operators.py")


def minutes(backend: Backend[Any]) -> float | None:
    """An estimate in minutes of the run in one process, from a few calls; None if these fail.

    The properties take time per case, the tests of large sizes per value.
    """
    sheet, direction = backend.sheet, backend.sheet.directions[0]
    selection = [each for each, way in questions(sheet.operator) if each.undeclared(sheet, way) is None]
    try:
        first, *cases = drawing.draw_cases(within(sheet, empty=()), 11, 0)
        judge_case(backend, first, direction)  # starts the process, which may compile
        a_case = _seconds(lambda: [judge_case(backend, case, direction) for case in cases]) / len(cases)
        few = first.inputs()
        long = with_boxes(few, np.arange(_VALUES // few.upstream[0].size) % len(few.boxes))
        a_value = _seconds(lambda: backend.run(long, direction)) / _VALUES
        backend.restart()
    except Exception:
        return None
    cases_in_all = sum(each.examples(settings().max_examples, sheet) for each in selection)
    return (a_case * cases_in_all + a_value * _LARGE + _OWN_S) / 60


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
