"""A run that judges somebody else's function: which tests are about it, and how long they take.

This project's own tests of its package, its harness and the other operator say nothing about a stranger. They are no
part of such a run, so that its summary counts what was asked of the function and nothing else.
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
# What a test with one of these asks is asked of that library.
_LIBRARIES = {"onnxruntime"}
# Values that are asked for at once to time one; as many as the tests of large sizes ask for; and what these take beside
# the function, to draw and to compare.
_VALUES, _LARGE, _OWN_S = 200_000, 60_000_000, 30.0


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
    """About how long the run takes here in one process, from a few calls; None where not even these come back.

    What the properties take follows the time of a case, and what the tests of large sizes take that of a value.
    """
    sheet, direction = backend.sheet, backend.sheet.directions[0]
    selection = [each for each, way in questions(sheet.operator) if each.undeclared(sheet, way) is None]
    try:
        first, *cases = drawing.draw_cases(within(sheet, empty=()), 11, 0)
        judge_case(backend, first, direction)  # its process begins, and may compile
        a_case = _seconds(lambda: [judge_case(backend, case, direction) for case in cases]) / len(cases)
        few = first.inputs()
        long = with_boxes(few, np.arange(_VALUES // few.upstream[0].size) % len(few.boxes))
        a_value = _seconds(lambda: backend.run(long, direction)) / _VALUES
        backend.restart()
    except Exception:
        return None
    cases_in_all = sum(each.examples(settings().max_examples) for each in selection)
    return (a_case * cases_in_all + a_value * _LARGE + _OWN_S) / 60


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
